"""From shards to batches: order, windows, reading, decoding. See ``docs/DATA_FLOW.md``.

>>> from loaders import LoaderConfig, build_loader
>>> loader = build_loader("data/demo-shards", "train", LoaderConfig(global_batch_size=8))
>>> for batch in loader: ...
"""

from loaders.batch import Batch
from loaders.config import LoaderConfig
from loaders.loader import Loader, build_loader

__all__ = ["Batch", "Loader", "LoaderConfig", "build_loader"]
