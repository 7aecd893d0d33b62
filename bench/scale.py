"""``glass bench scale``: measures the cost of opening, shuffling and resuming as the number of samples grows to 10⁷.

Question: does a data set of ten million images open, start and resume as fast as one of a thousand? Method: synthetic
manifests, each opened in a separate process. They have all columns, but all rows point to the same two images. The
bench measures durations in seconds, and the peak resident memory of the process, including mapped pages of the
manifest:

- ``open_s``: opening the data set and finding the rows of the training split
- ``first_batch_s``: from then until the first batch (loader, order of epoch 0, reading, decoding)
- ``order_s``: computing the order of the next epoch
- ``resume_s``: building a new loader, restoring a position in the middle of an epoch and fetching the batch there
- ``open_peak_rss_mib``: memory during opening
- ``peak_rss_mib``: memory over the whole measurement

Targets are set for ``open_s``, ``first_batch_s``, ``order_s`` and ``peak_rss_mib``. The files are in the page cache, as
they would be when a training run is started for the second time. With a cold page cache, reading them would take
additional time.

    glass bench scale --samples 1000,100000,10000000
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.corpora.scale_manifest import write_dataset
from bench.harness.arguments import bench_parser, check_at_least, check_output, progress, scratch_folder
from bench.harness.environment import environment, warn_if_busy
from bench.harness.schemas import print_result
from bench.harness.table import new_table, print_spanning, spanned
from shards.cli.command import CommandParser
from shards.cli.wording import counted
from shards.errors import InputError

__all__ = ["GOALS", "LARGE", "main"]

BENCH = "scale"
LARGE = 10_000_000
BATCH_SIZE = 32
GOALS = {"open_s": 5.0, "peak_rss_mib": 2048.0, "first_batch_s": 3.0, "order_s": 2.0}
"""Targets: the maximum values allowed with ten million samples."""
MEASURED = ("open_s", "first_batch_s", "order_s", "resume_s", "open_peak_rss_mib", "peak_rss_mib")


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if a target is missed at ten million samples."""
    options = _parse(argv)
    sizes = _sizes(options.samples)
    found = environment(sorted(os.sched_getaffinity(0)))
    warn_if_busy(found)
    rows = []
    with scratch_folder() as scratch:
        for samples in sizes:
            folder = scratch / str(samples)
            progress(f"writing a manifest of {counted(samples, 'sample')}")
            write_dataset(folder, samples)
            progress(f"opening it {options.rounds} times")
            rows.append(_row(samples, [_measured(folder) for _ in range(options.rounds)], folder))
    document = {"bench": BENCH, "rows": rows, "environment": found, "goals": GOALS}
    _print(rows)
    print_result(document, options.output, BENCH)
    missed = [name for row in rows if row["samples"] >= LARGE for name, limit in GOALS.items() if row[name] > limit]
    return 1 if missed else 0


def _sizes(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and 100 <= int(part) <= 10**9 for part in parts):
        raise InputError(f"--samples {text}: give whole numbers of at least 100, such as 1000,1000000")
    return sorted({int(part) for part in parts})


def measure(folder: Path) -> dict[str, float]:
    """Takes all measurements of one data set in this process, and returns them by name."""
    from bench.harness.process_usage import reset_peak_rss, usage_now
    from loaders import LoaderConfig, build_loader
    from shards.manifest.dataset import ShardDataset

    config = LoaderConfig(global_batch_size=BATCH_SIZE, num_crops=2, crop_size=32, global_size=64)
    _compile(folder.parent, config)
    reset_peak_rss()
    start = time.perf_counter()
    dataset = ShardDataset.open(folder)
    dataset.split_rows("train")
    opened = time.perf_counter()
    open_peak = usage_now().peak_rss_mib
    starting = time.perf_counter()
    loader = build_loader(dataset, "train", config)
    epoch: Any = iter(loader)
    next(epoch)
    first = time.perf_counter()
    epoch.close()
    loader.set_epoch(1)
    ordering = time.perf_counter()
    batches = len(loader)  # needs the order
    ordered = time.perf_counter()
    state = {**loader.state_dict(), "batches_consumed": batches // 2}
    loader.close()
    resumed = time.perf_counter()
    again = build_loader(dataset, "train", config)
    again.load_state_dict(state)
    epoch = iter(again)
    next(epoch)
    done = time.perf_counter()
    epoch.close()
    again.close()
    return {
        "open_s": opened - start,
        "first_batch_s": first - starting,
        "order_s": ordered - ordering,
        "resume_s": done - resumed,
        "open_peak_rss_mib": open_peak,
        # Linux counts the pages of threads with a delay, so a later reading of the peak may be some pages lower.
        "peak_rss_mib": max(open_peak, usage_now().peak_rss_mib),
    }


def _compile(scratch: Path, config: Any) -> None:
    """Reads a batch of a small data set, so that the measurement excludes loading libraries and compiling kernels."""
    from loaders import build_loader

    folder = scratch / "warm-up"
    if not folder.exists():
        write_dataset(folder, 64)
    with build_loader(folder, "train", config) as loader:
        next(iter(loader))


def _measured(folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"measuring {folder.name} samples failed: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _row(samples: int, rounds: list[dict[str, float]], folder: Path) -> dict[str, Any]:
    """The row for a data set of ``samples`` samples: medians and ranges over the rounds."""
    from statistics import median

    row: dict[str, Any] = {
        "bench": BENCH,
        "method": "open and start",
        "samples": samples,
        "batch_size": BATCH_SIZE,
        "rounds": len(rounds),
    }
    row["manifest_mib"] = round((folder / "samples.arrow").stat().st_size / 2**20, 1)
    row["ranges"] = {}
    for name in MEASURED:
        values = [found[name] for found in rounds]
        row[name] = float(f"{median(values):.4g}")
        row["ranges"][name] = [float(f"{f(values):.4g}") for f in (min, max)]
    return row


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Cost of opening, shuffling and resuming a data set, by its number of samples.")
    parser.add_argument(
        "--samples",
        default="1000,10000,100000,1000000,10000000",
        metavar="N,…",
        help="numbers of samples; ten million take 4 GB in the temporary folder",
    )
    parser.add_argument("--rounds", type=int, default=3, help="number of processes per size, one after another")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the JSON document to this folder")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    check_at_least(1, options, "rounds")
    check_output(options)
    return options


def _print(rows: list[dict[str, Any]]) -> None:
    goals = "open ≤ 5, first batch ≤ 3, order ≤ 2 s, overall peak ≤ 2048 MiB"
    times = ("open s", "first batch s", "next order s", "resume s")
    peaks = ("peak at opening MiB", "overall peak MiB")
    title = f"medians, below them smallest–largest; goals at 10⁷: {goals}"
    table = new_table(title, "samples", "manifest MiB", *times, *peaks, padding=0)
    for row in rows:
        cells = [spanned(row[name], row["ranges"][name]) for name in MEASURED]
        table.add_row(f"{row['samples']:,}", f"{row['manifest_mib']:,.0f}", *cells)
    print_spanning(table)


if __name__ == "__main__":  # the measured process
    print(json.dumps(measure(Path(sys.argv[1]))), flush=True)
