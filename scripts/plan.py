"""Shows which batch sizes, numbers of crops and chunks fit into a GPU's memory, before you rent one.

    glass plan --preset glass_resnet50 --gpu-memory-gib 12 --crops 16

The estimate is based on training-step memory recorded by ``glass bench memory --save-model``. If there is no record for
the backbone, the command computes the memory of some steps from tensor shapes. The last lines state the estimate's
error. All figures are tensor memory; CUDA's own memory is assumed, not measured.
"""

import argparse
import math
from typing import TYPE_CHECKING

from glass.config.overrides import apply_overrides, refuse_contradiction
from glass.config.run_config import RunConfig
from glass.config.set_option import add_settings
from glass.presets import load_preset, preset_names
from shards.cli.command import CommandParser, run_command
from shards.cli.wording import counted
from shards.errors import InputError

from .arguments import script_parser

if TYPE_CHECKING:
    from glass.memory.memory_plan import Plan, Planner

GIB = 1 << 30
SHOWN = 10


def main(argv: list[str] | None = None) -> int:
    """Prints the plans that fit; returns 0. Raises ``InputError`` if none fits."""
    options = parser().parse_args(argv)
    config = _settings(options)
    from glass.memory.memory_plan import Planner, usable_bytes  # takes seconds to import
    from glass.train.counted_step import count_by_shapes

    usable = usable_bytes(options.gpu_memory_gib * GIB)
    planner = Planner(config, _precision(options.precision, config.precision), count_by_shapes)
    plans = planner.plans(usable, config.loader.num_crops)
    if not plans:
        least = planner.estimate(1, config.loader.num_crops, 1).peak / GIB
        raise InputError(
            f"--gpu-memory-gib {options.gpu_memory_gib:g}: one image at a time needs {least:.1f} of"
            f" the {usable / GIB:.1f} GiB that tensors may take; take a larger GPU, a smaller"
            " backbone, or freeze one (--set model.freeze_global=true)"
        )
    best = plans[0]
    _print_plans(plans[:SHOWN], config)
    print(
        f"take: --set loader.global_batch_size={best.batch}"
        f" --set grad_accum_steps={best.grad_accum_steps} --set loader.num_crops={best.crops}"
        f" --set model.crop_chunk={str(best.crop_chunk).lower()}"
    )
    print(
        f"assumed: {usable / GIB:.1f} of {options.gpu_memory_gib:g} GiB for tensors; the relative cost counts "
        "operations, not time"
    )
    _print_errors(planner, best)
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("plan", __doc__)
    add = parser.add_argument
    add("--preset", required=True, help=", ".join(preset_names()))
    add("--gpu-memory-gib", type=float, required=True, metavar="G", help="memory of one GPU")
    add("--crops", type=int, metavar="N", help="crops per image (default: as in the preset)")
    add(
        "--precision",
        choices=("bf16", "fp16", "float32"),
        help="number format of the GPU's computations (default: as set with --set precision=…, or bf16)",
    )
    add_settings(parser, "change a setting of the preset (repeatable)")
    return parser


def _settings(options: argparse.Namespace) -> RunConfig:
    memory = options.gpu_memory_gib
    if not (math.isfinite(memory) and 0 < memory <= 100_000):
        raise InputError(f"--gpu-memory-gib {memory:g}: must be above 0")
    crops = [] if options.crops is None else [f"loader.num_crops={options.crops}"]
    for setting in crops:
        refuse_contradiction(f"--crops {options.crops}", setting, options.set)
    return apply_overrides(load_preset(options.preset), [*crops, *options.set])


def _precision(given: str | None, setting: str) -> str:
    """Returns the precision to plan for. ``given`` is the option, ``setting`` the run's. On most GPUs, ``auto`` means
    bf16.
    """
    if given and setting not in ("auto", given):
        raise InputError(f"--precision {given} contradicts --set precision={setting}: leave one of them out")
    return given or {"auto": "bf16"}.get(setting, setting)


def _print_plans(plans: "list[Plan]", config: RunConfig) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    parts = ["weights", "gradients", "optimiser", "activations", "input"]
    if config.train.ema is not None:
        parts.append("average")
    table = Table(
        title=f"{config.preset}: settings that fit, and the peak memory of a step in GiB",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in ("batch", "× steps", "crops", "chunk", "peak", *parts, "relative cost"):
        table.add_column(name, justify="right")
    for plan in plans:
        sizes = [plan.estimate.peak, *(getattr(plan.estimate, part) for part in parts)]
        table.add_row(
            str(plan.batch),
            str(plan.grad_accum_steps),
            str(plan.crops),
            str(plan.crop_chunk or "–"),
            *(f"{size / GIB:.2f}" for size in sizes),
            f"{plan.relative_cost:.2f}",
        )
    Console(width=110, highlight=False, markup=False).print(table)


def _print_errors(planner: "Planner", best: "Plan") -> None:
    errors = planner.errors()
    if not errors:
        print("no step was measured with similar settings: the estimate is an extrapolation")
        return

    def distance(row: object) -> float:
        assert isinstance(row, dict)
        chunk = row["crop_chunk"] or row["num_crops"]
        own = best.crop_chunk or best.crops
        return abs(math.log(row["num_crops"] / best.crops)) + abs(math.log(chunk / own))

    row, nearest = min(errors, key=lambda pair: distance(pair[0]))
    chunk = "no chunks" if row["crop_chunk"] is None else f"chunks of {row['crop_chunk']}"
    step = f"{counted(row['batch_size'], 'image')}, {counted(row['num_crops'], 'crop')}, {chunk}"
    step += f", {row['device']}"
    quotients = [error for _, error in errors]
    print(
        f"nearest measured step ({step}): {row['peak_bytes'] / GIB:.2f} GiB, the estimate"
        f" {100 * (nearest - 1):+.1f} % off; over all {len(errors)} measured steps"
        f" {100 * (min(quotients) - 1):+.1f} to {100 * (max(quotients) - 1):+.1f} %"
    )


if __name__ == "__main__":
    run_command(main)
