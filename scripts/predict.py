"""Are these images generated? glass predict MODEL PATH…

MODEL is a run folder, an exported model, or USER/NAME on the Hugging Face hub. PATH is a file, a folder, a pattern, a
tar or folder of shards, or - for a list of paths on stdin. Prints one line per image, in order. Exit code 3 means that
some images could not be read; the others have verdicts. While the command runs, it writes finished rows to FILE.partial
beside each FILE that an option names. If the command is stopped, these files stay.
"""

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from shards.cli.command import CommandParser, printable, run_command
from shards.cli.startup import without_collecting
from shards.cli.streams import has_reader
from shards.cli.wording import counted
from shards.cores import usable_cores
from shards.errors import InputError

from .arguments import add_device, at_least_one, script_parser, thread_count, threshold_advice

if TYPE_CHECKING:
    from glass.predict.detector import Detector, PredictOptions
    from glass.predict.heatmaps import DenseMap
    from glass.predict.image_sources import ImageSource, LoadedImage
    from glass.predict.outputs import Outputs
    from glass.predict.partial_rows import RowOptions, StoppedRun
    from glass.predict.prediction_files import PredictionHead
    from glass.predict.verdicts import ImageVerdict
    from glass.verdict_page.page import VerdictPage

EXIT_SOME_UNREADABLE = 3


def main(argv: list[str] | None = None) -> int:
    """Finds the images, scores them, and prints and writes the verdicts. Returns the exit code."""
    arguments = _parse(argv)
    # Mistakes in paths are reported before torch is imported, which takes seconds.
    from glass.predict.outputs import Outputs
    from glass.predict.source_paths import find_images

    outputs = Outputs(arguments.json, arguments.csv, arguments.html, arguments.heatmaps)
    outputs.check(arguments.resume)
    trust = None
    if arguments.trust is not None:
        from glass.claims.content_credentials import read_trust

        trust = read_trust(arguments.trust)
    from glass.config.unfinished_run import unfinished_warning
    from glass.export.card_file import read_model_card
    from glass.model.hub import local_folder

    folder = local_folder(arguments.model)
    if folder is not None:
        read_model_card(folder)
    found = find_images(arguments.paths, _listed() if "-" in arguments.paths else ())
    if not found.sources:
        raise InputError(
            f"no images in {' '.join(arguments.paths)}: give image files, folders of them, patterns or shards"
        )
    if found.passed_over:
        print(f"skipped {counted(found.passed_over, 'file')} without an image extension", file=sys.stderr)
    detector, options, warned = _detector(arguments)
    from glass.predict.verdict_lines import data_note_line, document_head, heading, learnt_line, stability_line

    head = document_head(detector, options, arguments.model)
    for path in outputs.check_earlier(head, [source.name for source in found.sources]):
        print(printable(f"note: {path} will be replaced"), file=sys.stderr)
    if folder is not None and (warning := unfinished_warning(folder)):
        print(printable(warning), file=sys.stderr)
    print(heading(detector, options), file=sys.stderr)
    for note in head["data_notes"]:
        print(data_note_line(note), file=sys.stderr)
    page = None
    if outputs.html is not None:
        from glass.verdict_page.page import VerdictPage
        from glass.verdict_page.page_facts import page_facts

        page = VerdictPage(page_facts(detector, options, head, warned), len(found.sources))
    task = _Task(arguments, outputs, detector, options, head, page, trust)
    stopped = _stopped(task, found.sources) if arguments.resume else None
    try:
        verdicts = _scored(task, found.sources, stopped)
        _write(task, verdicts)
    except OSError as error:
        name = error.filename or " and ".join(outputs.names)  # a failed write names no file
        raise InputError(f"cannot write {name}: {error.strerror or error}") from error
    outputs.remove_partial()
    counts = Counter(verdict.verdict or "unreadable" for verdict in verdicts)
    parts = [f"{number:,} {name}" for name, number in sorted(counts.items())]
    print(", ".join([*parts, stability_line(verdicts)]), file=sys.stderr)
    print(learnt_line(verdicts), file=sys.stderr)
    if outputs.names:
        print(printable(f"wrote {', '.join(outputs.names)}"), file=sys.stderr)
    return EXIT_SOME_UNREADABLE if counts["unreadable"] else 0


