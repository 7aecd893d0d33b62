r"""GLASS in miniature, for a CPU: two ``test_resnet`` (0.4 M parameters each) on 64-pixel views and
64-pixel crops, started from random weights.

accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_tiny --output RUN

The shards must hold 64-pixel global views (``glass build --global-size 64``). About 5 s an epoch
on two CPU cores for the 420 training images of the quickstart. Small batches and no
dropout, because with less steps or with more noise nothing is learnt (docs/LOG.md). Crops without
their low frequencies, because from nothing a network learns the scene before the trace: of real networks it
had learnt little without (docs/results.md).
"""

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """The epochs, batch size and images of ``single_view_tiny``."""
    return RunConfig(
        preset="glass_tiny",
        model=ModelConfig(
            kind="glass", global_backbone="test_resnet", pretrained=False, dropout=0.0, local_high_pass=True
        ),
        loader=LoaderConfig(global_batch_size=8, num_crops=4, crop_size=64, global_size=64),
        optim=OptimConfig(
            # At the rate that the crops need, the global view learns the few scenes by heart.
            lr_global=1e-6,
            lr_local=7e-4,
            lr_head=3e-4,
            wd_global=1e-2,
            wd_local=1e-2,
        ),
        epochs=16,
    )
