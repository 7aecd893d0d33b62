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
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.arguments import at_least_one, thread_count
from shards.cli.command import CommandParser, printable, run_command
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.outputs import check_new_folder

if TYPE_CHECKING:
    from glass.predict.detector import Detector, PredictOptions
    from glass.predict.image_sources import ImageSource
    from glass.predict.verdicts import ImageVerdict

EXIT_SOME_UNREADABLE = 3
LEARNT = {"train": "trained on this very image", "valid": "this very image chose the epoch"}
"""What is said of an image that the model learnt from."""

STEM_BYTES = 100
"""Of an image's name in that of its heat map."""


def main(argv: list[str] | None = None) -> int:
    """Parses, finds the images, scores them, writes, prints."""
    arguments = _parse(argv)
    # Mistakes in paths are told before torch is imported, which takes seconds.
    from glass.predict.partial_rows import partial_path
    from glass.predict.source_paths import find_images

    _check_outputs(arguments)
    found = find_images(arguments.paths, _listed() if "-" in arguments.paths else ())
    if not found.sources:
        raise InputError(f"no images in {' '.join(arguments.paths)}")
    if found.passed_over:
        print(f"passed over {counted(found.passed_over, 'file')}, no images by name", file=sys.stderr)
    detector, options = _detector(arguments)
    _check_earlier(arguments, detector, [source.name for source in found.sources])
    print(_heading(detector, options), file=sys.stderr)
    head = _head(detector, options, arguments.model)
    try:
        verdicts = _scored(detector, found.sources, options, head, arguments)
        _write(verdicts, head, arguments)
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror or error}") from error
    for path in (arguments.json, arguments.csv):
        if path is not None:
            partial_path(path).unlink(missing_ok=True)
    counts = Counter(verdict.verdict or "unreadable" for verdict in verdicts)
    parts = [f"{number:,} {name}" for name, number in sorted(counts.items())]
    print(", ".join([*parts, _stability(verdicts)]), file=sys.stderr)
    print(_learnt(verdicts), file=sys.stderr)
    written = [arguments.json, arguments.csv, arguments.heatmaps]
    if names := [str(path) for path in written if path is not None]:
        print(printable(f"wrote {', '.join(names)}"), file=sys.stderr)
    return EXIT_SOME_UNREADABLE if counts["unreadable"] else 0


def _listed() -> Iterable[bytes]:
    """The lines of stdin as bytes: names of files need not be text."""
    if sys.stdin is None:
        raise InputError("there is no stdin to read a list from: leave out -")
    return sys.stdin.buffer


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(prog="python -m scripts.predict", description=(__doc__ or "").partition("\n")[2].strip())
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
    parser.add_argument("--batch-size", type=at_least_one, help="default: training's")
    parser.add_argument("--threads", type=thread_count, default=2, help="default 2")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    arguments = parser.parse_args(argv)
    if arguments.dense and arguments.heatmaps is None:
        parser.error("--dense needs --heatmaps DIR")
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


def _check_earlier(arguments: argparse.Namespace, detector: "Detector", names: list[str]) -> None:
    """Raises ``InputError`` where verdicts of before would be lost, and says what is replaced."""
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


def _heading(detector: "Detector", options: "PredictOptions") -> str:
    """What the figures in the first column are."""
    calibration = detector.calibration_for(options)
    if calibration is not None:
        alarms = calibration.false_alarms
        return (
            f"calibrated probability of being generated; from {calibration.threshold:.3f}"
            f" generated, below {calibration.real_below:.3f} real; false alarms"
            f" {alarms['low']:.1%} to {alarms['high']:.1%} on images like those calibrated on"
        )
    if detector.trained.calibration is not None:
        from glass.measure.applied_calibration import why_not_applicable

        why = why_not_applicable(detector.trained.calibration, detector.views(options))
    else:
        why = "the model is not calibrated (python -m scripts.calibrate)"
    return f"raw scores, generated from 0.5: {why}"