def _listed() -> Iterable[bytes]:
    """The lines of stdin, as bytes, since file names need not be valid text."""
    if sys.stdin is None:
        raise InputError("there is no stdin to read a list from: leave out -")
    return sys.stdin.buffer


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("predict", description=(__doc__ or "").partition("\n")[2].strip())
    parser.advice = threshold_advice
    parser.add_argument("model", metavar="MODEL", help="a run, an exported model, or USER/NAME on the hub")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="file, folder, pattern, shards, or - for stdin")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the verdicts as a CSV table")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the verdicts as one HTML page, with pictures")
    parser.add_argument(
        "--heatmaps",
        type=Path,
        metavar="DIR",
        help="write each image with its windows, tinted by attention, into a new folder",
    )
    parser.add_argument(
        "--dense",
        action="store_true",
        help="with --heatmaps or --html: also draw a dense map, from windows that cover all of the image",
    )
    parser.add_argument("--crops", type=at_least_one, metavar="N", help="number of crops (default: as in training)")
    parser.add_argument(
        "--sampling", metavar="RULE", help="sampling rule that places the crops (default: as in training)"
    )
    parser.add_argument(
        "--coverage", choices=("sample", "all"), default="sample", help="all: a crop from every cell of the grid"
    )
    parser.add_argument(
        "--draws", type=at_least_one, default=1, metavar="K", help="average K draws of windows and give their spread"
    )
    parser.add_argument(
        "--no-stability",
        action="store_true",
        help="do not test whether harmless changes would flip the verdict; several times faster",
    )
    parser.add_argument(
        "--claims", action="store_true", help="beside the verdict, show what the file says about its origin"
    )
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help="with --claims: certificates (PEM) of authorities that you trust"
    )
    parser.add_argument("--batch-size", type=at_least_one, help="images per batch (default: as in training)")
    parser.add_argument("--threads", type=thread_count, default=2, help="number of threads; default 2")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue a stopped run on the same images, from the verdicts in FILE.partial of --json",
    )
    add_device(parser)
    parser.add_argument("--revision", help="with USER/NAME: branch, tag or commit on the hub")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.dense and arguments.heatmaps is None and arguments.html is None:
        command.error("--dense needs --heatmaps DIR or --html FILE")
    if arguments.trust is not None and not arguments.claims:
        command.error("--trust needs --claims")
    if arguments.resume and arguments.json is None:
        command.error("--resume needs --json FILE: FILE.partial holds the verdicts of the stopped run")
    if arguments.resume and (arguments.html or arguments.heatmaps):
        command.error("--resume keeps verdicts, but no pictures: leave out --html and --heatmaps")
    return arguments


def _detector(arguments: argparse.Namespace) -> "tuple[Detector, PredictOptions, list[str]]":
    """Returns the detector, its options, and the decoder warnings that were printed."""
    with without_collecting():
        import torch

        from glass.export.pixel_rules import print_decoder_warnings
        from glass.predict.detector import Detector, PredictOptions

    torch.set_num_threads(min(arguments.threads, usable_cores()))
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
        raise InputError(f"a single_view model has no attention to show: leave out --{asked[0]}")
    return detector, options, warned


@dataclass(frozen=True)
class _Task:
    """How to score the images, and where the results go."""

    arguments: argparse.Namespace
    outputs: "Outputs"
    detector: "Detector"
    options: "PredictOptions"
    head: "PredictionHead"
    page: "VerdictPage | None"
    trust: str | None

    @property
    def row_options(self) -> "RowOptions":
        calibration = self.detector.calibration_for(self.options)
        return {
            "stability": self.options.stability,
            "claims": self.arguments.claims,
            "trust": None if self.trust is None else hashlib.sha256(self.trust.encode()).hexdigest(),
            "temperature": None if calibration is None else calibration.temperature,
        }


def _stopped(task: _Task, sources: "list[ImageSource]") -> "StoppedRun | None":
    """Returns what is left of the run that ``--resume`` continues; None if there is none to continue."""
    from glass.predict.partial_rows import partial_path
    from glass.predict.resumed_rows import require_same_table, stopped_run
    from glass.predict.verdicts import csv_columns

    outputs = task.outputs
    assert outputs.json is not None
    stopped = stopped_run(outputs.json, task.head, task.row_options, sources)
    if stopped is None:
        said = f"nothing to resume: no {partial_path(outputs.json)}; starting from the beginning"
        print(printable(said), file=sys.stderr)
        return None
    if outputs.csv is not None:
        columns = csv_columns(task.arguments.claims, bool(task.head["data_notes"]))
        require_same_table(outputs.csv, stopped.verdicts, columns)
    print(f"resuming: {len(stopped.verdicts):,} of {counted(len(sources), 'image')} have verdicts", file=sys.stderr)
    return stopped


