"""The networks: ``Glass`` sees the whole image and N native-resolution crops, ``SingleView`` only
the whole image. Both take uint8 and return two logits, index 1 meaning "generated".
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from glass.backbones import Backbone, create_backbone
from glass.pooling import AttentionPool

if TYPE_CHECKING:  # model code needs no loader; the configuration of a run names one
    from glass.config import RunConfig

__all__ = ["NUM_CLASSES", "Glass", "SingleView", "build_model"]

NUM_CLASSES = 2


class Glass(nn.Module):
    """Global view and crops through a backbone each, the crops weighed by attention.

    GLASS (arXiv 2601.00141): logits = head([global feature, attention-pooled crop feature]), head =
    LayerNorm(Dg + Dl) – Dropout – Linear. The backbones share no weights. Parameters, as in the
    paper: 171.70 M with ViT-B/16, 55.74 M with ConvNeXt-T, 47.29 M with ResNet-50.
    """

    def __init__(
        self,
        global_backbone: Backbone,
        local_backbone: Backbone,
        *,
        dropout: float = 0.0,
        attention_dim: int = 128,
    ) -> None:
        super().__init__()
        self.global_backbone = global_backbone
        self.local_backbone = local_backbone
        self.attention_pool = AttentionPool(local_backbone.embed_dim, attention_dim, dropout)
        embed_dim = global_backbone.embed_dim + local_backbone.embed_dim
        self.head = nn.Sequential(
            nn.LayerNorm(embed_dim), nn.Dropout(dropout), nn.Linear(embed_dim, NUM_CLASSES)
        )

    def forward(
        self,
        global_view: torch.Tensor,
        local_crops: torch.Tensor,
        crop_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``global_view`` (B, 3, S, S) uint8, ``local_crops`` (B, N, 3, C, C) uint8, ``crop_mask``
        (B, N) bool or None. Returns logits (B, 2) and attention weights (B, N), both float32.
        """
        global_feature = self.global_backbone(global_view)
        crop_features = self.crop_features(local_crops)
        local_feature, attention_weights = self.attention_pool(crop_features, crop_mask)
        feature = torch.cat([global_feature.float(), local_feature], dim=1)
        return self.head(feature).float(), attention_weights

    def crop_features(self, local_crops: torch.Tensor) -> torch.Tensor:
        """(B, N, 3, C, C) uint8 to (B, N, D), all crops of the batch in one pass."""
        batch_size, num_crops = local_crops.shape[:2]
        features = self.local_backbone(local_crops.flatten(0, 1))
        return features.unflatten(0, (batch_size, num_crops))


class SingleView(nn.Module):
    """The resize-only baseline: one backbone on the global view, Dropout – Linear(D, 2).

    Takes what :class:`Glass` takes and leaves the crops unread; its attention weights are None.
    """

    def __init__(self, global_backbone: Backbone, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.global_backbone = global_backbone
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(global_backbone.embed_dim, NUM_CLASSES)
        )

    def forward(
        self,
        global_view: torch.Tensor,
        local_crops: torch.Tensor | None = None,
        crop_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """``global_view`` (B, 3, S, S) uint8 to logits (B, 2) float32 and None."""
        return self.head(self.global_backbone(global_view)).float(), None


def build_model(config: "RunConfig", *, with_weights: bool = True) -> Glass | SingleView:
    """The network of ``config`` for its view sizes, on the CPU, freshly initialised from torch's
    generator; ``with_weights=False`` neither downloads nor reads any (they are loaded afterwards).

    Raises ``InputError`` as :func:`glass.backbones.create_backbone` does.
    """
    model = config.model
    pretrained = model.pretrained and with_weights
    global_backbone = create_backbone(
        model.global_backbone,
        config.loader.global_size,
        pretrained=pretrained,
        weights=model.global_weights if with_weights else None,
    )
    if model.kind == "single_view":
        return SingleView(global_backbone, dropout=model.dropout)
    local_name = model.local_backbone or model.global_backbone
    same = local_name == model.global_backbone
    local_weights = model.local_weights or (model.global_weights if same else None)
    local_backbone = create_backbone(
        local_name,
        config.loader.crop_size,
        pretrained=pretrained,
        weights=local_weights if with_weights else None,
    )
    return Glass(
        global_backbone,
        local_backbone,
        dropout=model.dropout,
        attention_dim=model.attention_dim,
    )
