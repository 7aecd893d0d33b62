"""Builds batches from shards: orders the samples, places windows, reads files and decodes images. See
``docs/loader.md``.

>>> from loaders import LoaderConfig, build_loader
>>> loader = build_loader("data/demo-shards", "train", LoaderConfig(global_batch_size=8))
>>> for batch in loader: ...
"""

from typing import TYPE_CHECKING, Any

from loaders.config import LoaderConfig

if TYPE_CHECKING:
    from loaders.batch import Batch
    from loaders.loader import Loader, build_loader

__all__ = ["Batch", "Loader", "LoaderConfig", "build_loader"]


def __getattr__(name: str) -> Any:
    """Imports ``Loader``, ``build_loader`` and ``Batch`` only when they are first used. They import torch, which takes
    seconds; ``LoaderConfig`` does not."""
    if name in ("Loader", "build_loader"):
        from loaders import loader

        return getattr(loader, name)
    if name == "Batch":
        from loaders.batch import Batch

        return Batch
    raise AttributeError(f"module 'loaders' has no attribute {name!r}")
