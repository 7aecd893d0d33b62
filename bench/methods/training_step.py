"""The measured process of ``bench memory``: one training step of a preset, as ``train.py`` takes
it, counted once and then timed."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

import glass.train.run
from bench.harness.memory_counts import CudaAllocator, KeptStorages, LiveStorages, ProcessPeak, storage_bytes
from bench.harness.task import Method, Task
from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.model.model import build_model
from glass.presets import load_preset
from glass.train.processes import make_accelerator
from glass.train.step import Engine, Totals

__all__ = ["Step", "TrainingStep", "make_batch", "step_config"]

COUNTED_ON_CPU = "tensor storages alive at the worst moment (CPU; no GPU was measured)"
COUNTED_BY_SHAPES = "the same on tensors without numbers: what the CPU's operations would allocate"
COUNTED_ON_GPU = "torch.cuda.max_memory_allocated"


def step_config(options: dict[str, str], num_crops: int, threads: int) -> RunConfig:
    """A preset's settings at a batch, number of crops, chunk and precision."""
    config = apply_overrides(
        load_preset(options["preset"]),
        [
            "model.pretrained=false",  # the numbers in the weights change no memory
            f"loader.num_crops={num_crops}",
            f"loader.global_batch_size={options['batch_size']}",
            f"model.crop_chunk={options['crop_chunk']}",
            f"precision={options['precision']}",
            f"cpu_threads={threads}",
            *filter(None, options.get("set", "").split("\n")),
        ],
    )
    return replace(config, tensorboard=False, grad_accum_steps=1)


