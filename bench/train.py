"""``glass bench train``: measures how long each part of a training step takes, and how fast the loader alone is.

Question: does the model wait for data, and where does the time of a step go? Method: real batches from shards and real
optimiser steps, timed in four parts: waiting for the batch, the forward pass with the loss, the backward pass with
gradient clipping, and the optimiser. On a GPU, each part ends with a synchronisation that a real run does not have, so
the sum of the parts is an upper bound for a step there.

A round first takes ``--steps`` training steps. It then loads the same number of batches without a model, which gives
the rate of the loader alone. Both begin with an empty queue and two batches that are not timed. ``share_of_loader`` is
the training rate ÷ the rate of the loader alone, round by round. If it is near 1, the loader is the bottleneck; if it
is far below 1, the model is. Times are medians over all steps; rates and the share are medians over the rounds. The
smallest and the largest value are reported with each median.

    glass bench train --data data/shards --presets glass_resnet50,single_view_resnet50
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from bench.corpora.corpus import data_digest
from bench.harness.arguments import bench_parser, check_at_least, check_output, names_among, progress
from bench.harness.environment import environment, warn_if_busy
from bench.harness.pinning import choose_cores
from bench.harness.schemas import print_result
from bench.harness.table import print_step_times
from glass.config.overrides import apply_overrides, refuse_contradiction, refuse_fixed
from glass.config.run_config import RunConfig
from glass.config.set_option import add_settings
from glass.presets import load_preset, preset_names
from shards.cli.command import CommandParser
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["main", "measure_steps"]

BENCH = "train"
FIXED = {
    "cpu_threads": "give --threads",
    "loader.num_threads": "give --threads",
    "grad_accum_steps": "leave it out, because a measured step has one micro-step",
    "train.ema": "leave it out, because the moving average is not measured",
}
PARTS = ("data_wait_s", "forward_s", "backward_s", "optimiser_s")
WARM_UP_STEPS = 2


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0."""
    options = _parse(argv)
    presets = names_among("--presets", options.presets, preset_names())
    dataset = ShardDataset.open(options.data)
    cores = choose_cores(options.threads)
    found = environment(cores)
    warn_if_busy(found)
    rows = []
    for preset in presets:
        progress(f"{preset}: {options.rounds} rounds of {options.steps} steps")
        config = _settings(preset, dataset, options)
        row = measure_steps(dataset, config, options.steps, options.rounds)
        rows.append(row | {"settings": list(options.set)})
    document = {"bench": BENCH, "rows": rows, "environment": found}
    print_step_times(rows, PARTS)
    print_result(document, options.output, BENCH)
    return 0


def measure_steps(dataset: ShardDataset, config: RunConfig, steps: int, rounds: int) -> dict[str, Any]:
    """Measures ``rounds`` rounds and returns their row. A round times ``steps`` training steps of ``config``, and then
    the loading of the same number of batches without a model.

    Raises ``InputError`` if the training split has too few batches for ``steps``.
    """
    import torch

    from glass.train.processes import make_accelerator
    from glass.train.run import prepared_model
    from glass.train.step import Totals
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
                f"{config.train_split} has only {len(loader)} batches of {config.loader.global_batch_size}, but "
                f"{wanted} are needed: give fewer --steps or a smaller --batch"
            )
        turns = []
        for number in range(rounds):
            loader.set_epoch(2 * number)
            taken = [timer.step(batch) for batch in timer.waited_for(loader, wanted)]
            loader.set_epoch(2 * number + 1)
            turns.append((taken[WARM_UP_STEPS:], _loader_rate(loader, wanted)))
    return {
        "bench": BENCH,
        "method": config.preset,
        "preset": config.preset,
        "backbone": config.model.global_backbone,
        "data": data_digest(dataset.info),
        "num_crops": config.loader.num_crops,
        "crop_chunk": config.model.crop_chunk,
        "batch_size": config.loader.global_batch_size,
        "crop_size": config.loader.crop_size,
        "global_size": config.loader.global_size,
        "threads": torch.get_num_threads(),
        "device": device.type,
        "precision": precision,
        "rounds": rounds,
        "steps": steps,
        **_figures(turns, config.loader.global_batch_size),
    }


