"""Chooses the number format in which the network computes, and states the reason for the choice."""

from contextlib import AbstractContextManager, nullcontext

import torch

from shards.errors import InputError

__all__ = ["ACCELERATE_NAMES", "autocast", "precision_in_use", "resolve_precision"]

ACCELERATE_NAMES = {"bf16": "bf16", "fp16": "fp16", "float32": "no"}
"""Maps this project's precision names to those for ``Accelerator(mixed_precision=…)``."""


def resolve_precision(setting: str, device: torch.device | str) -> tuple[str, str]:
    """Returns the precision to compute in (``bf16``, ``fp16`` or ``float32``), and a phrase that states the reason.

    ``setting`` is one of the three, or ``auto``. Raises ``InputError`` if ``device`` does not support the precision
    that ``setting`` requests.
    """
    cuda = torch.device(device).type == "cuda"
    if setting == "float32":
        return "float32", "as set"
    if not cuda:
        if setting == "fp16":
            raise InputError("precision=fp16 needs a GPU; on a CPU set precision=float32 or precision=auto")
        if setting == "bf16":
            return "bf16", "as set"
        return "float32", "a CPU's default"
    # Emulated bf16 (before Ampere) is slower than fp16.
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if setting == "auto":
        return ("bf16", "this GPU supports it") if has_bf16 else ("fp16", "this GPU does not support bf16")
    if setting == "bf16" and not has_bf16:
        raise InputError("precision=bf16 does not work on this GPU; set precision=fp16 or precision=auto")
    return setting, "as set"


def precision_in_use(trained: str, device: torch.device | str) -> str:
    """The ``precision`` setting with which to run a model that was trained with the setting ``trained``.

    It is ``auto`` for a model trained in fp16 that runs on a CPU, which has no fp16; otherwise it is ``trained``.
    """
    half_on_cpu = trained == "fp16" and torch.device(device).type == "cpu"
    return "auto" if half_on_cpu else trained


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[None]:
    """Returns a context in which models compute in ``precision``, as returned by :func:`resolve_precision`."""
    if precision == "float32":
        return nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(torch.device(device).type, dtype=dtype)
