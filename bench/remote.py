"""``glass bench remote``: compares reading byte ranges from a store with downloading whole shards, in bytes and seconds
per image.

Question: for which stores is it worth reading only the ranges that the windows need?
Method: a web server on loopback serves the shards with the latency (ms) and the bandwidth (Mbit/s) of each
link in ``--links``. One epoch reads ranges, and another reads whole shards; both begin with an empty cache.
The cost model (``loaders.reading.link``) measures the link and predicts the time that each method takes. The
prediction is shown beside the measured time, and ``chosen`` is the method that it predicts to be faster. The
server counts the bytes that it sends.

    glass bench remote --data data/shards --links 5:1000,30:100
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from bench.corpora.corpus import data_digest
from bench.corpora.range_server import Server, serving
from bench.harness.arguments import bench_parser, check_output, progress
from bench.harness.environment import environment
from bench.harness.schemas import print_result
from loaders import LoaderConfig
from shards.cli.command import CommandParser
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["main", "parser"]

BENCH = "remote"


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0."""
    options = _parse(argv)
    links = _links(options.links)
    dataset = ShardDataset.open(options.data)
    config = LoaderConfig(
        global_size=dataset.info.global_size,
        num_crops=options.crops,
        global_batch_size=8,
        shuffle="shard",
        num_threads=1,
        verify="off",
    )
    rows: list[dict[str, Any]] = []
    for latency_ms, mbit in links:
        for reads in ("range", "whole"):
            progress(f"{latency_ms:g} ms, {mbit:g} Mbit/s: {reads}")
            with serving(options.data, latency_s=latency_ms / 1e3, bytes_per_s=mbit * 125e3) as s:
                rows.append(_epoch(s, options.split, replace(config, remote_reads=reads)))
            rows[-1] |= {"latency_ms": latency_ms, "mbit_per_s": mbit, "data": data_digest(dataset.info)}
    print(f"{'link':>22} {'way':>6} {'kB/image':>10} {'requests':>9} {'ms/image':>9} {'model':>7}")
    for row in rows:
        link = f"{row['latency_ms']:g} ms {row['mbit_per_s']:g} Mbit/s"
        print(
            f"{link:>22} {row['method']:>6} {row['bytes_read_per_image'] / 1e3:10,.0f} "
            f"{row['requests_per_image']:9.1f} {1e3 / row['images_per_s']:9.1f} "
            f"{row['foreseen_ms_per_image']:7.1f}"
        )
    document = {"bench": BENCH, "rows": rows, "ratios": _ratios(rows), "environment": environment([0])}
    print_result(document, options.output, BENCH)
    return 0


def _epoch(server: Server, split: str, config: LoaderConfig) -> dict[str, Any]:
    """Runs one epoch through the server, starting with an empty cache. Returns its row."""
    from loaders import build_loader
    from loaders.reading.open_shards import OpenShards
    from loaders.reading.ranges_or_whole import range_mode_cost_s, whole_cost_s

    with TemporaryDirectory() as cache:
        os.environ["GLASS_CACHE_DIR"] = cache
        dataset = ShardDataset.open(server.url)
        with OpenShards(dataset) as data:
            assert data.ranges is not None
            link, rows = data.ranges.link, dataset.split_rows(split)
            foreseen = {
                "range": range_mode_cost_s(data, rows, config, link),
                "whole": whole_cost_s(data, rows, config, link),
            }
            before, processor = server.counts.copy(), psutil.Process().cpu_times()
            started = time.perf_counter()
            with build_loader(data, split, config) as loader:
                images = sum(int(batch["is_valid"].sum()) for batch in loader)
            passed = time.perf_counter() - started
            after, worked = server.counts.copy(), psutil.Process().cpu_times()
    megapixels = (dataset.column("width") * dataset.column("height").astype(float)).mean() / 1e6
    return {
        "bench": BENCH,
        "method": config.remote_reads,
        "images": split,
        "num_crops": config.num_crops,
        "megapixels": round(float(megapixels), 2),
        "threads": 1,
        "images_per_s": images / passed,
        "spread": [images / passed, images / passed],
        "bytes_read_per_image": (after["bytes"] - before["bytes"]) / images,
        "requests_per_image": (after["requests"] - before["requests"]) / images,
        "cpu_s_per_image": (worked.user + worked.system - processor.user - processor.system) / images,
        "peak_rss_mib": psutil.Process().memory_info().rss / 2**20,
        "foreseen_ms_per_image": 1e3 * foreseen[config.remote_reads],
        "measured_latency_ms": 1e3 * link.latency_s,
        "measured_mbit_per_s": link.bytes_per_s / 125e3,
        "chosen": min(foreseen, key=lambda way: foreseen[way]),
    }


def _ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Returns, for each link, two ratios of reading ranges to reading whole shards: bytes per image, and images per
    second."""
    ratios = {}
    for ranged, whole in zip(rows[::2], rows[1::2], strict=True):
        place = f"@{ranged['latency_ms']:g}ms@{ranged['mbit_per_s']:g}mbit"
        for name in ("bytes_read_per_image", "images_per_s"):
            ratios[f"range_over_whole_{name}{place}"] = ranged[name] / whole[name]
    return ratios


def _links(text: str) -> list[tuple[float, float]]:
    try:
        links = [(float(a), float(b)) for a, b in (part.split(":") for part in text.split(","))]
    except ValueError:
        links = []
    if not links or any(latency < 0 or mbit <= 0 for latency, mbit in links):
        raise InputError(f"--links {text}: give MILLISECONDS:MBIT_PER_SECOND, such as 5:1000,30:100")
    return links


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Bytes and seconds per image when shards are read from a store.")
    parser.add_argument("--data", type=Path, required=True, metavar="SHARDS", help="local folder of shards")
    parser.add_argument("--split", default="train", help="split, or several such as train+valid")
    parser.add_argument("--crops", type=int, default=4, metavar="N", help="crops per image")
    parser.add_argument(
        "--links",
        default="5:1000,30:100",
        metavar="MS:MBIT,…",
        help="simulated links: latencies in milliseconds and bandwidths in Mbit/s",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the JSON document to this folder")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    check_output(options)
    return options
