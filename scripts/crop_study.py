"""What do more crops cost, and what do they gain? Trains and measures a preset for each number of crops.

glass crop-study --data DATA --preset glass_resnet50 [--crops 1-16] [--steps 50]

Trains the preset with each number of crops N. Measures a training step's peak memory, step and epoch times, waiting
time for data, and validation accuracy. Fits straight lines to memory and time as functions of N. Then measures how the
accuracy, calibration, latency and memory of one trained model's predictions depend on N. Memory is the GPU's or, if
there is none, that of the tensors and of the process. Writes OUTPUT/crop_study.json and plots. If the study was
interrupted, the same command continues it.
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
from shards.cli.wording import counted
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
    from glass.studies.crop_documents import CropStudy

MAX_CROPS = 256
FIXED = {
    "epochs": "give --epochs, or --steps",
    "loader.num_crops": "give --crops",
    "loader.global_batch_size": "give --batch",
    "loader.device": "give --device",
    "tensorboard": "leave it out, because its runs write no TensorBoard logs",
    "train.trackers": "leave it out, because its runs are not tracked",
    "train.patience": "leave it out, because all of its runs are equally long",
}


def main(argv: list[str] | None = None) -> int:
    """Trains and measures with each number of crops, then writes and prints the results. Returns the exit code."""
    options = _parse(argv)
    require_one_process("glass crop-study")
    config = _settings(options)
    dataset = ShardDataset.open(options.data)
    for split in (config.train_split, config.valid_split):
        dataset.split_rows(split)
    choose_device(options.device)
    from glass.studies.crop_study import CropPlan, finished_crop_study, run_crop_study
    from glass.train.run import TrainingStopped
    from loaders.reading.open_shards import OpenShards

    plan = CropPlan(config, options.crops, options.steps)
    make_folder(options.output)
    with locked(options.output, "study"), OpenShards(dataset) as data:
        finished = finished_crop_study(plan, options.output, data)
        if finished is not None:
            _write_plots(finished, options.output)  # an earlier run may have been killed before it wrote them
            print(f"{options.output} is finished: see crop_study.json in it")
            return 0
        try:
            document = run_crop_study(data, plan, options.output, lambda line: print(line, flush=True))
        except TrainingStopped:
            print("stopped, with a checkpoint: run the same command to continue")
            return EXIT_STOPPED
    _finish(document, options.output)
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("crop_study", __doc__)
    add_data_and_preset(parser)
    parser.add_argument("--output", type=Path, help="folder of the study (default runs/crops-PRESET)")
    parser.add_argument(
        "--crops", type=_crops, default="1-16", metavar="A-B|A,B", help="numbers of crops N; default 1-16"
    )
    parser.add_argument("--batch", type=at_least_one, default=32, help="images per step; default 32")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=at_least_one, default=25, help="epochs for each N; default 25")
    length.add_argument("--steps", type=at_least_one, help="optimiser steps for each N, instead of epochs")
    parser.add_argument("--params", type=Path, help="a best.json of glass tune")
    add_settings(parser)
    add_device(parser)
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    options.output = options.output or Path("runs") / f"crops-{options.preset}"
    return options


def _settings(options: argparse.Namespace) -> RunConfig:
    config = load_preset(options.preset)
    if config.model.kind != "glass":
        raise InputError(f"--preset {options.preset} sees no crops: choose a preset called glass_…")
    if options.params is not None:
        from glass.studies.search_records import apply_params

        config = apply_params(config, options.params, options.set)
    refuse_fixed(options.set, FIXED)
    config = apply_overrides(config, options.set)
    if options.batch % config.grad_accum_steps:
        raise InputError(f"--batch {options.batch} is not divisible by grad_accum_steps={config.grad_accum_steps}")
    loader = replace(config.loader, global_batch_size=options.batch // config.grad_accum_steps)
    # A best.json may bring a patience.
    train = replace(config.train, patience=None)
    return replace(config, loader=loader, train=train, epochs=1 if options.steps else options.epochs)


def _crops(text: str) -> tuple[int, ...]:
    ends = text.split("-")
    given = [_crop_number(part) for part in (ends if len(ends) == 2 else text.split(","))]
    numbers = list(range(given[0], given[1] + 1)) if len(ends) == 2 else given
    if 0 in given or not numbers or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a range such as 1-16 nor a list such as 1,4,8 of different"
            f" numbers from 1 to {MAX_CROPS}"
        )
    return tuple(sorted(numbers))


def _crop_number(text: str) -> int:
    """Parses a number of crops. Returns 0 if ``text`` is not a number or is too large for the study."""
    if not text.isdecimal() or len(text) > 9:
        return 0
    return int(text) if int(text) <= MAX_CROPS else 0


def _finish(document: "CropStudy", output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    _write_plots(document, output)
    table = Table("against crops", "at no crop", "per crop", "R²", title=document["memory_is"])
    for name, fit in document["fits"].items():
        scale, unit = (2**20, "MiB") if name.endswith("_bytes") else (1, "s")
        r2 = "–" if fit["r2"] is None else f"{fit['r2']:.4f}"
        table.add_row(name, f"{fit['intercept'] / scale:.4g} {unit}", f"{fit['slope'] / scale:.4g} {unit}", r2)
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)
    for row in document["did_not_fit"]:
        print(printable(f"{counted(row['num_crops'], 'crop')}, {row['part']}: {row['why']}"))
    print(printable(f"wrote {output / 'crop_study.json'} and plots"))


def _write_plots(document: "CropStudy", output: Path) -> None:
    from glass.report.crop_plots import crop_svgs
    from glass.report.search_plots import save_svg

    for name, svg in crop_svgs(document).items():
        save_svg(svg, output / f"{name}.svg")


if __name__ == "__main__":
    run_command(main)
