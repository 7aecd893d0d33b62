"""Builds networks without random initialisation, because their weights are read from a file afterwards.

timm fills every weight with random numbers when it builds a network. For a ViT-B/16 this takes seconds, even though the
file replaces all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

__all__ = ["WithoutRandomWeights"]

_FILLS = frozenset({"normal_", "uniform_", "trunc_normal_", "erfinv_", "kaiming_normal_", "kaiming_uniform_"})
"""Names of the in-place functions that fill a tensor with random numbers or turn such numbers into initial weights.
Each of them returns the tensor."""


class WithoutRandomWeights(TorchFunctionMode):
    """Context manager: networks built inside it have uninitialised memory in place of random initial weights.

    Use it only if every parameter is replaced afterwards, as :func:`glass.export.model_folder.load_state` requires.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func``, unless it would fill a tensor with random numbers, in which case the tensor is returned
        unchanged."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
