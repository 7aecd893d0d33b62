"""Loads and trains under faults for a long time, and checks that memory, handles and threads do not grow.

glass bench soak --minutes 30 [--output DIR]

This process loads and trains on shards with damaged images. Meanwhile, reads stall, fail or raise exceptions, the
consumer pauses, and the loader is closed and rebuilt in the middle of an epoch. A training run in another process is
killed and restarted again and again. Memory, handles and threads must not grow over time (:func:`verdict`), and every
epoch must contain every sample exactly once.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bench.harness.arguments import bench_parser, check_output, progress, scratch_folder
from bench.harness.environment import environment
from bench.harness.schemas import print_result
from bench.plots import plot_soak
from loaders import LoaderConfig
from shards.cli.command import CommandParser
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["main", "parser"]

BENCH = "soak"
CONFIG = LoaderConfig(global_batch_size=16, num_crops=2, crop_size=64, global_size=64, num_threads=2, seed=1)
SAMPLE_EVERY_S = 2.0
RESTART_SHARE = 0.02
"""Probability that, after a batch, the loader is closed and rebuilt at the same position."""
PAUSE_SHARE = 0.01
"""Probability that, after a batch, the consumer pauses for up to a second."""
GROWTH_ALLOWED = 0.02
HANDLES_ALLOWED = 2


def main(argv: list[str] | None = None) -> int:
    """Runs the soak test. Returns 0, or 1 if the verdict is not "flat" (something grew, or an epoch repeated or missed
    a sample) or if the training run failed."""
    options = _parse(argv)
    from bench.soak_faults import KilledTraining, damaged_shards, faulty_reads  # seconds of imports

    found = environment([])
    with scratch_folder() as folder:
        progress("building damaged shards")
        dataset = damaged_shards(folder, options.seed)
        child = KilledTraining(dataset.root, folder / "run", options.seed)

        def tend() -> int:
            if not options.no_training:
                child.tend()
            return child.rss_bytes

        progress(f"soaking for {options.minutes:g} minutes")
        try:
            with faulty_reads(options.seed) as faults:
                soaked = soak(dataset, options.minutes * 60, options.seed, tend)
        finally:
            child.kill()
        outcome = verdict(soaked) | {
            "minutes": options.minutes,
            "seed": options.seed,
            "epochs": soaked.epochs,
            "images": soaked.samples[-1].images,
            "wrong_epochs": soaked.wrong_epochs,
            "loader_restarts": soaked.restarts,
            "faults": dict(faults),
            "masked": dict(soaked.masked),
            "training_kills": child.kills,
            "training_failures": child.failures,
            "training_steps": child.steps,
        }
    if child.failures:
        outcome["verdict"] = "not flat"
    for name, value in outcome.items():
        print(f"{name:18} {value}")
    document = {"bench": BENCH, "environment": found, "soak": outcome, "series": soaked.columns()}
    print_result(document, options.output, BENCH, partial(plot_soak, soaked.columns()))
    return 0 if outcome["verdict"] == "flat" else 1


@dataclass(frozen=True)
class Sample:
    """A snapshot of the process."""

    time_s: float
    rss_bytes: int
    handles: int
    threads: int
    images: int
    """Number of images loaded so far."""
    child_rss_bytes: int


@dataclass
class Soaked:
    """Everything that was observed during a soak test."""

    samples: list[Sample] = field(default_factory=list)
    epochs: int = 0
    restarts: int = 0
    wrong_epochs: int = 0
    """Number of epochs in which a sample occurred twice or was missing."""
    masked: Counter[str] = field(default_factory=Counter)

    def columns(self) -> dict[str, list[float]]:
        """Maps each measured quantity to its values over time."""
        rows = [asdict(sample) for sample in self.samples]
        return {name: [row[name] for row in rows] for name in rows[0]}


def soak(dataset: ShardDataset, duration_s: float, seed: int, tend: Callable[[], int]) -> Soaked:
    """Loads batches and trains on them for ``duration_s`` seconds.

    ``tend()`` is called at every measurement. It starts or kills the training run in the other process, and returns
    that process's resident memory in bytes.
    """
    from loaders import build_loader

    dice, process, soaked = random.Random(seed), psutil.Process(), Soaked()
    step = _training_step()
    keys = sorted(dataset.column("sample_key")[dataset.split_rows("train")].tolist())
    usable = len(keys) // CONFIG.global_batch_size * CONFIG.global_batch_size
    start = time.monotonic()
    next_sample, images, state = start, 0, None
    seen: list[str] = []
    while True:
        with build_loader(ShardDataset.open(dataset.root), "train", CONFIG) as loader:
            if state is not None:
                loader.load_state_dict(state)
            restart = False
            while not restart:
                for batch in loader:
                    step(batch)
                    seen += batch["sample_key"]
                    images += len(batch["sample_key"])
                    now = time.monotonic()
                    if now >= next_sample:
                        soaked.samples.append(_look(process, now - start, images, tend()))
                        next_sample = now + SAMPLE_EVERY_S
                    if now - start > duration_s:
                        soaked.masked += Counter(loader.stats()["failed"])
                        return soaked
                    if dice.random() < PAUSE_SHARE:
                        time.sleep(dice.random())
                    if dice.random() < RESTART_SHARE and len(seen) < usable:
                        restart = True
                        break
                else:
                    soaked.epochs += 1
                    soaked.wrong_epochs += sorted(seen[: len(keys)]) != keys
                    seen = []
                    loader.set_epoch(soaked.epochs)
            soaked.restarts += 1
            soaked.masked += Counter(loader.stats()["failed"])
            state = loader.state_dict()


def _look(process: psutil.Process, time_s: float, images: int, child_rss_bytes: int) -> Sample:
    with process.oneshot():
        return Sample(
            round(time_s, 2),
            process.memory_info().rss,
            process.num_fds(),
            process.num_threads(),
            images,
            child_rss_bytes,
        )


def _training_step() -> Callable[[Any], None]:
    """Returns a function that takes one step of plain gradient descent on a tiny model."""
    import torch

    from glass.config.overrides import apply_overrides
    from glass.model.model import build_model
    from glass.presets import load_preset

    torch.set_num_threads(1)
    config = apply_overrides(load_preset("glass_tiny"), ["model.global_backbone=test_vit"])
    model = build_model(config, with_weights=False).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step(batch: Any) -> None:
        logits, _ = model(batch["global_view"], batch["local_crops"], batch["crop_mask"])
        losses = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        torch.where(batch["is_valid"], losses, 0.0).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def verdict(soaked: Soaked) -> dict[str, Any]:
    """Judges whether memory, handles and threads stayed within the limits below, and whether every epoch delivered
    every sample exactly once. Returns fields of the result: the verdict, and the growth of memory, handles and threads.

    The first fifth of the measurements is warm-up. In the rest, the medians over the last quarter are compared with
    those over the first: resident memory must grow by less than 2 %, handles and threads by at most 2.
    """
    rest = soaked.samples[len(soaked.samples) // 5 :]
    quarter = max(1, len(rest) // 4)
    first, last = rest[:quarter], rest[-quarter:]

    def median(samples: list[Sample], name: str) -> float:
        values = sorted(getattr(sample, name) for sample in samples)
        return float(values[len(values) // 2])

    growth = median(last, "rss_bytes") / median(first, "rss_bytes") - 1
    handles, threads = (median(last, name) - median(first, name) for name in ("handles", "threads"))
    flat = growth < GROWTH_ALLOWED and max(handles, threads) <= HANDLES_ALLOWED
    return {
        "verdict": "flat" if flat and not soaked.wrong_epochs else "not flat",
        "rss_growth": round(growth, 5),
        "handles_growth": handles,
        "threads_growth": threads,
        "rss_first_mib": round(median(first, "rss_bytes") / 2**20, 1),
        "rss_last_mib": round(median(last, "rss_bytes") / 2**20, 1),
    }


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, (__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="duration in minutes")
    parser.add_argument("--seed", type=int, default=0, help="seed of faults, pauses and kills")
    parser.add_argument(
        "--no-training", action="store_true", help="leave out the training run that is killed and resumed"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="also write the JSON document and plot to this folder"
    )
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    if not 0 < options.minutes <= 10_000:
        raise InputError(f"--minutes {options.minutes:g}: must be above 0 and at most 10000")
    check_output(options)
    return options
