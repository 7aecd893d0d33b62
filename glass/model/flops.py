"""Counts the floating-point operations of a training run. The count is the same on every machine."""

from dataclasses import replace
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from glass.config.run_config import RunConfig
from glass.model.model import build_model

__all__ = ["training_flops"]

BACKWARD = 2
"""Cost of a backward pass relative to a forward pass, by the usual convention."""


def training_flops(config: RunConfig, images: int) -> float:
    """Returns the number of floating-point operations, forward and backward, needed to train on ``images`` images.

    ``images`` counts an image once for each epoch. Only matrix products and convolutions are included, as in
    PyTorch's FLOP counter.
    """
    views = 1 if config.model.kind == "single_view" else config.loader.num_crops
    one, two = (_forward_flops(_plain(config), crops) for crops in (1, 2))
    return float(images * (1 + BACKWARD) * (one + (two - one) * (views - 1)))


def _plain(config: RunConfig) -> RunConfig:
    """Returns ``config`` with fixed values for all settings that do not affect the count, so runs with the same count
    share a cache entry."""
    loader = replace(config.loader, num_crops=1, global_batch_size=1, seed=0)
    model = replace(config.model, pretrained=False, dropout=0.0)
    return RunConfig(model=model, loader=loader)


@cache
def _forward_flops(config: RunConfig, crops: int) -> int:
    state = torch.random.get_rng_state()
    model = build_model(config, with_weights=False).eval()
    torch.random.set_rng_state(state)
    size, crop = config.loader.global_size, config.loader.crop_size
    view = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    windows = torch.zeros(1, crops, 3, crop, crop, dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(view, windows, torch.ones(1, crops, dtype=torch.bool))
    return int(counter.get_total_flops())
