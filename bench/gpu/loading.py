"""Measures the loader's images per second for each decoder, crop count and thread count, with batches delivered to the
device."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bench.gpu.data import repeated
from bench.gpu.part import Answer, Cell, Part, Setting, done, figure
from shards.cli.wording import counted

__all__ = ["LOADER"]

CROP_COUNTS = (4, 1, 16, 2, 8)
"""Crop counts to measure, most important first, because time may run out before the last ones."""
PREFERRED_CROPS = 4
TURN_S = {"cuda": 1.0, "cpu": 0.3}
BATCH = {"cuda": 32, "cpu": 8}


def _cells(setting: Setting) -> list[Cell]:
    backends = ("nvjpeg", "dali", "turbo") if setting.on_gpu else ("turbo", "nvjpeg", "dali")
    most = min(16, setting.threads)
    fewer = [threads for threads in (most // 2, most // 4, 1) if 0 < threads < most]
    asked = [(backend, crops, most) for crops in CROP_COUNTS for backend in backends]
    asked += [(backend, PREFERRED_CROPS, threads) for threads in dict.fromkeys(fewer) for backend in backends]
    return [
        Cell(
            f"{backend}, {counted(crops, 'crop')}, {counted(threads, 'thread')}",
            partial(_rate, setting, backend, crops, threads),
        )
        for backend, crops, threads in asked
    ]


def _rate(setting: Setting, backend: str, crops: int, threads: int, _: float) -> Answer:
    from bench.harness.task import Task
    from bench.methods.loader import LoaderBatches

    options = {"split": "train", "batch_size": str(BATCH[setting.device]), "backend": backend}
    turn_s = TURN_S[setting.device]
    task = Task(
        method=backend,
        where="",
        data=str(repeated(setting).root),
        num_crops=crops,
        threads=threads,
        cores=[],
        seconds_per_round=turn_s,
        options={**options, "device": setting.device},
    )
    method = LoaderBatches(task)
    try:
        method.prepare(max(1, math.ceil(turn_s / method.warm_up())))
        start = time.perf_counter()
        images = method.run()
        seconds = time.perf_counter() - start
        report = method.report()
    finally:
        method.close()
    figures = {"backend": backend, "num_crops": crops, "threads": threads, "images_per_s": images / seconds, **report}
    return figures, f"{images / seconds:,.0f} images/s"


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    at_four = [row for row in done(rows) if row["figures"]["num_crops"] == PREFERRED_CROPS]
    if not at_four:
        return "the loader was not measured"
    best = max(at_four, key=lambda row: figure(row, "images_per_s"))
    others = {row["figures"]["backend"]: figure(row, "images_per_s") for row in sorted(at_four, key=_speed)}
    rates = ", ".join(f"{backend} {rate:,.0f}" for backend, rate in others.items())
    return f"at 4 crops {best['figures']['backend']} is fastest (highest images/s of each: {rates})"


def _speed(row: Mapping[str, Any]) -> float:
    return figure(row, "images_per_s")


LOADER = Part("loader", 0.25, _cells, _verdict, needs_data=True)
