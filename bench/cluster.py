"""``python -m bench cluster``: what an epoch costs with many samples and many machines.

Question: what do 10⁸ images on 1,000 GPUs need: memory for the order, time to resume, and how many
times is each shard fetched?
Method: the real order (``shuffle="shard"`` and the plain one) over a made-up manifest of
``--samples``, in this process, with its seconds and its peak memory; both are linear in the number
of samples but for the sort's logarithm, so a tenth of a data set tells the whole. Then the shards
that each of ``--machines`` reads in an epoch are counted, with one lane and with one per machine.
What that asks of the store is arithmetic: images a second times the bytes and requests of an image,
which ``bench remote`` measures, in ranges and in whole shards.

    python -m bench cluster --samples 10000000 --shard-samples 1000 --machines 125
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.harness.arguments import bench_parser, check_output
from bench.harness.environment import environment
from bench.harness.schemas import print_result
from loaders.config import LoaderConfig
from loaders.order.order import EpochOrder, shuffled_order
from loaders.order.shard_order import shard_order
from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.info import DatasetInfo, ShardInfo
from shards.store.fsspec_store import PIECE_BYTES

__all__ = ["main"]

BENCH = "cluster"


def main(argv: list[str] | None = None) -> int:
    """Returns 0."""
    options = _parse(argv)
    if options.samples < options.shard_samples or options.batch_size % options.machines:
        raise InputError("--batch-size must be a multiple of --machines, --samples be a shard's")
    rng = np.random.default_rng(0)
    content = rng.integers(-(2**63), 2**63 - 1, options.samples)
    shard = (np.arange(options.samples) // options.shard_samples).astype(np.int32)
    config = LoaderConfig(shuffle="shard", global_batch_size=options.batch_size, shuffle_shards=options.window)
    lanes = replace(config, shuffle_lanes=options.machines)
    figures: dict[str, Any] = {
        "samples": options.samples,
        "shard_samples": options.shard_samples,
        "machines": options.machines,
        "batch_size": options.batch_size,
    }
    for name, settings in (("one_lane", config), ("lane_per_machine", lanes)):
        rows, cost = _measured(partial(shard_order, content, shard, settings, 0))
        figures[name] = {**cost, **_fetched(rows, shard, options)}
    _, figures["plain_order"] = _measured(lambda: shuffled_order(content, 0, 0))
    for name in ("plain_order", "one_lane", "lane_per_machine"):
        values = figures[name]
        print(
            f"{name:>17}: {values['order_s']:6.1f} s, {values['peak_bytes_per_sample']:5.0f} "
            "bytes per sample at the peak",
            end="",
        )
        if "shards_per_machine" in values:
            print(
                f", a machine reads {values['shards_per_machine']:,.0f} of "
                f"{counted(values['shards'], 'shard')}: each is fetched {values['fetches']:.2f} times, "
                f"{values['open_at_once']:.0f} at work at once",
                end="",
            )
        print()
    figures["store"] = rates = _rates(options, figures["lane_per_machine"]["fetches"])
    for way in ("whole", "range"):
        print(
            f"{way:>17}: {rates[f'{way}_bytes_per_s'] / 1e9:,.1f} GB/s of the store, "
            f"{rates[f'{way}_bytes_per_s'] / options.machines / 1e9:,.2f} per machine; "
            f"{rates[f'{way}_requests_per_s']:,.0f} requests a second"
        )
    figures["description_bytes_per_shard"] = described = _description_bytes(options)
    print(f"{'dataset.json':>17}: {described:,.0f} bytes per shard")
    document = {"bench": BENCH, "figures": figures, "environment": environment([0])}
    print_result(document, options.output, BENCH)
    return 0


def _measured(make: Callable[[], npt.NDArray[np.int64]]) -> tuple[npt.NDArray[np.int64], dict[str, float]]:
    tracemalloc.start()
    started = time.perf_counter()
    rows = make()
    passed = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return rows, {"order_s": passed, "peak_bytes_per_sample": peak / len(rows)}


def _fetched(
    rows: npt.NDArray[np.int64], shard: npt.NDArray[np.int32], options: argparse.Namespace
) -> dict[str, float]:
    """How many shards each machine reads in an epoch, and in a window of batches."""
    blank = np.zeros(len(rows), np.int32)
    read, at_once = [], []
    for machine in range(options.machines):
        order = EpochOrder(rows, blank, options.batch_size, machine, options.machines)
        mine = shard[order.rank_rows(0, len(order))]
        read.append(len(np.unique(mine)))
        window = options.window * options.shard_samples
        at_once.append(len(np.unique(mine[: max(window // options.machines, 1)])))
    shards = int(shard[-1]) + 1
    return {
        "shards": shards,
        "shards_per_machine": float(np.mean(read)),
        "fetches": sum(read) / shards,
        "open_at_once": float(np.mean(at_once)),
    }


def _rates(options: argparse.Namespace, fetches: float) -> dict[str, float]:
    """Bytes and requests a second that all machines together ask of the store; whole shards with a
    lane per machine, each fetched ``fetches`` times."""
    images = options.machines * options.gpus * options.images_per_s
    whole = images * options.sample_kb * 1e3 * fetches
    return {
        "images_per_s": images,
        "whole_bytes_per_s": whole,
        "whole_requests_per_s": whole / PIECE_BYTES,
        "range_bytes_per_s": images * options.range_kb * 1e3,
        "range_requests_per_s": images * options.range_requests,
    }


def _description_bytes(options: argparse.Namespace) -> float:
    """Of ``dataset.json``, per shard, as a build writes it."""
    count, num_bytes = 1000, int(options.shard_samples * options.sample_kb * 1e3)
    shards = tuple(
        ShardInfo(f"train-{n:06d}.tar", "train", "JPEG", options.shard_samples, num_bytes, "0" * 64)
        for n in range(count)
    )
    info = DatasetInfo(224, 606, {}, options.shard_samples, 0, {}, {}, {}, shards)
    return len(info.to_json()) / count


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "What an epoch costs with many samples and many machines.")
    parser.add_argument("--samples", type=int, default=1_000_000, help="of the split")
    parser.add_argument("--shard-samples", type=int, default=1000, help="samples per shard")
    parser.add_argument("--machines", type=int, default=125, help="that share an epoch")
    parser.add_argument("--batch-size", type=int, default=8000, help="over all machines")
    parser.add_argument("--window", type=int, default=16, help="loader.shuffle_shards")
    parser.add_argument("--gpus", type=int, default=8, help="of a machine")
    parser.add_argument("--images-per-s", type=float, default=200.0, help="of a GPU")
    parser.add_argument("--sample-kb", type=float, default=1185.0, help="bench remote, whole")
    parser.add_argument("--range-kb", type=float, default=449.0, help="bench remote, ranges")
    parser.add_argument("--range-requests", type=float, default=7.6, help="of an image: the same")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the JSON document here")
    options = parser.parse_args(argv)
    check_output(options)
    return options
