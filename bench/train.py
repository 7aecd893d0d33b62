"""``python -m bench train``: where a training step's time goes, and what the loader could feed.

Question: does the model wait for data, and what is a step made of?
Method: real batches from shards, real optimiser steps, timed part by part: waiting for the batch,
forward with loss, backward, optimiser. On a GPU each part ends with a synchronisation, which a real
run does not have, so there the sum is an upper bound of a step. The same batches are then taken
without a model: the loader's ceiling. ``share_of_loader`` is the part of that rate that training
takes; near 1 the loader is the bottleneck, far below it the model.

    python -m bench train --data data/shards --presets glass_resnet50,single_view_resnet50
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.arguments import bench_parser, names_among, progress
from bench.environment import environment, warn_if_busy
from bench.identity import data_digest
from bench.pinning import choose_cores
from bench.schemas import print_result
from glass.config import RunConfig
from glass.overrides import apply_overrides
from glass.presets import load_preset, preset_names
from shards.command import InputError
from shards.dataset import ShardDataset

__all__ = ["main", "measure_steps"]

BENCH = "train"
PARTS = ("data_wait_s", "forward_s", "backward_s", "optimiser_s")
WARM_UP_STEPS = 2


def main(argv: list[str] | None = None) -> int:
    """Returns 0."""
    options = _parse(argv)
    presets = names_among("--presets", options.presets, preset_names())
    dataset = ShardDataset.open(options.data)
    cores = choose_cores(options.threads)
    found = environment(cores)
    warn_if_busy(found)
    rows = []
    for preset in presets:
        progress(f"{preset}: {options.steps} steps")
        row = measure_steps(dataset, _settings(preset, dataset, options), options.steps)
        rows.append(row | {"settings": list(options.set)})
    document = {"bench": BENCH, "rows": rows, "environment": found}
    _print(rows)
    print_result(document, options.output, BENCH)
    return 0


def measure_steps(dataset: ShardDataset, config: RunConfig, steps: int) -> dict[str, Any]:
    """Times ``steps`` training steps of ``config`` and as many batches without a model.

    Raises ``InputError`` where the training split is too small for them.
    """
    import torch

    from glass.engine import Totals
    from glass.processes import make_accelerator
    from glass.training import prepared_model
    from loaders import build_loader

    with TemporaryDirectory() as folder:
        accelerator, precision = make_accelerator(config, Path(folder))
    device = accelerator.device
    model, optimizer, _ = prepared_model(config, accelerator, with_weights=False)
    model.train()
    loader_config = replace(config.loader, device=device.type)
    timer = _StepTimer(config, accelerator, model, optimizer, Totals(device))
    with build_loader(dataset, config.train_split, loader_config) as loader:
        wanted = steps + WARM_UP_STEPS
        if len(loader) < wanted:
            raise InputError(
                f"{config.train_split} gives {len(loader)} batches of"
                f" {config.loader.global_batch_size}, {wanted} are needed: give less --steps or"
                " a smaller --batch"
            )
        taken = [timer.step(batch) for batch in timer.waited_for(loader, wanted)][WARM_UP_STEPS:]
        ceiling = _loader_rate(loader, wanted)
    totals = [sum(step.values()) for step in taken]
    step_s, batch = statistics.median(totals), config.loader.global_batch_size
    ranges = {name: [step[name] for step in taken] for name in PARTS} | {"step_s": totals}
    return {
        "bench": BENCH, "method": config.preset, "preset": config.preset,
        "backbone": config.model.global_backbone, "data": data_digest(dataset.info),
        "num_crops": config.loader.num_crops, "crop_chunk": config.model.crop_chunk,
        "batch_size": batch, "crop_size": config.loader.crop_size,
        "global_size": config.loader.global_size,
        "threads": torch.get_num_threads(), "device": device.type, "precision": precision,
        "steps": steps, "step_s": step_s,
        **{name: statistics.median(step[name] for step in taken) for name in PARTS},
        "images_per_s": batch / step_s, "loader_images_per_s": ceiling,
        "share_of_loader": batch / step_s / ceiling,
        "ranges": {name: [min(values), max(values)] for name, values in ranges.items()},
    }  # fmt: skip


class _StepTimer:
    """Takes steps as ``glass.engine`` does, with a clock between the parts."""

    def __init__(
        self, config: RunConfig, accelerator: Any, model: Any, optimizer: Any, totals: Any
    ) -> None:
        from glass.engine import Engine

        self.engine = Engine(config, accelerator, model, optimizer)
        self.accelerator, self.totals = accelerator, totals
        self._waited_s = 0.0
        self._marks: dict[str, float] = {}
        model.register_forward_hook(lambda *_: self._mark("forward"))

    def waited_for(self, loader: Any, number: int) -> Any:
        """``number`` batches of an epoch, noting the wait for each."""
        batches = iter(loader)
        for _ in range(number):
            start = time.perf_counter()
            batch = next(batches)
            self._synchronise()
            self._waited_s = time.perf_counter() - start
            yield batch
        batches.close()

    def step(self, batch: dict[str, Any]) -> dict[str, float]:
        """One optimiser step; seconds of each part."""
        start = time.perf_counter()
        real = self.engine.optimizer.step

        def optimiser_step(*arguments: Any, **named: Any) -> Any:
            self._mark("backward")
            return real(*arguments, **named)

        self.engine.optimizer.step = optimiser_step
        try:
            self.engine.step([batch], self.totals)
        finally:
            self.engine.optimizer.step = real
        self._mark("optimiser")
        return {
            "data_wait_s": self._waited_s,
            "forward_s": self._marks["forward"] - start,
            "backward_s": self._marks["backward"] - self._marks["forward"],
            "optimiser_s": self._marks["optimiser"] - self._marks["backward"],
        }

    def _mark(self, name: str) -> None:
        self._synchronise()
        self._marks[name] = time.perf_counter()

    def _synchronise(self) -> None:
        if self.accelerator.device.type == "cuda":
            import torch

            torch.cuda.synchronize()


def _loader_rate(loader: Any, batches: int) -> float:
    """Images per second of the loader alone."""
    loader.set_epoch(1)
    taken = iter(loader)
    next(taken)
    start, images = time.perf_counter(), 0
    for _ in range(batches - 1):
        images += len(next(taken)["sample_key"])
    seconds = time.perf_counter() - start
    taken.close()
    return images / seconds


def _settings(preset: str, dataset: ShardDataset, options: argparse.Namespace) -> RunConfig:
    changes = [
        "model.pretrained=false", f"loader.global_size={dataset.info.global_size}",
        f"loader.num_threads={options.threads}", f"cpu_threads={options.threads}",
        "tensorboard=false", "grad_accum_steps=1",
    ]  # fmt: skip
    if options.batch is not None:
        changes.append(f"loader.global_batch_size={options.batch}")
    return apply_overrides(load_preset(preset), [*changes, *options.set])


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "Where a training step's time goes, beside the loader's rate.")
    parser.add_argument("--data", type=Path, required=True, metavar="SHARDS", help="a data set")
    parser.add_argument("--presets", default="glass_tiny,single_view_tiny", metavar="NAME,…")
    parser.add_argument("--batch", type=int, help="images of a step; the preset's otherwise")
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--threads", type=int, default=2, help="of the model and of the loader")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the document here")
    options = parser.parse_args(argv)
    if options.steps < 1 or options.threads < 1:
        raise InputError("--steps and --threads must be at least 1")
    return options


def _print(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "preset", "batch", "crops", "step ms", *(name[:-2].replace("_", " ") for name in PARTS),
        "images/s", "loader images/s", "share", box=box.SIMPLE_HEAD, title="medians, ms of a step",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row["preset"], str(row["batch_size"]), str(row["num_crops"]),
            f"{1e3 * row['step_s']:.0f}",
            *(f"{1e3 * row[name]:.0f} ({row[name] / row['step_s']:.0%})" for name in PARTS),
            f"{row['images_per_s']:.1f}", f"{row['loader_images_per_s']:.0f}",
            f"{row['share_of_loader']:.3f}",
        )  # fmt: skip
    Console(width=140).print(table)