def _scored(task: _Task, sources: "list[ImageSource]", stopped: "StoppedRun | None") -> "list[ImageVerdict]":
    """Scores all ``sources`` but the first, which have verdicts from a ``stopped`` run, and returns all verdicts. Each
    verdict is also written to the partial files at once. If the command is stopped, these files stay, and, if an HTML
    page was requested, a page with the verdicts so far is written beside them.
    """
    from glass.predict.partial_rows import PartialRows, partial_path
    from glass.predict.resumed_rows import file_stamp
    from glass.predict.verdicts import csv_columns

    verdicts = list(stopped.verdicts) if stopped else []
    outputs, columns = task.outputs, csv_columns(task.arguments.claims, bool(task.head["data_notes"]))
    with PartialRows(outputs.json, outputs.csv, task.head, task.row_options, columns, outputs.html, stopped) as rows:
        try:
            left = sources[len(verdicts) :]
            for verdict, source in zip(_shown(task, left), left, strict=False):  # ends early if nobody reads on
                rows.add(verdict, file_stamp(source))
                verdicts.append(verdict)
        except BaseException:
            kept = rows.paths
            if verdicts and task.page is not None and outputs.html is not None:
                task.page.write(partial_path(outputs.html), [str(path) for path in kept])
                kept = [*kept, partial_path(outputs.html)]
            if verdicts and kept:
                names = " and ".join(str(path) for path in kept)
                further = "" if outputs.json is None or task.page else "; add --resume to the command to continue"
                said = f"stopped; the {counted(len(verdicts), 'row')} so far are in {names}{further}"
                print(printable(said), file=sys.stderr)
            raise
    return verdicts


def _shown(task: _Task, sources: "list[ImageSource]") -> "Iterator[ImageVerdict]":
    """Prints and yields each verdict. As the options require, adds the file's claims to the verdict, writes heat maps,
    and adds the verdict to the page.
    """
    from glass.predict.source_claims import claims_of
    from glass.predict.verdict_lines import verdict_line

    asked = sources if task.page is None else task.page.watched(sources)
    for number, verdict in enumerate(task.detector.predict_iter(asked, task.options)):
        if task.arguments.claims:
            verdict = replace(verdict, claims=claims_of(sources[number], task.trust))
        print(verdict_line(verdict), flush=True)
        drawn = _draw(task, sources[number], verdict, number)
        if task.page is not None:
            task.page.add(verdict, asked[number], *drawn)
        yield verdict
        if not (has_reader() or task.outputs.names):
            return


def _draw(
    task: _Task, source: "ImageSource", verdict: "ImageVerdict", number: int
) -> "tuple[LoadedImage | None, DenseMap | None]":
    """Writes an image's heat maps. Returns (image, dense attention map) for the page: both None if the page does not
    show the image, or if loading it or writing the maps failed; the map is None without ``--dense``.
    """
    on_page, folder = task.page is not None and task.page.wants_picture(verdict), task.outputs.heatmaps
    if verdict.reason is not None or not (on_page or folder):
        return None, None
    from glass.predict.heatmaps import dense_attention, write_heat_maps
    from shards.images.rejection import RejectedImage, explained

    try:
        loaded = source.load()
        dense = dense_attention(task.detector, loaded.pixels) if task.arguments.dense else None
        if folder is not None:
            write_heat_maps(folder, number, loaded.pixels, verdict, dense)
    except (RejectedImage, OSError) as error:  # deleted meanwhile, or the disk is full
        what = "picture" if folder is None else "heat map"
        print(printable(f"warning: no {what} of {verdict.path}: {explained(str(error))}"), file=sys.stderr)
        return None, None
    return (loaded, dense) if on_page else (None, None)


def _write(task: _Task, verdicts: "list[ImageVerdict]") -> None:
    from glass.predict.prediction_files import write_csv, write_json
    from glass.predict.verdicts import csv_columns

    outputs = task.outputs
    if outputs.json is not None:
        write_json(outputs.json, task.head, verdicts)
    if outputs.csv is not None:
        write_csv(outputs.csv, verdicts, csv_columns(task.arguments.claims, bool(task.head["data_notes"])))
    if task.page is not None and outputs.html is not None:
        task.page.write(outputs.html, [name for name in outputs.names if name != str(outputs.html)])


if __name__ == "__main__":
    run_command(main)
