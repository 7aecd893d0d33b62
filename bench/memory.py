"""``glass bench memory``: measures the memory and time of a training step as a function of the number of crops.

Question: how much memory does each additional crop cost, with and without ``model.crop_chunk``, and how much longer
does a step take with chunks? Method: for each preset, number of crops and chunk size, a separate process takes real
training steps, as ``train.py`` does, but on random pixels. The peak memory of one step is measured. On a GPU, CUDA's
allocator reports it. On a CPU, a torch dispatch mode measures it: the largest total size of all tensor storages that
exist at the same time. Two other figures are reported for comparison: the size of the storages that autograd keeps, and
the process's resident memory. Then steps with and without chunks are timed in turn, for the crop counts in
``--time-crops``.

    glass bench memory --presets glass_vit_base,glass_resnet50 --output runs/memory

``--count shapes`` takes the same steps on tensors that have a shape but no values. This yields the sizes of the same
storages within seconds, even for models that are too large for this machine. It yields neither process memory nor time.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.arguments import bench_parser, check_at_least, check_output, names_among, progress, whole_numbers
from bench.harness.environment import environment, warn_if_busy
from bench.harness.harness import Measurement, Ratio, alternate, ratio
from bench.harness.pinning import choose_cores
from bench.harness.schemas import print_result
from bench.harness.table import print_memory, print_ratios, print_skipped
from bench.harness.task import Task
from bench.plots import plot_memory
from glass.config.overrides import refuse_fixed
from glass.config.set_option import add_settings
from glass.memory.memory_model import MEMORY_MODEL, save_rows
from glass.presets import load_preset, preset_names
from shards.cli.command import CommandParser
from shards.errors import InputError
from shards.files.outputs import cannot_write

__all__ = ["fit", "main", "memory_ratios"]

BENCH = "memory"
PRECISIONS = ("auto", "float32", "bf16", "fp16")

Rows = Sequence[Mapping[str, Any]]

FIXED = {
    "loader.num_crops": "give --crops",
    "loader.global_batch_size": "give --batch-size",
    "model.crop_chunk": "give --crop-chunk",
    "precision": "give --precision",
    "cpu_threads": "give --threads",
    "grad_accum_steps": "leave it out, because a measured step has one micro-step",
    "train.ema": "leave it out, because the moving average is not measured",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if a process crashed, for example because a step without chunks ran out of
    memory."""
    options = parser().parse_args(argv)
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
    print_memory(rows, fits)
    print_ratios(ratios, ranges, "\nratios")
    print_skipped({}, failed)
    print_result(document, options.output, BENCH, partial(plot_memory, rows, fits))
    if options.save_model:
        try:
            progress(f"wrote {save_rows(rows, found)}")
        except OSError as error:
            raise InputError(f"--save-model: {cannot_write(MEMORY_MODEL, error)}") from error
    return 1 if failed else 0


def fit(rows: Rows) -> list[dict[str, Any]]:
    """Fits lines to the peak memory in bytes as a function of the number of crops, one for each preset and method.
    Leaves out those that were measured with only one crop count. Returns, for each line, its intercept, slope, R² (1 if
    all peaks are equal) and numbers of crops."""
    fits = []
    for preset, method in dict.fromkeys((row["preset"], row["method"]) for row in rows):
        line = [row for row in rows if (row["preset"], row["method"]) == (preset, method)]
        crops = np.array([row["num_crops"] for row in line], float)
        peaks = np.array([row["peak_bytes"] for row in line], float)
        if len(set(crops)) < 2:
            continue
        slope, intercept = np.polyfit(crops, peaks, 1)
        spread = float(peaks.var())
        residual = float((peaks - intercept - slope * crops).var())  # its mean is 0
        fits.append(
            {
                "preset": preset,
                "method": method,
                "intercept_bytes": float(intercept),
                "slope_bytes_per_crop": float(slope),
                "r_squared": 1.0 - residual / spread if spread else 1.0,
                "crops": [int(number) for number in crops],
            }
        )
    return fits


