"""Imports timm without torch's compiler.

Importing the compiler would account for half of the time before the first verdict (docs/LOG.md, 2026-11-29). Two
decorators, one in torchvision and one in a timm model, cause that import: they import ``torch._dynamo``, which in turn
imports sympy and all of ``torch.distributed``. Both decorators matter only under ``torch.compile``, so they are
replaced while timm is imported.
"""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

__all__ = ["timm"]

_COMPILER = "torch._dynamo.utils"
Function = TypeVar("Function", bound=Callable[..., Any])


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Context manager: replaces the two decorators that import the compiler, unless it has already been imported."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    stand_in = types.ModuleType(_COMPILER)
    stand_in.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    disable = torch.compiler.disable
    sys.modules[_COMPILER] = stand_in
    torch.compiler.disable = _unchanged
    try:
        yield
    finally:
        del sys.modules[_COMPILER]
        torch.compiler.disable = disable


def _is_compile_supported(device: str) -> bool:
    """Imports torch's ``is_compile_supported`` only when called, and calls it."""
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device))


def _unchanged(function: Function | None = None, *_: object, **__: object) -> Any:
    return _unchanged if function is None else function


with _without_compiler():
    import timm
    import timm.models
