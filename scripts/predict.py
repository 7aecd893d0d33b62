"""Are these images generated? glass predict MODEL PATH…

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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shards.cli.command import CommandParser, printable, run_command
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.outputs import check_new_folder

from .arguments import at_least_one, script_parser, thread_count

if TYPE_CHECKING:
    from glass.predict.detector import Detector, PredictOptions
    from glass.predict.image_sources import ImageSource
    from glass.predict.prediction_files import PredictionHead
    from glass.predict.verdicts import ImageVerdict

EXIT_SOME_UNREADABLE = 3

STEM_BYTES = 100
"""So many bytes of an image's name stand in that of its heat map."""


def main(argv: list[str] | None = None) -> int:
    """Parses, finds the images, scores them, writes, prints."""
    arguments = _parse(argv)
    # Mistakes in paths are reported before torch is imported, which takes seconds.
    from glass.predict.partial_rows import partial_path
    from glass.predict.source_paths import find_images

    _check_outputs(arguments)
    trust = _trust(arguments)
    from glass.model.hub import local_folder

    local_folder(arguments.model)
    found = find_images(arguments.paths, _listed() if "-" in arguments.paths else ())
    if not found.sources:
        raise InputError(f"no images in {' '.join(arguments.paths)}")
    if found.passed_over:
        print(f"passed over {counted(found.passed_over, 'file')}, no images by name", file=sys.stderr)
    detector, options = _detector(arguments)
    from glass.predict.verdict_lines import document_head, heading, learnt_line, stability_line

    _check_earlier(arguments, detector, [source.name for source in found.sources])
    print(heading(detector, options), file=sys.stderr)
    head = document_head(detector, options, arguments.model)
    try:
        verdicts = _scored(detector, found.sources, options, head, arguments, trust)
        _write(verdicts, head, arguments)
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror or error}") from error
    for path in (arguments.json, arguments.csv):
        if path is not None:
            partial_path(path).unlink(missing_ok=True)
    counts = Counter(verdict.verdict or "unreadable" for verdict in verdicts)
    parts = [f"{number:,} {name}" for name, number in sorted(counts.items())]
    print(", ".join([*parts, stability_line(verdicts)]), file=sys.stderr)
    print(learnt_line(verdicts), file=sys.stderr)
    written = [arguments.json, arguments.csv, arguments.heatmaps]
    if names := [str(path) for path in written if path is not None]:
        print(printable(f"wrote {', '.join(names)}"), file=sys.stderr)
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
    parser.add_argument(
        "--heatmaps",
        type=Path,
        metavar="DIR",
        help="write each image with its windows, tinted by attention, into a new folder",
    )
    parser.add_argument("--dense", action="store_true", help="with --heatmaps: and a map of overlapping windows")
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
    parser.add_argument("--claims", action="store_true", help="show beside the verdict what the file says about itself")
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help="with --claims: certificates (PEM) of authorities that you trust"
    )
    parser.add_argument("--batch-size", type=at_least_one, help="default: training's")
    parser.add_argument("--threads", type=thread_count, default=2, help="default 2")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.dense and arguments.heatmaps is None:
        command.error("--dense needs --heatmaps DIR")
    if arguments.trust is not None and not arguments.claims:
        command.error("--trust needs --claims")
    return arguments


def _check_outputs(arguments: argparse.Namespace) -> None:
    from glass.predict.partial_rows import require_no_partial
    from glass.predict.prediction_files import check_csv_target, check_json_target

    both = [os.path.realpath(path) for path in (arguments.json, arguments.csv) if path]
    if len(both) > len(set(both)):
        raise InputError(f"--json and --csv are both {arguments.csv}: give each a file of its own")
    if arguments.json is not None:
        check_json_target(arguments.json)
    if arguments.csv is not None:
        check_csv_target(arguments.csv)
    for path in (arguments.json, arguments.csv):
        if path is not None:
            require_no_partial(path)
    folder: Path | None = arguments.heatmaps
    if folder is None:
        return
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    check_new_folder(folder, "a new folder for the heat maps")


def _trust(arguments: argparse.Namespace) -> str | None:
    """The certificates of ``--trust``, as PEM text."""
    if arguments.trust is None:
        return None
    from glass.claims.content_credentials import read_trust

    return read_trust(arguments.trust)


