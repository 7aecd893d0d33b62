"""Networks whose weights are about to be read from a file are built without drawing random ones first.

timm fills every weight while it builds a network: of a ViT-B/16 that takes seconds, and the file replaces all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

__all__ = ["WithoutRandomWeights"]

_FILLS = frozenset({"normal_", "uniform_", "trunc_normal_", "erfinv_", "kaiming_normal_", "kaiming_uniform_"})
"""Names of the functions that draw or shape random weights in place. Each returns the tensor that it fills."""


class WithoutRandomWeights(TorchFunctionMode):
    """Context manager: networks built in it hold whatever their memory held wherever they would hold random numbers.

    Use it only where each parameter is replaced afterwards, as :func:`glass.export.model_folder.load_state` requires.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func``, unless it fills a tensor with random numbers; then the tensor itself is returned."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