def make_batch(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """Random pixels in the layout that loaders deliver."""
    loader = config.loader
    batch, crops = loader.global_batch_size, loader.num_crops

    def pixels(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, device=device).movedim(-1, -3)

    return {
        "global_view": pixels(batch, loader.global_size, loader.global_size, 3),
        "local_crops": pixels(batch, crops, loader.crop_size, loader.crop_size, 3),
        "crop_mask": torch.ones(batch, crops, dtype=torch.bool, device=device),
        "label": torch.arange(batch, device=device) % 2,
        "is_valid": torch.ones(batch, dtype=torch.bool, device=device),
    }


class Step:
    """Model, optimiser with its state, a batch, and the step over it."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        with tempfile.TemporaryDirectory() as folder:
            self.accelerator, self.precision = make_accelerator(config, Path(folder))
        self.device = self.accelerator.device
        self.model, self.optimizer, _ = glass.train.run.prepared_model(config, self.accelerator, with_weights=False)
        self.model.train()
        self.engine = Engine(config, self.accelerator, self.model, self.optimizer)
        self.totals = Totals(self.device)
        self.batch = make_batch(config, self.device)
        for parameter in self._learning():  # makes the optimiser's state
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def take(self) -> None:
        """One optimiser step, on a GPU until its end."""
        self.engine.step([self.batch], self.totals)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def count_by_storages(self, peak: ProcessPeak | None = None) -> dict[str, Any]:
        """Takes a step and counts the storages that live and that autograd keeps, in bytes; ``peak``
        adds the process's memory. For a CPU, or tensors without numbers."""
        known = [*self.model.parameters(), *self.model.buffers(), *self._optimiser_state()]
        live = LiveStorages([*known, *_tensors(self.batch.values())], self._learning())
        with peak.watching() if peak else nullcontext():
            found = self._count(live)
        still = sum(found[f"{name}_bytes"] for name in ("weights", "optimiser", "input"))
        return found | {"process_peak_bytes": still + peak.growth_bytes if peak else None}

    def count_by_allocator(self) -> dict[str, Any]:
        """Takes a step and asks CUDA's allocator, which counts gradients with the activations."""
        found = self._count(CudaAllocator())
        return found | {"process_peak_bytes": torch.cuda.max_memory_reserved()}

    def _count(self, meter: LiveStorages | CudaAllocator) -> dict[str, Any]:
        """Takes a step under ``meter``; bytes at its peak, by their use."""
        parts = {
            "weights": storage_bytes([*self.model.parameters(), *self.model.buffers()]),
            "optimiser": storage_bytes(self._optimiser_state()),
            "input": storage_bytes(_tensors(self.batch.values())),
        }
        still = sum(sum(part.values()) for part in parts.values())
        kept = KeptStorages()
        after_forward: list[int] = []
        handle = self.model.register_forward_hook(lambda *_: after_forward.append(meter.bytes))
        with meter, kept.watching():
            self.take()
        handle.remove()
        return {
            "peak_bytes": meter.peak_bytes,
            **{f"{name}_bytes": sum(part.values()) for name, part in parts.items()},
            "gradients_bytes": meter.gradient_bytes,
            "activations_bytes": meter.peak_bytes - still - meter.gradient_bytes,
            "activations_after_forward_bytes": after_forward[0] - still,
            "kept_by_autograd_bytes": kept.bytes_beside(key for part in parts.values() for key in part),
        }

    def _learning(self) -> list[torch.Tensor]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def _optimiser_state(self) -> list[torch.Tensor]:
        return [value for state in self.optimizer.state.values() for value in _tensors(state.values())]


class TrainingStep(Method):
    """A method of the harness: counted while it warms up; a pass is one step."""

    def __init__(self, task: Task) -> None:
        self.config = step_config(task.options, task.num_crops, task.threads)
        self.by_shapes = task.options["count"] == "shapes"
        self._fake = FakeTensorMode()
        with self._mode():
            self.step = Step(self.config)
        self.figures: dict[str, Any] = {}

    def warm_up(self) -> float:
        """Counts a step; returns its seconds."""
        start = time.perf_counter()
        if self.by_shapes:
            with self._mode():
                self.figures = self.step.count_by_storages()
        elif self.step.device.type == "cuda":
            self.step.take()  # the first step chooses kernels and makes workspaces
            start = time.perf_counter()
            self.figures = self.step.count_by_allocator()
        else:
            self.figures = self.step.count_by_storages(ProcessPeak())
        return time.perf_counter() - start

    @contextmanager
    def _mode(self) -> Iterator[None]:
        """With ``by_shapes``, tensors have a shape and a storage's size but no numbers."""
        if not self.by_shapes:
            yield
            return
        with (
            self._fake,
            mock.patch.object(glass.train.run, "build_model", _model_without_numbers),
            # Such a tensor refuses to change its layout or device in place; its size stays.
            mock.patch.object(nn.Module, "to", lambda module, *_, **__: module),
        ):
            yield

    def run(self) -> int:
        """Takes the steps of a turn; returns the number of images."""
        for _ in range(self.passes):
            self.step.take()
        return self.passes * self.config.loader.global_batch_size

    def report(self) -> dict[str, Any]:
        """All counts, in bytes, with the way of counting, the device and the sizes."""
        on_gpu = self.step.device.type == "cuda"
        counted_by = COUNTED_BY_SHAPES if self.by_shapes else COUNTED_ON_GPU if on_gpu else COUNTED_ON_CPU
        model, loader = self.config.model, self.config.loader
        return {
            "counted_by": counted_by,
            "device": torch.cuda.get_device_name(self.step.device) if on_gpu else "cpu",
            "precision": self.step.precision,
            "backbone": model.global_backbone,
            "global_size": loader.global_size,
            "crop_size": loader.crop_size,
            **self.figures,
        }


def _model_without_numbers(config: RunConfig, *, with_weights: bool) -> nn.Module:
    """A network of fake tensors. It is made outside their mode, because timm reads numbers meanwhile."""
    with unset_fake_temporarily(), torch.device("meta"):
        model = build_model(config, with_weights=with_weights)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            empty = torch.empty(weight.shape, dtype=weight.dtype)
            module.register_parameter(name, nn.Parameter(empty, weight.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return model


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    return [value for value in values if torch.is_tensor(value)]
