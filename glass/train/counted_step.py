"""Measures the memory that a training step takes, on a GPU or a CPU, or computes it from tensor shapes alone.

The steps are those of ``train.py``. To compute the memory, a step runs on tensors that have shapes but no values. No
arithmetic is done, so this takes only seconds and little memory for a network of any size.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from glass.config.run_config import RunConfig
from glass.memory.counts import CudaAllocator, KeptStorages, LiveStorages, storage_bytes
from glass.memory.process_peak import ProcessPeak
from glass.model.architectures import shapes_only
from glass.model.model import build_model
from glass.train import run
from glass.train.processes import make_accelerator
from glass.train.step import Engine, Totals

__all__ = ["COUNTED_BY_SHAPES", "Step", "count_by_shapes", "without_numbers"]

COUNTED_ON_CPU = "tensor storages alive at the worst moment (CPU; no GPU was measured)"
COUNTED_BY_SHAPES = "the same on tensors without data: what the CPU's operations would allocate"
COUNTED_ON_GPU = "torch.cuda.max_memory_allocated"


def _make_batch(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """Returns a batch of random pixels in the layout that loaders produce."""
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
    """Everything needed for a single training step: a model, its optimiser with state, and a batch."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        with tempfile.TemporaryDirectory() as folder:
            self.accelerator, self.precision = make_accelerator(config, Path(folder))
        self.device = self.accelerator.device
        self.model, self.optimizer, _ = run.prepared_model(config, self.accelerator, with_weights=False)
        self.model.train()
        self.engine = Engine(config, self.accelerator, self.model, self.optimizer)
        self.totals = Totals(self.device)
        self.batch = _make_batch(config, self.device)
        for parameter in self._learning():  # makes the optimiser's state
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def take(self) -> None:
        """Takes one optimiser step; on a GPU, waits until it is finished."""
        self.engine.step([self.batch], self.totals)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def count_by_storages(self, peak: ProcessPeak | None = None) -> dict[str, Any]:
        """Takes a step. Returns the bytes of the tensor storages alive at its peak, and of those that autograd keeps.

        If ``peak`` is given, also measures the process's resident memory. Use this on a CPU, or with tensors that have
        no values (:func:`without_numbers`).
        """
        known = [*self.model.parameters(), *self.model.buffers(), *self._optimiser_state()]
        live = LiveStorages([*known, *_tensors(self.batch.values())], self._learning())
        with peak.watching() if peak else nullcontext():
            found = self._count(live)
        still = sum(found[f"{name}_bytes"] for name in ("weights", "optimiser", "input"))
        return found | {"process_peak_bytes": still + peak.growth_bytes if peak else None}

    def count_by_allocator(self) -> dict[str, Any]:
        """Takes a step and returns the bytes that CUDA's allocator reports; it does not distinguish gradients from
        activations.
        """
        found = self._count(CudaAllocator())
        return found | {"process_peak_bytes": torch.cuda.max_memory_reserved()}

    def _count(self, meter: LiveStorages | CudaAllocator) -> dict[str, Any]:
        """Takes a step while ``meter`` records memory. Returns the bytes at the peak, broken down by purpose."""
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

    def described(self, figures: dict[str, Any], counted_by: str | None = None) -> dict[str, Any]:
        """Returns ``figures`` together with how memory was measured, the device, the precision, the backbone and the
        image sizes.
        """
        on_gpu = self.device.type == "cuda"
        model, loader = self.config.model, self.config.loader
        return {
            "counted_by": counted_by or (COUNTED_ON_GPU if on_gpu else COUNTED_ON_CPU),
            "device": torch.cuda.get_device_name(self.device) if on_gpu else "cpu",
            "precision": self.precision,
            "backbone": model.global_backbone,
            "global_size": loader.global_size,
            "crop_size": loader.crop_size,
            **figures,
        }


def count_by_shapes(config: RunConfig) -> dict[str, Any]:
    """Returns a row for ``bench memory --count shapes``: the bytes that a step with ``config`` would use on a CPU,
    computed from tensor shapes.
    """
    with mock.patch.dict(os.environ, ACCELERATE_USE_CPU="true"), without_numbers(FakeTensorMode()):
        step = Step(config)
        figures = step.count_by_storages()
    return {
        "preset": config.preset,
        "batch_size": config.loader.global_batch_size,
        "num_crops": config.loader.num_crops,
        "crop_chunk": config.model.crop_chunk,
        "step_time_s": None,
        **step.described(figures, COUNTED_BY_SHAPES),
    }


@contextmanager
def without_numbers(mode: FakeTensorMode) -> Iterator[None]:
    """Context manager: the tensors of a :class:`Step` created and taken inside have shapes and storage sizes, but no
    values.
    """
    with (
        mode,
        mock.patch.object(run, "build_model", _model_without_numbers),
        # A fake tensor cannot change its layout or device in place; its size would be the same.
        mock.patch.object(nn.Module, "to", lambda module, *_, **__: module),
    ):
        yield


def _model_without_numbers(config: RunConfig, *, with_weights: bool) -> nn.Module:
    """Builds the network for ``config``, with fake tensors, which have no values, as its parameters and buffers.

    It is first built on the meta device, outside fake tensor mode, because timm reads tensor values while building a
    network.
    """
    with unset_fake_temporarily(), shapes_only():
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
