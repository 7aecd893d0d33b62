"""Measures the memory use and speed of training steps. Speed is measured with the loader, with a batch that is already
on the device, and with compilation."""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from bench.gpu.data import SPLIT, repeated
from bench.gpu.part import Answer, Cell, Part, Setting, done, figure
from glass.config.run_config import RunConfig
from shards.cli.wording import counted

if TYPE_CHECKING:
    from glass.memory.memory_plan import Planner
    from glass.train.counted_step import Step

__all__ = ["COMPILE", "MEMORY", "TRAINING"]

WARM_UP_STEPS = 3
SECONDS = {"cuda": 6.0, "cpu": 1.0}
COUNTED_CROPS = {"cuda": (4, 1, 16, 8, 2), "cpu": (4, 1)}
COUNTED_BATCH = {"cuda": 8, "cpu": 4}
GIB = 1 << 30


def _config(setting: Setting, preset: str, *changes: str) -> RunConfig:
    from glass.config.overrides import apply_overrides
    from glass.presets import load_preset

    fixed = ["model.pretrained=false", "tensorboard=false", "grad_accum_steps=1"]
    if setting.on_gpu:
        fixed.append("precision=bf16")
    return apply_overrides(load_preset(preset), [*fixed, f"cpu_threads={setting.threads}", *changes])


@contextmanager
def _step(config: RunConfig) -> Iterator["Step"]:
    """Context manager: yields a training step and frees its memory afterwards."""
    import torch

    from glass.train.counted_step import Step

    step = Step(config)
    try:
        yield step
    finally:
        del step
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _synthetic_rate(step: "Step", seconds: float) -> float:
    """Returns the training speed in images per second on one batch that is already on the device."""
    import torch

    for _ in range(WARM_UP_STEPS):
        step.take()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step.engine.step([step.batch], step.totals)  # does not wait for the device, as in training
        steps += 1
    if step.device.type == "cuda":
        torch.cuda.synchronize()
    return steps * step.config.loader.global_batch_size / (time.perf_counter() - start)


def _training_cells(setting: Setting) -> list[Cell]:
    return [Cell(preset, partial(_train, setting, preset)) for preset in setting.presets]


def _train(setting: Setting, preset: str, left: float) -> Answer:
    dataset = repeated(setting)
    threads = min(16, setting.threads)
    sizes = (f"loader.global_size={dataset.info.global_size}", f"loader.num_threads={threads}")
    config = _config(setting, preset, *sizes)
    seconds = min(SECONDS[setting.device], left / 3)
    with _step(config) as step:
        synthetic = _synthetic_rate(step, seconds)
        loaded, waiting = _loaded_rate(step, setting, seconds)
        precision = step.precision
    figures = {
        "precision": precision,
        "batch_size": config.loader.global_batch_size,
        "num_crops": config.loader.num_crops,
        "threads": threads,
        "images_per_s": loaded,
        "synthetic_images_per_s": synthetic,
        "share_of_waiting": waiting,
    }
    words = (
        f"{loaded:,.0f} images/s with the loader, {synthetic:,.0f} without, {waiting:.1%} of the time waiting for data"
    )
    return figures, f"{words} ({precision}, batch {figures['batch_size']}, {figures['num_crops']} crops)"


def _loaded_rate(step: "Step", setting: Setting, seconds: float) -> tuple[float, float]:
    """Trains on batches from the loader. Returns the images per second, and the share of the time spent waiting for
    batches."""
    import torch

    from loaders import build_loader

    config = replace(step.config.loader, device=setting.device)
    with build_loader(repeated(setting), SPLIT, config) as loader:
        taken, start, waited, epoch = 0, 0.0, 0.0, 0
        while True:
            loader.set_epoch(epoch)
            for batch in loader:
                step.engine.step([dict(batch)], step.totals)
                taken += 1
                if taken == WARM_UP_STEPS:
                    if setting.on_gpu:
                        torch.cuda.synchronize()
                    start, waited = time.perf_counter(), loader.stats()["wait_s"]
                if taken > WARM_UP_STEPS and time.perf_counter() - start > seconds:
                    if setting.on_gpu:
                        torch.cuda.synchronize()
                    elapsed = time.perf_counter() - start
                    images = (taken - WARM_UP_STEPS) * config.global_batch_size
                    return images / elapsed, (loader.stats()["wait_s"] - waited) / elapsed
            epoch += 1


