"""``glass bench loader``: measures the loader's speed on existing shards for each decoder, decode mode and thread
count.

Question: how many images of this data set does the loader deliver per second, and where does the time go? Method: every
combination runs in its own process, pinned to as many cores as it has threads, and the processes take turns. A turn
starts at the beginning of an epoch with an empty queue, and takes batches for about ``--seconds-per-round``. Batches
that were prefetched but not taken by then are not counted. The same batches are also taken once before the first turn,
so their files are in the page cache if they fit into memory. For each stage of loading, the milliseconds per image are
summed over all threads. The exception is ``wait_ms``, the time for which the consumer waits for batches.

    glass bench loader --data data/shards --split train --threads 1,2
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpora.corpus import data_digest
from bench.harness.arguments import (
    add_measuring,
    bench_parser,
    check_at_least,
    check_measuring,
    names_among,
    progress,
    whole_numbers,
)
from bench.harness.environment import environment, warn_if_busy
from bench.harness.harness import Measurement, Ratio, alternate, ratio
from bench.harness.result import ratio_fields, row_of
from bench.harness.schemas import print_result
from bench.harness.table import print_ratios, print_rows, print_skipped, print_stages
from bench.harness.task import Task
from loaders import LoaderConfig
from shards.cli.command import CommandParser
from shards.cli.shown_url import as_url, shown_url
from shards.cli.wording import counted
from shards.manifest.dataset import ShardDataset

__all__ = ["main", "parser"]

BENCH = "loader"
BACKENDS = ("turbo", "dali", "nvjpeg", "reference")
MODES = ("window", "auto", "full")
WHERE = "bench.methods.loader:LoaderBatches"


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if a combination crashed."""
    options = parser().parse_args(argv)
    dataset = ShardDataset.open(options.data)
    samples = dataset.split_rows(options.split)
    pixels = dataset.column("width").astype(np.int64) * dataset.column("height")
    tasks = _tasks(options)
    found = environment(max((task.cores for task in tasks), key=len))
    warn_if_busy(found)
    outcome = alternate(tasks, options.rounds, progress)
    facts = {
        "images": options.split,
        "batch_size": options.batch_size,
        "crop_size": LoaderConfig().crop_size,
        "global_size": dataset.info.global_size,
        "data": data_digest(dataset.info),
    }
    megapixels = float(pixels[samples].mean()) / 1e6
    rows = [row_of(BENCH, measured, megapixels, **facts) for measured in outcome.measurements]
    ratios = _ratios(outcome.measurements)
    document: dict[str, Any] = {
        "bench": BENCH,
        "rows": rows,
        **ratio_fields(ratios),
        "environment": found,
        "samples": len(samples),
        "skipped": outcome.skipped,
        "failed": outcome.failed,
    }
    print(f"split {options.split}: {counted(len(samples), 'sample')}; {found['cpu']}, {found['date']}")
    print_rows(rows, "medians over alternated rounds")
    print_stages(rows)
    print_ratios(document["ratios"], document["ratio_ranges"], "ratios, round by round")
    print_skipped(outcome.skipped, outcome.failed)
    print_result(document, options.output, BENCH)
    return 1 if outcome.failed else 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Speed of the loader on existing shards.")
    parser.add_argument("--data", type=Path, required=True, metavar="SHARDS", help="folder of shards")
    parser.add_argument("--split", default="train", help="split, or several such as train+valid")
    parser.add_argument("--crops", default="4", metavar="N,…", help="crops per image")
    parser.add_argument(
        "--backends", default="turbo,dali", metavar="NAME,…", help=f"decoders to measure, of {', '.join(BACKENDS)}"
    )
    parser.add_argument("--decode", default=",".join(MODES), metavar="MODE,…", help="decode modes")
    parser.add_argument("--batch-size", type=int, default=32, metavar="B", help="samples per batch")
    add_measuring(parser, threads="1,2")
    return parser


def _tasks(options: argparse.Namespace) -> list[Task]:
    """One task for each requested combination. Raises ``InputError`` naming the argument at fault."""
    check_at_least(1, options, "batch_size")
    backends = names_among("--backends", options.backends, BACKENDS)
    modes = names_among("--decode", options.decode, MODES)
    crop_counts = whole_numbers("--crops", options.crops)
    choices = {"split": options.split, "batch_size": str(options.batch_size)}
    return [
        Task(
            method=f"{mode}/{backend}",
            where=WHERE,
            data=_shown(options.data),
            num_crops=num_crops,
            threads=threads,
            cores=cores,
            seconds_per_round=options.seconds_per_round,
            options={**choices, "backend": backend, "decode": mode},
        )
        for threads, cores in check_measuring(options).items()
        for num_crops in crop_counts
        for backend in backends
        for mode in modes
    ]


def _shown(data: Path) -> str:
    return shown_url(as_url(data) or str(data))


def _ratios(measured: list[Measurement]) -> dict[str, Ratio]:
    """Returns two kinds of ratios of images per second. At the lowest thread count, each decode mode is compared with
    full decoding. At each higher count, it is compared with itself at the lowest count. The ratio names include the
    decoder and the crop count."""
    found: dict[str, Ratio] = {}
    by_cell = {(m.task.method, m.task.num_crops, m.task.threads): m for m in measured}
    fewest = min((m.task.threads for m in measured), default=1)
    for (method, num_crops, threads), measurement in by_cell.items():
        mode, backend = method.split("/")
        place = f"@{backend}@{num_crops}crops"
        whole = by_cell.get((f"full/{backend}", num_crops, threads))
        if threads > fewest:
            first = by_cell[method, num_crops, fewest]
            found[f"{mode}_speedup_{threads}_threads{place}"] = ratio(measurement, first)
        elif mode != "full" and whole is not None:
            found[f"{mode}_over_full{place}"] = ratio(measurement, whole)
    return found
