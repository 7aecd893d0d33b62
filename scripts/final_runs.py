"""Trains a preset with several seeds, tests each model once, and reports mean ± standard deviation.

glass final-runs --data DATA --preset glass_resnet50 [--params best.json]

The train and valid splits are merged, and 5 % of their images are held back to choose the epoch; the test split is
scored once per seed. Writes OUTPUT/final_runs.json and a run folder per seed. If the command was interrupted, run it
again to continue.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glass.config.overrides import apply_overrides, refuse_fixed
from glass.config.run_config import RunConfig
from glass.config.set_option import add_settings
from glass.presets import load_preset
from shards.cli.command import CommandParser, printable, run_command
from shards.errors import InputError
from shards.files.outputs import locked, make_folder
from shards.manifest.dataset import ShardDataset

from .arguments import (
    EXIT_STOPPED,
    add_data_and_preset,
    add_device,
    at_least_one,
    choose_device,
    require_one_process,
    script_parser,
)

if TYPE_CHECKING:
    from glass.studies.final_documents import FinalRuns

_SPLITS = "leave it out: train and valid are merged, and --hold-out sets the share that is held back"
FIXED = {
    "epochs": "give --epochs",
    "seed": "give --seeds",
    "loader.seed": "give --seeds",
    "train_split": _SPLITS,
    "valid_split": _SPLITS,
    "loader.device": "give --device",
}


def main(argv: list[str] | None = None) -> int:
    """Trains and tests one model per seed, then writes and prints the results. Returns the exit code."""
    options = _parse(argv)
    require_one_process("glass final-runs")
    config = _settings(options)
    dataset = ShardDataset.open(options.data)
    for split in ("train+valid", "test"):
        dataset.split_rows(split)
    choose_device(options.device)
    from glass.studies.final_runs import FinalPlan, is_finished, run_seeds
    from glass.train.run import TrainingStopped
    from loaders.reading.open_shards import OpenShards

    plan = FinalPlan(config, options.seeds, options.hold_out)
    make_folder(options.output)
    with locked(options.output, "study"), OpenShards(dataset) as data:
        if is_finished(plan, options.output, data):
            print(f"{options.output} is finished: see final_runs.json in it")
            return 0
        try:
            document = run_seeds(data, plan, options.output, lambda line: print(line, flush=True))
        except TrainingStopped:
            print("stopped, with a checkpoint: run the same command to continue")
            return EXIT_STOPPED
    _print(document)
    print(printable(f"wrote {options.output / 'final_runs.json'}"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("final_runs", __doc__)
    add_data_and_preset(parser)
    parser.add_argument("--params", type=Path, help="a best.json of glass tune")
    parser.add_argument("--output", type=Path, help="folder of the runs (default runs/final-PRESET)")
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default="100,200,300,400,500",
        metavar="S,…",
        help="seeds of the runs; default %(default)s",
    )
    parser.add_argument("--epochs", type=at_least_one, default=50, help="epochs of each run; default 50")
    parser.add_argument(
        "--hold-out",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of train and valid held back to choose the epoch; default 0.05",
    )
    add_settings(parser)
    add_device(parser)
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    if not 0 < options.hold_out < 1:
        raise InputError(f"--hold-out {options.hold_out:g} must lie between 0 and 1")
    options.output = options.output or Path("runs") / f"final-{options.preset}"
    return options


def _settings(options: argparse.Namespace) -> RunConfig:
    config = load_preset(options.preset)
    refuse_fixed(options.set, FIXED)
    if options.params is not None:
        from glass.studies.search_records import apply_params

        config = apply_params(config, options.params, options.set)
    return replace(apply_overrides(config, options.set), epochs=options.epochs)


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    seeds = [int(part) if part.isdecimal() and len(part) < 20 else -1 for part in parts]
    if not all(0 <= seed < 2**63 for seed in seeds) or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of different whole numbers below 2**63, such as 100,200,300"
        )
    return tuple(seeds)


def _print(document: "FinalRuns") -> None:
    from rich.console import Console
    from rich.table import Table

    from glass.report.tables import METRIC_ROWS, interval_text

    seeds = len(document["seeds"])
    table = Table("metric, test split", f"mean ± sd of {seeds} seeds", "95 % interval of the mean")
    for name, title, _ in METRIC_ROWS:
        row = document["summary"][name]
        if row["mean"] is None:
            continue
        spread = "" if row["sd"] is None else f" ± {row['sd']:.4f}"
        between = interval_text(row["mean"], row["interval"], "{:.4f}".format, " – ")
        table.add_row(title, f"{row['mean']:.4f}{spread}", between)
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


if __name__ == "__main__":
    run_command(main)