def _figures(turns: list[tuple[list[dict[str, float]], float]], batch: int) -> dict[str, Any]:
    """Returns the median of each figure, and under ``ranges`` its smallest and largest value: for times over all steps,
    for rates over the rounds. ``turns`` has one item per round: the seconds taken by each part of each step, and the
    loader's images per second."""
    steps = [step | {"step_s": sum(step.values())} for taken, _ in turns for step in taken]
    values = {name: [step[name] for step in steps] for name in ("step_s", *PARTS)}
    values["images_per_s"] = [batch / statistics.median(sum(step.values()) for step in taken) for taken, _ in turns]
    values["loader_images_per_s"] = [rate for _, rate in turns]
    values["share_of_loader"] = [
        mine / loader for mine, loader in zip(values["images_per_s"], values["loader_images_per_s"], strict=True)
    ]
    medians = {name: statistics.median(found) for name, found in values.items()}
    return {**medians, "ranges": {n: [min(found), max(found)] for n, found in values.items()}}


class _StepTimer:
    """Takes training steps as ``glass.train.step`` does, and times their parts."""

    def __init__(self, config: RunConfig, accelerator: Any, model: Any, optimizer: Any, totals: Any) -> None:
        from glass.train.step import Engine

        self.engine = Engine(config, accelerator, model, optimizer)
        self.accelerator, self.totals = accelerator, totals
        self._waited_s = 0.0
        self._marks: dict[str, float] = {}

    def waited_for(self, loader: Any, number: int) -> Any:
        """Yields ``number`` batches of an epoch, and records how long the consumer waited for each of them."""
        batches = iter(loader)
        for _ in range(number):
            start = time.perf_counter()
            batch = next(batches)
            self._synchronise()
            self._waited_s = time.perf_counter() - start
            yield batch
        batches.close()

    def step(self, batch: dict[str, Any]) -> dict[str, float]:
        """Takes one optimiser step. Returns the seconds that each part took."""
        start = time.perf_counter()
        with (
            self._marked("forward", self.accelerator, "backward"),
            self._marked("backward", self.engine.optimizer, "step"),
        ):
            self.engine.step([batch], self.totals)
        self._mark("optimiser")
        return {
            "data_wait_s": self._waited_s,
            "forward_s": self._marks["forward"] - start,
            "backward_s": self._marks["backward"] - self._marks["forward"],
            "optimiser_s": self._marks["optimiser"] - self._marks["backward"],
        }

    def _marked(self, ended: str, owner: Any, method: str) -> Any:
        """Context manager: patches ``owner.method`` so that each call first records the time as the end of the part
        ``ended``."""
        real = getattr(owner, method)

        def marking(*arguments: Any, **named: Any) -> Any:
            self._mark(ended)
            return real(*arguments, **named)

        return mock.patch.object(owner, method, marking)

    def _mark(self, name: str) -> None:
        self._synchronise()
        self._marks[name] = time.perf_counter()

    def _synchronise(self) -> None:
        if self.accelerator.device.type == "cuda":
            import torch

            torch.cuda.synchronize()


def _loader_rate(loader: Any, batches: int) -> float:
    """Images per second of the loader alone."""
    taken = iter(loader)
    for _ in range(WARM_UP_STEPS):
        next(taken)
    start, images = time.perf_counter(), 0
    for _ in range(batches - WARM_UP_STEPS):
        images += len(next(taken)["sample_key"])
    seconds = time.perf_counter() - start
    taken.close()
    return images / seconds


def _settings(preset: str, dataset: ShardDataset, options: argparse.Namespace) -> RunConfig:
    changes = [
        "model.pretrained=false",
        f"loader.global_size={dataset.info.global_size}",
        f"loader.num_threads={options.threads}",
        f"cpu_threads={options.threads}",
        "tensorboard=false",
        "grad_accum_steps=1",
    ]
    if options.batch is not None:
        changes.append(f"loader.global_batch_size={options.batch}")
    return apply_overrides(load_preset(preset), [*changes, *options.set])


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Where the time of a training step goes, and how close it comes to the loader's rate.")
    parser.add_argument("--data", type=Path, required=True, metavar="SHARDS", help="folder of shards")
    parser.add_argument("--presets", default="glass_tiny,single_view_tiny", metavar="NAME,…", help="presets to train")
    parser.add_argument("--batch", type=int, help="images per step (default: as in the preset)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each of training steps and of the loader alone")
    parser.add_argument("--steps", type=int, default=10, help="timed steps per round")
    parser.add_argument("--threads", type=int, default=2, help="threads for the model and for the loader")
    add_settings(parser, "change a setting of the presets (repeatable)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the JSON document to this folder")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    check_at_least(1, options, "rounds", "steps", "threads")
    refuse_fixed(options.set, FIXED)
    if options.batch is not None:
        refuse_contradiction(f"--batch {options.batch}", f"loader.global_batch_size={options.batch}", options.set)
    check_output(options)
    return options
