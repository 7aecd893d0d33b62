"""Measures the memory used by training steps and predictions, and recognises out-of-memory errors."""

import gc
from dataclasses import replace
from typing import Any

import torch

from glass.config.run_config import RunConfig
from glass.memory.counts import CudaAllocator, LiveStorages, storage_bytes
from glass.memory.out_of_memory import is_out_of_memory
from glass.memory.process_peak import ProcessPeak
from glass.train.counted_step import Step
from glass.train.processes import run_device

__all__ = [
    "device_name",
    "free_memory",
    "inference_memory",
    "meaning_of_counts",
    "training_memory",
    "why_it_does_not_fit",
]

Counts = dict[str, float]


def device_name() -> str:
    """Returns ``cpu``, or the name of the GPU."""
    return torch.cuda.get_device_name(run_device()) if _on_gpu() else "cpu"


def meaning_of_counts() -> str:
    """Explains what this module's memory figures mean on the device in use; their meaning differs between GPU and
    CPU.
    """
    if _on_gpu():
        return "peak of CUDA's allocator"
    return (
        "tensor_bytes: sum of all live tensors at its peak; process_bytes: permanent tensors plus the growth of "
        "resident memory during the step (or, at prediction, the forward pass)"
    )


def training_memory(config: RunConfig) -> Counts:
    """Measures one training step with ``config`` on a single micro-step. Returns a dict that maps figure names to
    bytes.
    """
    step = Step(replace(config, grad_accum_steps=1))
    if _on_gpu():
        return {"cuda_bytes": step.count_by_allocator()["peak_bytes"]}
    found = step.count_by_storages(ProcessPeak())
    return {"tensor_bytes": found["peak_bytes"], "process_bytes": found["process_peak_bytes"]}


def inference_memory(model: Any, batch: dict[str, Any]) -> Counts:
    """Measures one forward pass of ``model`` on ``batch``. Returns a dict that maps figure names to bytes.

    The caller must set the precision and disable gradients, as for prediction.
    """
    views = [batch[name] for name in ("global_view", "local_crops", "crop_mask")]
    if _on_gpu():
        with CudaAllocator() as allocator:
            model(*views)
        return {"cuda_bytes": float(allocator.peak_bytes)}
    known = [*model.parameters(), *model.buffers(), *views]
    live, peak = LiveStorages(known), ProcessPeak()
    with peak.watching(), live:
        model(*views)
    still = sum(storage_bytes(known).values())
    return {"tensor_bytes": float(live.peak_bytes), "process_bytes": still + peak.growth_bytes}


def why_it_does_not_fit(error: Exception) -> str | None:
    """Returns the first line of an out-of-memory error's message, or None for any other error."""
    if not is_out_of_memory(error):
        return None
    return (str(error).splitlines() or ["out of memory"])[0]


def free_memory() -> None:
    """Frees the memory held by a step that ran out of memory, so that the next step can use it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _on_gpu() -> bool:
    return run_device().type == "cuda"
