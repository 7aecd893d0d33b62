"""Whether what is asked for can be trained at all, found out before a plan of it is written down.

Else the advice that an error gives would be refused as another study the second time.
"""

from dataclasses import replace

import torch

from glass.config.run_config import RunConfig
from glass.model.model import build_model
from loaders.fits import check_fits
from shards.manifest.dataset import ShardDataset

__all__ = ["check_usable"]


def check_usable(dataset: ShardDataset, config: RunConfig) -> None:
    """Raises ``InputError`` where the splits, the network or the files of weights of ``config``
    cannot be had; nothing is downloaded."""
    for split in (config.train_split, config.valid_split):
        check_fits(dataset, split, config.loader)
    state = torch.random.get_rng_state()
    build_model(replace(config, model=replace(config.model, pretrained=False)))
    torch.random.set_rng_state(state)