def _training_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    said = [
        f"{row['cell']} trains at {figure(row, 'images_per_s') / figure(row, 'synthetic_images_per_s'):.0%} of its rate"
        f" without loading"
        for row in done(rows)
    ]
    return "; ".join(said) or "no training step was measured"


def _memory_cells(setting: Setting) -> list[Cell]:
    return [
        Cell(
            f"{preset}, {counted(crops, 'crop')}, {'plain' if chunk is None else 'chunked'}",
            partial(_count, setting, preset, crops, chunk),
        )
        for crops in COUNTED_CROPS[setting.device]
        for preset in setting.presets
        for chunk in (None, 1)
    ]


def _count(setting: Setting, preset: str, crops: int, chunk: int | None, _: float) -> Answer:
    batch = COUNTED_BATCH[setting.device]
    shown = "null" if chunk is None else str(chunk)
    sizes = (f"loader.num_crops={crops}", f"loader.global_batch_size={batch}", f"model.crop_chunk={shown}")
    config = _config(setting, preset, *sizes)
    with _step(config) as step:
        step.take()  # the first chooses kernels and makes workspaces
        found = step.count_by_allocator() if setting.on_gpu else step.count_by_storages()
        precision = step.precision
    forecast = _planner(setting, preset, precision).estimate(batch, crops, chunk).peak
    peak = found["peak_bytes"]
    figures = {
        "preset": preset,
        "num_crops": crops,
        "crop_chunk": chunk,
        "batch_size": batch,
        "precision": precision,
        **found,
        "forecast_bytes": forecast,
        "forecast_over_peak": forecast / peak,
    }
    return figures, f"{peak / GIB:.2f} GiB; glass plan predicts {forecast / GIB:.2f} ({forecast / peak - 1:+.0%})"


@cache
def _planner(setting: Setting, preset: str, precision: str) -> "Planner":
    """The memory planner that ``glass plan`` would use for this preset."""
    from glass.memory.memory_plan import Planner
    from glass.train.counted_step import count_by_shapes

    return Planner(_config(setting, preset), precision, count_by_shapes)


def _memory_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    ratios = [figure(row, "forecast_over_peak") for row in done(rows)]
    if not ratios:
        return "no memory was counted"
    return (
        f"the prediction of glass plan is off by {min(ratios) - 1:+.0%} to {max(ratios) - 1:+.0%} over {len(ratios)} "
        "steps"
    )


def _compile_cells(setting: Setting) -> list[Cell]:
    return [
        Cell(f"{preset}, compile={str(compiled).lower()}", partial(_compiled, setting, preset, compiled))
        for preset in setting.presets
        for compiled in (False, True)
    ]


def _compiled(setting: Setting, preset: str, compiled: bool, left: float) -> Answer:
    config = _config(setting, preset, f"compile={str(compiled).lower()}")
    start = time.perf_counter()
    with _step(config) as step:
        step.take()
        first_s = time.perf_counter() - start
        rate = _synthetic_rate(step, min(SECONDS[setting.device], left / 4))
    figures = {"preset": preset, "compile": compiled, "images_per_s": rate, "to_first_step_s": first_s}
    return figures, f"{rate:,.0f} images/s; {first_s:.0f} s to the end of the first step"


def _compile_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    rates = {(row["figures"]["preset"], row["figures"]["compile"]): figure(row, "images_per_s") for row in done(rows)}
    said = [
        f"{preset} compiled processes {rate / rates[preset, False]:.2f} times as many images per second as not compiled"
        for (preset, compiled), rate in rates.items()
        if compiled and (preset, False) in rates
    ]
    return "; ".join(said) or "compiled and plain steps were not both measured"


TRAINING = Part("training", 0.2, _training_cells, _training_verdict, needs_data=True)
MEMORY = Part("memory", 0.1, _memory_cells, _memory_verdict)
COMPILE = Part("compile", 0.15, _compile_cells, _compile_verdict)
