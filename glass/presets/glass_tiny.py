r"""GLASS in miniature, for a CPU: two ``test_resnet`` (0.4 M parameters each) on 64-pixel views and
64-pixel crops, started from nothing.

accelerate launch --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_tiny --output RUN

The shards must hold 64-pixel global views (``build_shards --global-size 64``). About 5 s an epoch
on two CPU cores for the 420 training images of the quickstart. Small batches, because the number of
steps decides (docs/LOG.md).
"""

from glass.config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """The same epochs, batch and images as the other tiny preset."""
    return RunConfig(
        preset="glass_tiny",
        model=ModelConfig(
            kind="glass", global_backbone="test_resnet", pretrained=False, dropout=0.1
        ),
        loader=LoaderConfig(global_batch_size=8, num_crops=4, crop_size=64, global_size=64),
        optim=OptimConfig(
            # The global view learns the training scenes by heart at the rate that the crops need.
            lr_global=1e-4,
            lr_local=2e-3,
            lr_head=2e-3,
            wd_global=1e-2,
            wd_local=1e-2,
        ),
        epochs=24,
    )
