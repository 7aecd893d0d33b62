"""The class weights in the training loss (``train.class_weights``)."""

import numpy as np

from glass.config.run_config import RunConfig
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["class_weights"]


def class_weights(config: RunConfig, dataset: ShardDataset) -> tuple[float, float] | None:
    """Returns the loss weights of real and generated images, or None if every image has weight 1.

    ``balanced`` weights have a mean of 1 over the training split's images, so the same learning rates remain suitable.
    Raises ``InputError`` if the weights are ``balanced`` and the training split lacks a class.
    """
    if config.train.class_weights is None:
        return None
    if config.train.class_weights != "balanced":
        return config.train.given_weights()
    labels = dataset.column("label")[dataset.split_rows(config.train_split)]
    real, generated = (int(count) for count in np.bincount(labels, minlength=2)[:2])
    if not (real and generated):
        raise InputError(
            f"train.class_weights=balanced: split {config.train_split} holds {real:,} real and {generated:,} "
            "generated images, but weights need images of both classes: leave the setting out"
        )
    return (real + generated) / (2 * real), (real + generated) / (2 * generated)
