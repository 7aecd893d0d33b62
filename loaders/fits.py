"""Checks that a data set can be read with given settings, before anything is loaded or opened."""

from loaders.config import LoaderConfig
from loaders.windows.sampling import sampling_rule
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["check_fits"]


def check_fits(dataset: ShardDataset, split: str, config: LoaderConfig) -> None:
    """Raises ``InputError`` if ``split`` of ``dataset`` cannot be read with the settings in ``config``."""
    stored = dataset.info.global_size
    if config.global_size != stored:
        raise InputError(
            f"loader.global_size={config.global_size}, but the shards in {dataset.where} hold global views of "
            f"{stored} pixels: train with --set loader.global_size={stored}, or build the shards again with "
            f"--global-size {config.global_size}"
        )
    if not len(dataset.split_rows(split)):
        raise InputError(f"split {split!r} of {dataset.where} has no samples: choose another split")
    sampling_rule(config.sampling)
