"""From shards to batches: order, windows, reading, decoding. See ``docs/DATA_FLOW.md``."""

from loaders.config import LoaderConfig

__all__ = ["LoaderConfig"]
