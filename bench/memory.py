"""``python -m bench memory``: what a training step takes, against the number of crops.

Question: how much memory does one more crop cost, plainly and with ``model.crop_chunk``, and how
much time does the chunked step take instead?
Method: per preset, number of crops and chunk a process of its own takes real training steps on
random pixels, as ``train.py`` does. One step is counted. On a GPU the count is that of CUDA's
allocator. On a CPU it is the sum of all tensor storages that live at the worst moment, as torch's
dispatcher sees them come and go; beside it stand two other counts, of the storages that autograd
keeps and of the process's resident memory. Then, at ``--time-crops``, plain and chunked step in
turn against the clock.

    python -m bench memory --presets glass_vit_base,glass_resnet50 --output runs/memory

``--count shapes`` takes the same steps on tensors without numbers: the same count of storages, in
seconds and for any size, without process memory and time.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness.arguments import bench_parser, check_output, names_among, progress, whole_numbers
from bench.harness.environment import environment, warn_if_busy
from bench.harness.harness import Measurement, alternate, ratio
from bench.harness.pinning import choose_cores
from bench.harness.schemas import print_result
from bench.harness.task import Task
from bench.memory_parts.fits import fit, memory_ratios
from bench.memory_parts.plots import plot_memory
from bench.memory_parts.tables import print_memory
from glass.memory.memory_model import MEMORY_MODEL, save_rows
from glass.presets import load_preset, preset_names
from shards.errors import InputError
from shards.files.outputs import cannot_write

__all__ = ["main"]

BENCH = "memory"
PRECISIONS = ("auto", "float32", "bf16", "fp16")


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 1 where a process crashed: a plain step may not fit where another does."""
    options = _parse(argv)
    presets, crops, timed = _check(options)
    cores = choose_cores(options.threads)
    found = environment(cores)
    warn_if_busy(found)
    rows: list[dict[str, Any]] = []
    step_times: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for preset in presets:
        for number in crops:
            rounds = options.rounds if number in timed else 0
            progress(f"{preset}, {number} crops")
            tasks = _tasks(options, preset, number, cores)
            if options.count == "shapes":
                rows += [_row(options, _counted_by_shapes(task)) for task in tasks]
                continue
            outcome = alternate(tasks, rounds, progress)
            rows += [_row(options, measurement) for measurement in outcome.measurements]
            for method, reason in outcome.failed.items():
                failed[f"{preset}, {number} crops, {method}"] = reason
            if rounds and len(outcome.measurements) == 2:
                plain, chunked = outcome.measurements
                step_times[f"{preset}@{number}crops"] = ratio(plain, chunked)
    fits = fit(rows)
    ratios, ranges = memory_ratios(rows, fits, step_times)
    document = {
        "bench": BENCH,
        "rows": rows,
        "ratios": ratios,
        "ratio_ranges": ranges,
        "fits": fits,
        "environment": found,
        "failed": failed,
    }
    print_memory(document)
    print_result(document, options.output, BENCH, partial(plot_memory, rows, fits))
    if options.save_model:
        progress(f"wrote {_saved(rows, found)}")
    return 1 if failed else 0


def _saved(rows: list[dict[str, Any]], found: dict[str, Any]) -> Path:
    """The file that now holds the rows."""
    try:
        return save_rows(rows, found)
    except OSError as error:
        raise InputError(f"--save-model: {cannot_write(MEMORY_MODEL, error)}") from error


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "Memory and time of a training step, plain and in chunks of crops.")
    add = parser.add_argument
    add("--presets", "--preset", default="glass_vit_base,glass_resnet50", metavar="P,…")
    add("--crops", default="1,2,4,8,16", metavar="N,…", help="numbers of crops")
    add("--crop-chunk", type=int, metavar="C", help="only this chunk (default: plain and 1, in turn)")
    add("--batch-size", type=int, default=4, help="images per step")
    add("--precision", choices=PRECISIONS, default="auto")
    add("--time-crops", default="8", metavar="N,…", help="numbers of crops at which steps are timed")
    add("--rounds", type=int, default=5, help="timed steps of each, in turn; 0: only count memory")
    add("--threads", type=int, default=1, help="threads on a CPU")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the preset")
    add(
        "--count",
        choices=("steps", "shapes"),
        default="steps",
        help="count real steps, or what they would allocate, in seconds and without timing",
    )
    add("--output", type=Path, metavar="DIR", help="also write the JSON document and plots here")
    add("--save-model", action="store_true", help="keep the rows where scripts.plan finds them, in place of older ones")
    return parser.parse_args(argv)


def _check(options: argparse.Namespace) -> tuple[list[str], list[int], list[int]]:
    """(presets, numbers of crops, of these the timed ones). Raises ``InputError``."""
    presets = names_among("--presets", options.presets, preset_names())
    for preset in presets:
        if load_preset(preset).model.kind != "glass":
            raise InputError(f"--presets {preset}: it sees no crops; take one of glass_*")
    for name, low in (("crop_chunk", 1), ("batch_size", 1), ("rounds", 0), ("threads", 1)):
        value = getattr(options, name)
        if value is not None and value < low:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be at least {low}")
    check_output(options)
    crops = whole_numbers("--crops", options.crops)
    return presets, crops, whole_numbers("--time-crops", options.time_crops)


def _tasks(options: argparse.Namespace, preset: str, num_crops: int, cores: list[int]) -> list[Task]:
    chunks = [None, 1] if options.crop_chunk is None else [options.crop_chunk]
    return [
        Task(
            method="plain" if chunk is None else "chunked",
            where="bench.memory_parts.step:TrainingStep",
            data="",
            num_crops=num_crops,
            threads=options.threads,
            cores=cores,
            seconds_per_round=1e-6,
            options={
                "preset": preset,
                "batch_size": str(options.batch_size),
                "crop_chunk": str(chunk),
                "precision": options.precision,
                "count": options.count,
                "set": "\n".join(options.set),
            },
        )
        for chunk in chunks
    ]


def _counted_by_shapes(task: Task) -> Measurement:
    """In this process: nothing is computed, so nothing is disturbed."""
    from bench.memory_parts.step import TrainingStep

    step = TrainingStep(task)
    step.warm_up()
    return Measurement(task, report=step.report())


def _row(options: argparse.Namespace, measurement: Measurement) -> dict[str, Any]:
    task = measurement.task
    chunk = task.options["crop_chunk"]
    seconds = sorted(options.batch_size / speed for speed in measurement.images_per_s)
    row = {
        "bench": BENCH,
        "method": task.method,
        "preset": task.options["preset"],
        "num_crops": task.num_crops,
        "crop_chunk": None if chunk == "None" else int(chunk),
        "batch_size": options.batch_size,
        "settings": list(options.set),
        "threads": task.threads,
        "step_time_s": options.batch_size / measurement.median if seconds else None,
        "spread": [seconds[0], seconds[-1]] if seconds else None,
        "rounds": len(seconds),
    }
    return {**row, **measurement.report}