def _check_earlier(arguments: argparse.Namespace, detector: "Detector", names: list[str]) -> None:
    """Raises ``InputError`` where earlier verdicts would be lost, and prints which files will be replaced."""
    from glass.predict.earlier_predictions import require_none_lost

    sha256 = detector.trained.weights_sha256
    require_none_lost(arguments.json, arguments.csv, sha256, names)
    for path in (arguments.json, arguments.csv):
        if path is not None and path.exists():
            print(printable(f"note: {path} will be replaced"), file=sys.stderr)


def _detector(arguments: argparse.Namespace) -> "tuple[Detector, PredictOptions]":
    import torch

    from glass.export.pixel_rules import print_decoder_warnings
    from glass.predict.detector import Detector, PredictOptions

    torch.set_num_threads(min(arguments.threads, os.cpu_count() or 1))
    with print_decoder_warnings():
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
    if arguments.heatmaps is not None and not detector.trained.sees_crops:
        raise InputError("a single_view model looks nowhere in particular: leave out --heatmaps")
    return detector, options


def _scored(
    detector: "Detector",
    sources: "list[ImageSource]",
    options: "PredictOptions",
    head: "PredictionHead",
    arguments: argparse.Namespace,
    trust: str | None,
) -> "list[ImageVerdict]":
    """All verdicts. Each is also written to a file as it comes, which a stop leaves there."""
    from glass.predict.partial_rows import PartialRows
    from glass.predict.verdicts import csv_columns

    verdicts = []
    with PartialRows(arguments.json, arguments.csv, head, csv_columns(arguments.claims)) as rows:
        try:
            for verdict in _shown(detector, sources, options, arguments, trust):
                rows.add(verdict)
                verdicts.append(verdict)
        except BaseException:
            if verdicts and rows.paths:
                names = " and ".join(str(path) for path in rows.paths)
                print(printable(f"the {counted(len(verdicts), 'row')} so far: {names}"), file=sys.stderr)
            raise
    return verdicts


def _shown(
    detector: "Detector",
    sources: "list[ImageSource]",
    options: "PredictOptions",
    arguments: argparse.Namespace,
    trust: str | None,
) -> "Iterator[ImageVerdict]":
    """The verdicts, each printed, with the claims of its file and drawn where that is asked."""
    from glass.predict.source_claims import claims_of
    from glass.predict.verdict_lines import verdict_line
    from shards.images.rejection import RejectedImage

    for number, verdict in enumerate(detector.predict_iter(sources, options)):
        if arguments.claims:
            verdict = replace(verdict, claims=claims_of(sources[number], trust))
        print(verdict_line(verdict), flush=True)
        if arguments.heatmaps is not None and verdict.reason is None:
            try:
                _draw(detector, sources[number], verdict, arguments, number)
            except (RejectedImage, OSError) as error:  # gone meanwhile, or the disk is full
                print(printable(f"warning: no heat map of {verdict.path}: {error}"), file=sys.stderr)
        yield verdict


def _draw(
    detector: "Detector", source: "ImageSource", verdict: "ImageVerdict", arguments: argparse.Namespace, number: int
) -> None:
    from glass.predict.heatmaps import dense_attention, draw_dense, draw_windows

    pixels = source.load().pixels
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(verdict.path).stem)
    # File systems count bytes, and some take only 143.
    name = f"{number:06d}-{stem.encode()[:STEM_BYTES].decode(errors='ignore')}"
    draw_windows(pixels, verdict).save(arguments.heatmaps / f"{name}.png")
    if arguments.dense:
        windows, attention = dense_attention(detector, pixels)
        draw_dense(pixels, windows, attention).save(arguments.heatmaps / f"{name}-dense.png")


def _write(verdicts: "list[ImageVerdict]", head: "PredictionHead", arguments: argparse.Namespace) -> None:
    from glass.predict.prediction_files import write_csv, write_json
    from glass.predict.verdicts import csv_columns

    if arguments.json is not None:
        write_json(arguments.json, head, verdicts)
    if arguments.csv is not None:
        write_csv(arguments.csv, verdicts, csv_columns(arguments.claims))


if __name__ == "__main__":
    run_command(main)
