"""Are these images generated? python -m scripts.predict MODEL PATH…

MODEL is the folder of a run, an exported model, or USER/NAME on the Hugging Face hub. PATH is a
file, a folder, a pattern, a tar or folder of shards, or - for a list of paths on stdin. Prints a
line per image, in order. Exit code 3 says that some could not be read; the others have verdicts.
While it runs, the rows so far lie in FILE.partial beside FILE, and stay there where it is stopped.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from shards.cli.command import CommandParser, printable, run_command
from shards.cli.wording import counted
from shards.errors import InputError

from .arguments import at_least_one, script_parser, thread_count

if TYPE_CHECKING:
    from glass.predict.detector import Detector, PredictOptions
    from glass.predict.heatmaps import DenseMap, Pixels
    from glass.predict.image_sources import ImageSource
    from glass.predict.outputs import Outputs
    from glass.predict.prediction_files import PredictionHead
    from glass.predict.verdicts import ImageVerdict
    from glass.verdict_page.page import VerdictPage

EXIT_SOME_UNREADABLE = 3


def main(argv: list[str] | None = None) -> int:
    """Parses, finds the images, scores them, writes, prints."""
    arguments = _parse(argv)
    # Mistakes in paths are reported before torch is imported, which takes seconds.
    from glass.predict.outputs import Outputs
    from glass.predict.source_paths import find_images

    outputs = Outputs(arguments.json, arguments.csv, arguments.html, arguments.heatmaps)
    outputs.check()
    from glass.model.hub import local_folder

    local_folder(arguments.model)
    found = find_images(arguments.paths, _listed() if "-" in arguments.paths else ())
    if not found.sources:
        raise InputError(f"no images in {' '.join(arguments.paths)}")
    if found.passed_over:
        print(f"passed over {counted(found.passed_over, 'file')}, no images by name", file=sys.stderr)
    detector, options, warned = _detector(arguments)
    from glass.predict.verdict_lines import document_head, heading, learnt_line, stability_line

    for path in outputs.check_earlier(detector.trained.weights_sha256, [source.name for source in found.sources]):
        print(printable(f"note: {path} will be replaced"), file=sys.stderr)
    print(heading(detector, options), file=sys.stderr)
    head = document_head(detector, options, arguments.model)
    page = None if arguments.html is None else _page(detector, options, head, warned, arguments, len(found.sources))
    try:
        verdicts = _scored(detector, found.sources, options, head, page, arguments)
        _write(verdicts, head, page, outputs)
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror or error}") from error
    outputs.remove_partial()
    counts = Counter(verdict.verdict or "unreadable" for verdict in verdicts)
    parts = [f"{number:,} {name}" for name, number in sorted(counts.items())]
    print(", ".join([*parts, stability_line(verdicts)]), file=sys.stderr)
    print(learnt_line(verdicts), file=sys.stderr)
    if outputs.names:
        print(printable(f"wrote {', '.join(outputs.names)}"), file=sys.stderr)
    return EXIT_SOME_UNREADABLE if counts["unreadable"] else 0


def _listed() -> Iterable[bytes]:
    """The lines of stdin as bytes: names of files need not be text."""
    if sys.stdin is None:
        raise InputError("there is no stdin to read a list from: leave out -")
    return sys.stdin.buffer


def parser() -> CommandParser:
    """The command line."""
    parser = script_parser("predict", description=(__doc__ or "").partition("\n")[2].strip())
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("paths", metavar="PATH", nargs="+")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that is known")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to look at, one file for any browser")
    parser.add_argument(
        "--heatmaps",
        type=Path,
        metavar="DIR",
        help="write each image with its windows, tinted by attention, into a new folder",
    )
    parser.add_argument(
        "--dense", action="store_true", help="with --heatmaps or --html: and a map of overlapping windows"
    )
    parser.add_argument("--crops", type=at_least_one, metavar="N", help="default: training's")
    parser.add_argument("--sampling", metavar="RULE", help="rule that places them")
    parser.add_argument(
        "--coverage", choices=("sample", "all"), default="sample", help="all: a crop from every cell of the grid"
    )
    parser.add_argument(
        "--draws", type=at_least_one, default=1, metavar="K", help="average K draws of windows and give their spread"
    )
    parser.add_argument(
        "--no-stability", action="store_true", help="do not ask again after harmless changes: several times as fast"
    )
    parser.add_argument("--batch-size", type=at_least_one, help="default: training's")
    parser.add_argument("--threads", type=thread_count, default=2, help="default 2")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.dense and arguments.heatmaps is None and arguments.html is None:
        command.error("--dense needs --heatmaps DIR or --html FILE")
    return arguments


def _detector(arguments: argparse.Namespace) -> "tuple[Detector, PredictOptions, list[str]]":
    """The detector, how it is asked, and the warnings about its decoders that were printed."""
    import torch

    from glass.export.pixel_rules import print_decoder_warnings
    from glass.predict.detector import Detector, PredictOptions

    torch.set_num_threads(min(arguments.threads, os.cpu_count() or 1))
    with print_decoder_warnings() as warned:
        detector = Detector.from_pretrained(arguments.model, device=arguments.device, revision=arguments.revision)
    options = PredictOptions(
        num_crops=arguments.crops,
        sampling=arguments.sampling,
        coverage=arguments.coverage,
        draws=arguments.draws,
        stability=not arguments.no_stability,
        batch_size=arguments.batch_size,
        num_threads=arguments.threads,
    )
    detector.views(options)
    asked = [option for option in ("heatmaps", "dense") if getattr(arguments, option)]
    if asked and not detector.trained.sees_crops:
        raise InputError(f"a single_view model looks nowhere in particular: leave out --{asked[0]}")
    return detector, options, warned


def _page(
    detector: "Detector",
    options: "PredictOptions",
    head: "PredictionHead",
    warned: list[str],
    arguments: argparse.Namespace,
    num_images: int,
) -> "VerdictPage":
    from glass.verdict_page.model_facts import model_facts
    from glass.verdict_page.page import PageFacts, VerdictPage

    return VerdictPage(PageFacts(head, model_facts(detector, options, arguments.model), warned), num_images)


def _scored(
    detector: "Detector",
    sources: "list[ImageSource]",
    options: "PredictOptions",
    head: "PredictionHead",
    page: "VerdictPage | None",
    arguments: argparse.Namespace,
) -> "list[ImageVerdict]":
    """All verdicts. Each is also written to a file as it comes, which a stop leaves there; the page is written then."""
    from glass.predict.partial_rows import PartialRows, partial_path

    verdicts = []
    with PartialRows(arguments.json, arguments.csv, head) as rows:
        try:
            for verdict in _shown(detector, sources, options, page, arguments):
                rows.add(verdict)
                verdicts.append(verdict)
        except BaseException:
            kept = rows.paths
            if verdicts and page is not None:
                page.write(partial_path(arguments.html), [str(path) for path in kept])
                kept = [*kept, partial_path(arguments.html)]
            if verdicts and kept:
                names = " and ".join(str(path) for path in kept)
                print(printable(f"the {counted(len(verdicts), 'row')} so far: {names}"), file=sys.stderr)
            raise
    return verdicts


def _shown(
    detector: "Detector",
    sources: "list[ImageSource]",
    options: "PredictOptions",
    page: "VerdictPage | None",
    arguments: argparse.Namespace,
) -> "Iterator[ImageVerdict]":
    """The verdicts, each printed, and drawn where that is asked."""
    from glass.predict.verdict_lines import verdict_line

    asked = sources if page is None else page.watched(sources)
    for number, verdict in enumerate(detector.predict_iter(asked, options)):
        print(verdict_line(verdict), flush=True)
        drawn = _draw(detector, sources[number], verdict, number, page, arguments)
        if page is not None:
            page.add(verdict, asked[number], None, *drawn)
        yield verdict


def _draw(
    detector: "Detector",
    source: "ImageSource",
    verdict: "ImageVerdict",
    number: int,
    page: "VerdictPage | None",
    arguments: argparse.Namespace,
) -> "tuple[Pixels | None, DenseMap | None]":
    """Writes the heat maps of an image. What the page is to show of it: pixels and dense map."""
    from glass.predict.heatmaps import dense_attention, write_heat_maps
    from shards.images.rejection import RejectedImage

    on_page = page is not None and page.wants_picture(verdict)
    if verdict.reason is not None or not (on_page or arguments.heatmaps):
        return None, None
    try:
        pixels = source.load().pixels
        dense = dense_attention(detector, pixels) if arguments.dense else None
        if arguments.heatmaps is not None:
            write_heat_maps(arguments.heatmaps, number, pixels, verdict, dense)
    except (RejectedImage, OSError) as error:  # gone meanwhile, or the disk is full
        what = "heat map" if arguments.heatmaps is not None else "picture"
        print(printable(f"warning: no {what} of {verdict.path}: {error}"), file=sys.stderr)
        return None, None
    return (pixels, dense) if on_page else (None, None)


def _write(
    verdicts: "list[ImageVerdict]", head: "PredictionHead", page: "VerdictPage | None", outputs: "Outputs"
) -> None:
    from glass.predict.prediction_files import write_csv, write_json

    if outputs.json is not None:
        write_json(outputs.json, head, verdicts)
    if outputs.csv is not None:
        write_csv(outputs.csv, verdicts)
    if page is not None and outputs.html is not None:
        page.write(outputs.html, [name for name in outputs.names if name != str(outputs.html)])


if __name__ == "__main__":
    run_command(main)
