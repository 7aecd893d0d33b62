r"""GLASS with two ViT-B/16, with the best settings of the study (arXiv 2601.00141).

accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset glass_vit_base --output RUN

Neither the required hardware nor the training time nor the score was measured in this project. On a small GPU, divide
the batch of 64 into micro-steps:
``--set loader.global_batch_size=8 --set grad_accum_steps=8``.

The study used torchvision's ViT, which timm does not have. This preset uses timm's ViT, with the same architecture and
number of parameters (171.70 M) but different ImageNet-1k weights.
"""

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]


def preset() -> RunConfig:
    """The settings of the study's final runs."""
    return RunConfig(
        preset="glass_vit_base",
        model=ModelConfig(kind="glass", global_backbone="vit_base_patch16_224.augreg_in1k", dropout=0.3),
        loader=LoaderConfig(global_batch_size=64, num_crops=10),
        optim=OptimConfig(
            lr_global=1.5831167386e-5,
            lr_local=4.2600409634e-5,
            lr_head=6.4802356540e-5,
            wd_global=3.1761532137e-5,
            wd_local=6.1377852562e-6,
        ),
        epochs=50,
    )
