r"""GLASS with two ResNet-50, with the best settings of the study (arXiv 2601.00141).

accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_resnet50 --output RUN

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
        preset="glass_resnet50",
        model=ModelConfig(kind="glass", global_backbone="resnet50.tv_in1k", dropout=0.3),
        loader=LoaderConfig(global_batch_size=32, num_crops=6),
        optim=OptimConfig(
            lr_global=2.1587776507e-6,
            lr_local=6.8538001212e-5,
            lr_head=2.9795095503e-5,
            wd_global=1.7932951229e-7,
            wd_local=6.0175135584e-7,
        ),
        epochs=50,
    )
