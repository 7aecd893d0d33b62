r"""GLASS with two ConvNeXt-T, with the best settings of the study (arXiv 2601.00141).

accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_convnext_tiny --output RUN

Neither the required hardware nor the training time nor the score was measured in this project. On a small GPU, divide
the batch of 32 into micro-steps:
``--set loader.global_batch_size=8 --set grad_accum_steps=4``.
"""

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """The settings of the study's final runs."""
    return RunConfig(
        preset="glass_convnext_tiny",
        model=ModelConfig(kind="glass", global_backbone="convnext_tiny.fb_in1k", dropout=0.2),
        loader=LoaderConfig(global_batch_size=32, num_crops=4),
        optim=OptimConfig(
            lr_global=6.5491282725e-6,
            lr_local=9.9995709970e-5,
            lr_head=1.6799849359e-5,
            wd_global=2.8525882087e-6,
            wd_local=3.8782167347e-7,
        ),
        epochs=50,
    )
