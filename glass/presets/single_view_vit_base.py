r"""The resize-only baseline with one ViT-B/16, with the best settings of the study (arXiv 2601.00141).

accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data OUT --preset single_view_vit_base --output RUN

Neither the required hardware nor the training time nor the score was measured in this project. The study tuned this
baseline with half as many trials as GLASS.

The study used torchvision's ViT, which timm does not have. This preset uses timm's ViT, with the same architecture but
different ImageNet-1k weights.
"""

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from loaders.config import LoaderConfig

__all__ = ["preset"]

LEARNING_RATE = 7.4808549519e-5
WEIGHT_DECAY = 4.3692798107e-4


def preset() -> RunConfig:
    """The settings of the study's final runs, with one learning rate and one weight decay for all parameters."""
    return RunConfig(
        preset="single_view_vit_base",
        model=ModelConfig(kind="single_view", global_backbone="vit_base_patch16_224.augreg_in1k", dropout=0.1),
        # The model reads no crops: one is the fewest that the loader cuts.
        loader=LoaderConfig(global_batch_size=128, num_crops=1),
        optim=OptimConfig(lr_global=LEARNING_RATE, lr_head=LEARNING_RATE, wd_global=WEIGHT_DECAY, wd_head=WEIGHT_DECAY),
        epochs=50,
    )
