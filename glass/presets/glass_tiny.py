r"""GLASS in miniature, for a CPU: two ``test_resnet`` (0.4 M parameters each) on 64-pixel views and
96-pixel crops, started from nothing.

accelerate launch --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_tiny --output RUN

The shards must hold 64-pixel global views (``build_shards --global-size 64``).
"""

from glass.config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """The same epochs, batch and rates as the other tiny preset."""
    return RunConfig(
        preset="glass_tiny",
        model=ModelConfig(
            kind="glass", global_backbone="test_resnet", pretrained=False, dropout=0.1
        ),
        loader=LoaderConfig(global_batch_size=32, num_crops=4, crop_size=96, global_size=64),
        optim=OptimConfig(
            lr_global=2e-3, lr_local=2e-3, lr_head=2e-3, wd_global=1e-2, wd_local=1e-2
        ),
        epochs=15,
    )