def _head(detector: "Detector", options: "PredictOptions", model: str) -> dict[str, Any]:
    calibration = detector.calibration_for(options)
    return {
        "model": {
            "path": printable(model),
            "kind": detector.trained.config.model.kind,
            "weights_sha256": detector.trained.weights_sha256,
        },
        "views": asdict(detector.views(options)),
        "calibrated": calibration is not None,
        "threshold": 0.5 if calibration is None else calibration.threshold,
        "real_below": 0.5 if calibration is None else calibration.real_below,
        "note": _heading(detector, options),
    }


def _scored(
    detector: "Detector",
    sources: "list[ImageSource]",
    options: "PredictOptions",
    head: dict[str, Any],
    arguments: argparse.Namespace,
) -> "list[ImageVerdict]":
    """All verdicts. Each is also written to a file as it comes, which a stop leaves there."""
    from glass.predict.partial_rows import PartialRows

    verdicts = []
    with PartialRows(arguments.json, arguments.csv, head) as rows:
        try:
            for verdict in _shown(detector, sources, options, arguments):
                rows.add(verdict)
                verdicts.append(verdict)
        except BaseException:
            if verdicts and rows.paths:
                names = " and ".join(str(path) for path in rows.paths)
                print(printable(f"the {counted(len(verdicts), 'row')} so far: {names}"), file=sys.stderr)
            raise
    return verdicts


def _shown(
    detector: "Detector", sources: "list[ImageSource]", options: "PredictOptions", arguments: argparse.Namespace
) -> "Iterator[ImageVerdict]":
    """The verdicts, each printed, and drawn where that is asked."""
    from shards.images.rejection import RejectedImage

    for number, verdict in enumerate(detector.predict_iter(sources, options)):
        print(_line(verdict), flush=True)
        if arguments.heatmaps is not None and verdict.reason is None:
            try:
                _draw(detector, sources[number], verdict, arguments, number)
            except (RejectedImage, OSError) as error:  # gone meanwhile, or the disk is full
                print(printable(f"warning: no heat map of {verdict.path}: {error}"), file=sys.stderr)
        yield verdict


def _line(verdict: "ImageVerdict") -> str:
    path = printable(verdict.path).replace("\n", "\\n")
    if verdict.reason is not None:
        return f"{'unreadable':<10} {'':6} {'':8}  {path}: {printable(verdict.reason)}"
    value = verdict.score if verdict.probability is None else verdict.probability
    spread = ""
    if len(verdict.draw_scores) > 1:
        low, high = min(verdict.draw_scores), max(verdict.draw_scores)
        spread = f"  (raw scores of the draws {low:.3f} to {high:.3f})"
    unstable = "unstable" if verdict.unstable else ""
    learnt = f"  ({LEARNT[verdict.learnt]})" if verdict.learnt else ""
    return f"{verdict.verdict:<10} {value:6.4f} {unstable:<8}  {path}{spread}{learnt}"


def _stability(verdicts: "list[ImageVerdict]") -> str:
    """How many verdicts are unstable, of those for which it was tried."""
    tried = [verdict.unstable for verdict in verdicts if verdict.unstable is not None]
    if not tried:
        return "stability not tested"
    scored = sum(verdict.reason is None for verdict in verdicts)
    of = "" if len(tried) == scored else f" of {len(tried):,} tested"
    return f"{sum(tried):,} unstable{of}"


def _learnt(verdicts: "list[ImageVerdict]") -> str:
    """What must be known of these images before their verdicts are taken for a test."""
    uses = [verdict.learnt for verdict in verdicts if verdict.reason is None]
    if all(use is None for use in uses):
        return "note: which images the model was trained on is not known"
    learnt = sum(bool(use) for use in uses)
    if not learnt:
        return "the model learnt from none of these images"
    return (
        f"WARNING: the model learnt from {learnt:,} of these {counted(len(uses), 'image')}: their verdicts"
        " show what it learnt by heart"
    )


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


def _write(verdicts: "list[ImageVerdict]", head: dict[str, Any], arguments: argparse.Namespace) -> None:
    from glass.predict.prediction_files import write_csv, write_json

    if arguments.json is not None:
        write_json(arguments.json, head, verdicts)
    if arguments.csv is not None:
        write_csv(arguments.csv, verdicts)


if __name__ == "__main__":
    run_command(main)
