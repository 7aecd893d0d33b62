r"""GLASS in miniature, for a CPU: two ``test_resnet`` (0.4 M parameters each) on 64-pixel views and
64-pixel crops, started from random weights.

accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_tiny --output RUN

The shards must hold 64-pixel global views (``glass build --global-size 64``). An epoch over the quickstart's 420
training images takes about 5 s on two CPU cores. Batches are small and there is no dropout, because the model learned
nothing with fewer optimiser steps or more noise (docs/LOG.md). Low frequencies are removed from the crops, because a
randomly initialised network learns what the scene shows before it learns the traces. From unfiltered crops, it learned
little of the traces that real networks leave (docs/results.md).
"""

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """Returns the settings. The number of epochs and the batch size are those of ``single_view_tiny``."""
    return RunConfig(
        preset="glass_tiny",
        model=ModelConfig(
            kind="glass", global_backbone="test_resnet", pretrained=False, dropout=0.0, local_high_pass=True
        ),
        loader=LoaderConfig(global_batch_size=8, num_crops=4, crop_size=64, global_size=64),
        optim=OptimConfig(
            # At the rate that the crops need, the global backbone would memorise the few scenes.
            lr_global=1e-6,
            lr_local=7e-4,
            lr_head=3e-4,
            wd_global=1e-2,
            wd_local=1e-2,
        ),
        epochs=16,
    )
