r"""The resize-only baseline in miniature, for a CPU: one ``test_resnet`` on the 64-pixel view, with
the training budget of ``glass_tiny``.

accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset single_view_tiny --output RUN

The shards must hold 64-pixel global views (``glass build --global-size 64``).
"""

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """Returns the settings. The number of epochs and the batch size are those of ``glass_tiny``, and the backbone's
    learning rate is that of ``glass_tiny``'s local backbone."""
    return RunConfig(
        preset="single_view_tiny",
        model=ModelConfig(kind="single_view", global_backbone="test_resnet", pretrained=False, dropout=0.0),
        # The model reads no crops: one is the fewest that the loader cuts.
        loader=LoaderConfig(global_batch_size=8, num_crops=1, crop_size=64, global_size=64),
        optim=OptimConfig(lr_global=7e-4, lr_local=7e-4, lr_head=3e-4, wd_global=1e-2, wd_local=1e-2),
        epochs=16,
    )
