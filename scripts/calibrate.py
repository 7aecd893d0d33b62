"""What do a detector's scores mean? Chooses temperature and threshold on a split reserved for calibration.

glass calibrate RUN --data DATA
glass calibrate RUN --data OWN --split NAME --held-out

Writes calibration.json beside the model; predict and evaluate use that file from then on. The calibration images must
not have been used to train or choose the model, and results on them must not be reported. Use the split calibration
(give glass build four shares, as in --split 0.6,0.15,0.15,0.1), or your own set.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.cli.command import CommandParser, printable, run_command
from shards.cli.progress import progress_bar
from shards.cli.wording import counted, percent
from shards.errors import InputError

from .arguments import add_device, at_least_one, script_parser, thread_count, threshold_advice

if TYPE_CHECKING:
    from glass.measure.calibration import Calibration

SPLIT = "calibration"
"""The split meant for calibration."""

FEW_REAL = 300
"""The command prints a note if the real images of the split come from fewer scenes than this: 1 % of them, the default
--max-fpr, would be fewer than three."""


def main(argv: list[str] | None = None) -> int:
    """Scores the split, fits temperature and threshold, and writes and prints them. Returns exit code 0."""
    arguments = parser().parse_args(argv)
    # The data set opens in milliseconds, torch in seconds: mistakes are reported before the wait.
    from shards.manifest.dataset import ShardDataset

    dataset = ShardDataset.open(arguments.data)
    dataset.require_local()
    rows = _rows(dataset, arguments.split, arguments.held_out)
    if not Path(arguments.run).is_dir():
        raise InputError(
            f"{arguments.run} is not a local folder, but the calibration is written beside the model: download a "
            "model of the hub first (hf download USER/NAME --local-dir DIR)"
        )
    from glass.config.run_folder import RunFolder
    from glass.config.unfinished_run import unfinished_warning
    from glass.export.pixel_rules import print_decoder_warnings
    from glass.measure.calibration import CALIBRATION_FILE, write_calibration
    from glass.model.hub import model_folder
    from glass.predict.detector import Detector
    from shards.files.outputs import check_output, is_json_with

    folder = model_folder(arguments.run)
    RunFolder(folder.parent).require_idle("its next epoch may replace the model, so wait for it")
    path = folder / CALIBRATION_FILE
    ours = is_json_with("temperature", "threshold", "weights_sha256")
    check_output(path, ours, "move it away, because the calibration is written there")
    if warning := unfinished_warning(folder):
        print(printable(warning), file=sys.stderr)
    # Ignores the existing calibration: one made for other weights must not prevent a new one.
    with print_decoder_warnings():
        detector = Detector.from_pretrained(folder, device=arguments.device, calibrated=False)
    calibration = _calibrate(detector, dataset, rows, arguments)
    verb = "rewrote" if path.exists() else "wrote"
    try:
        write_calibration(folder, calibration)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error
    _print(calibration)
    print(printable(f"{verb} {path}"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("calibrate", __doc__)
    parser.advice = threshold_advice
    parser.add_argument("run", metavar="RUN", help="folder of a run or of an exported model")
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument(
        "--split", default=SPLIT, help=f"split to calibrate on (default: {SPLIT}); any other split needs --held-out"
    )
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="confirm that the images of --split are used for calibration only: no result will be reported on them",
    )
    parser.add_argument(
        "--max-fpr",
        type=_share,
        default=0.01,
        help="highest share of real images that may be called generated (default 0.01)",
    )
    parser.add_argument(
        "--max-misses",
        type=_share,
        default=0.05,
        help="highest share of generated images that may be called real; scores between the two thresholds are "
        "uncertain (default 0.05)",
    )
    parser.add_argument("--crops", type=at_least_one, help="number of crops (default: as in training)")
    parser.add_argument(
        "--coverage", choices=("sample", "all"), default="sample", help="all: a crop from every cell of the grid"
    )
    parser.add_argument(
        "--draws", type=at_least_one, default=1, help="number of draws of windows, whose scores are averaged"
    )
    parser.add_argument("--threads", type=thread_count, default=2, help="number of threads; default 2")
    add_device(parser)
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 0.5:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 0.5")
    return value


def _rows(dataset: Any, split: str, held_out: bool) -> Any:
    if split != SPLIT and not held_out:
        raise InputError(
            f"a threshold chosen on {split} makes any result on {split} look too good: leave out --split to use "
            f"{SPLIT}, or give --held-out if no result will be reported on these images"
        )
    if SPLIT in split.split("+") and SPLIT not in dataset.info.counts:
        raise InputError(
            f"{dataset.where} has no split calibration: build the shards with four shares, such as --split "
            "0.6,0.15,0.15,0.1"
        )
    return dataset.split_rows(split)


def _calibrate(detector: Any, dataset: Any, rows: Any, arguments: argparse.Namespace) -> "Calibration":
    import numpy as np

    from glass.config.dataset_digest import dataset_digest
    from glass.measure.fit_calibration import calibration_fault, fit_calibration
    from glass.predict.options import PredictOptions
    from glass.predict.source_paths import row_sources

    config = detector.trained.config
    used = {*config.train_split.split("+"), *config.valid_split.split("+")}
    if detector.trained.learnt is not None:  # image ids say more than split names
        used = set()
    if reused := sorted(used & set(arguments.split.split("+"))):
        raise InputError(
            f"the model was trained on {', '.join(reused)}, or its epoch was chosen there: calibrate on a split that "
            "was used for neither"
        )
    _require_unlearnt(detector, dataset, rows, arguments)
    options = PredictOptions(
        num_crops=arguments.crops,
        coverage=arguments.coverage,
        draws=arguments.draws,
        num_threads=arguments.threads,
        stability=False,
    )
    views = detector.views(options)
    verdicts = detector.predict_iter(row_sources(dataset, rows), options)
    scored = [v.margin for v in progress_bar(len(rows), f"scoring {arguments.split}", over=verdicts)]
    kept = np.array([margin is not None for margin in scored])
    if not kept.any():
        raise InputError(f"none of the images of {arguments.split} in {dataset.where} can be read")
    margin = np.array([value for value in scored if value is not None], np.float64)
    label, groups = (dataset.column(name)[rows][kept] for name in ("label", "group"))
    sha256, limits = detector.trained.weights_sha256, (arguments.max_fpr, arguments.max_misses)
    calibration = fit_calibration(margin, label, views, sha256, *limits, groups)
    if fault := calibration_fault(calibration, margin, label):
        raise InputError(f"not calibrated, and nothing was written: {fault}")
    data = calibration.data | dataset_digest(dataset.root) | {"split": arguments.split}
    return replace(calibration, data=data)


def _require_unlearnt(detector: Any, dataset: Any, rows: Any, arguments: argparse.Namespace) -> None:
    """Raises ``InputError`` if the model's record lists any of the images as used to train it or to choose its epoch,
    or if the recorded content ids cannot be compared with those of this data set. If the model has no such record, only
    prints a note.
    """
    from glass.config.learnt_ids import LEARNT_FILE

    learnt, split = detector.trained.learnt, arguments.split
    if learnt is None:
        print(
            f"note: {arguments.run} has no {LEARNT_FILE}, so it is unknown whether the model was trained on images of "
            f"{split}; if it was, this calibration is worthless"
        )
        return
    if not learnt.is_comparable:
        raise InputError(
            f"{arguments.run} identifies the images that it learnt from by {learnt.identity!r}, which cannot be "
            f"compared with the ids in {dataset.root}: train the model again with this version, or, if you know that "
            f"it saw none of these images, move its {LEARNT_FILE} away"
        )
    uses = learnt.uses(dataset.column("content_id")[rows])
    if (count := int((uses > 0).sum())) == 0:
        return
    first = dataset.column("source_path")[rows[uses > 0][0]]
    raise InputError(
        f"{count:,} of the {counted(len(rows), 'image')} of {split} in {dataset.root}, such as {first}, were used to "
        "train the model or to choose its epoch: calibrate on images that it never saw (glass build --split with "
        "four shares makes a split for it)"
    )


def _print(calibration: "Calibration") -> None:
    from glass.measure.calibration import why_worse

    data, alarms, misses = calibration.data, calibration.false_alarms, calibration.called_real
    print(f"{data['real']} real and {data['generated']} generated images of split {data['split']}, {calibration.views}")
    scenes = data["real_scenes"]
    if scenes < FEW_REAL:
        of, unit = ("", "") if scenes == data["real"] else (f" of {counted(scenes, 'scene')}", " scenes")
        print(f"note: {data['real']} real images{of} say little about rare false alarms; use {FEW_REAL}{unit} or more")
    if calibration.views.coverage != "sample" or calibration.views.draws > 1:
        print(
            "note: glass evaluate cannot check whether this promise is kept, because it scores one draw of windows, "
            "without --coverage all"
        )
    print(f"temperature {calibration.temperature:.4g}")
    for name in ("ece", "nll", "brier"):
        print(f"  {name} {calibration.before[name]:.4f} before, {calibration.after[name]:.4f} after")
    if calibration.is_cautious:
        print(f"note: {why_worse(data)}")
    print(
        f"{calibration.threshold:.4f} and above: generated; false alarms on {percent(alarms['rate'])} of the real "
        f"images (95 % interval {percent(alarms['low'])} to {percent(alarms['high'])})"
    )
    print(
        f"below {calibration.real_below:.4f}: real; misses {percent(misses['rate'])} of the generated images (95 % "
        f"interval {percent(misses['low'])} to {percent(misses['high'])}); "
        + ("uncertain in between" if calibration.real_below < calibration.threshold else "no image is uncertain")
    )


if __name__ == "__main__":
    run_command(main)