def memory_ratios(
    rows: Rows, fits: Sequence[Mapping[str, Any]], step_times: Mapping[str, Ratio]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Returns the ratios by name, and the ranges of those that have one.

    A ratio whose name includes no preset is the worst case over all presets. ``step_times`` maps ``preset@Ncrops`` to
    the time of a chunked step ÷ that of a plain step.
    """
    ratios, ranges = dict[str, float](), dict[str, list[float]]()
    slopes = {(line["preset"], line["method"]): line["slope_bytes_per_crop"] for line in fits}
    quotients = {
        preset: slope / slopes[preset, "plain"]
        for (preset, method), slope in slopes.items()
        if method == "chunked" and (preset, "plain") in slopes
    }
    if quotients:
        ratios["slope_chunked_over_plain"] = max(quotients.values())
    if step_times:
        worst = max(step_times.values(), key=lambda one: one.median)
        ratios["step_time_chunked_over_plain"] = worst.median
        ranges["step_time_chunked_over_plain"] = [worst.low, worst.high]
    for preset, value in quotients.items():
        ratios[f"slope_chunked_over_plain@{preset}"] = value
    for cell, time in step_times.items():
        ratios[f"step_time_chunked_over_plain@{cell}"] = time.median
        ranges[f"step_time_chunked_over_plain@{cell}"] = [time.low, time.high]
    counts = {
        "kept_by_autograd_over_live_storages": [
            row["kept_by_autograd_bytes"] / row["activations_after_forward_bytes"] for row in rows
        ],
        "process_peak_over_live_storages": [
            row["process_peak_bytes"] / row["peak_bytes"] for row in rows if row["process_peak_bytes"] is not None
        ],
    }
    for name, values in counts.items():
        if values:  # report the ratio furthest from 1
            ratios[name] = max(values, key=lambda value: abs(value - 1))
            ranges[name] = [min(values), max(values)]
    return ratios, ranges


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Memory and time of a training step, with and without chunks of crops.")
    add = parser.add_argument
    add("--presets", "--preset", default="glass_vit_base,glass_resnet50", metavar="P,…", help="presets to measure")
    add("--crops", default="1,2,4,8,16", metavar="N,…", help="numbers of crops")
    add(
        "--crop-chunk", type=int, metavar="C", help="only this chunk size (default: no chunks and chunks of 1, in turn)"
    )
    add("--batch-size", type=int, default=4, help="images per step")
    add("--precision", choices=PRECISIONS, default="auto", help="number format of the steps")
    add("--time-crops", default="8", metavar="N,…", help="numbers of crops at which steps are timed")
    add("--rounds", type=int, default=5, help="number of timed steps per setting; 0: only count memory")
    add("--threads", type=int, default=1, help="number of threads on a CPU")
    add_settings(parser, "change a setting of the preset (repeatable)")
    add(
        "--count",
        choices=("steps", "shapes"),
        default="steps",
        help="steps: count the memory of real steps; shapes: count what they would allocate, in seconds and without "
        "timing",
    )
    add("--output", type=Path, metavar="DIR", help="also write the JSON document and plots to this folder")
    add("--save-model", action="store_true", help="store the rows where glass plan reads them, and replace older ones")
    return parser


def _check(options: argparse.Namespace) -> tuple[list[str], list[int], list[int]]:
    """Checks the arguments. Returns ``(presets, crop counts, crop counts at which steps are timed)``. Raises
    ``InputError``."""
    presets = names_among("--presets", options.presets, preset_names())
    for preset in presets:
        if load_preset(preset).model.kind != "glass":
            raise InputError(f"--presets {preset}: this preset sees no crops; give one called glass_…")
    check_at_least(1, options, "crop_chunk", "batch_size", "threads")
    check_at_least(0, options, "rounds")
    refuse_fixed(options.set, FIXED)
    check_output(options)
    crops = whole_numbers("--crops", options.crops)
    return presets, crops, whole_numbers("--time-crops", options.time_crops)


def _tasks(options: argparse.Namespace, preset: str, num_crops: int, cores: list[int]) -> list[Task]:
    chunks = [None, 1] if options.crop_chunk is None else [options.crop_chunk]
    return [
        Task(
            method="plain" if chunk is None else "chunked",
            where="bench.methods.training_step:TrainingStep",
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
    """Computes a step's memory use from tensor shapes, in this process rather than a separate one. Because no tensor
    values are computed, this does not disturb other measurements."""
    from bench.methods.training_step import TrainingStep

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
