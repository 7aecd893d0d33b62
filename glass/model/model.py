"""The networks. ``Glass`` sees the whole image and N crops at native resolution, ``SingleView`` only the whole image.

Both take uint8 images and return two logits; index 1 means "generated".
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from glass.model.backbones import Backbone, create_backbone, weights_file
from glass.model.chunking import as_images, chunked_features
from glass.model.finetune import checkpoint_activations, choose_weights_to_tune
from glass.model.pooling import AttentionPool
from glass.model.view_sizes import check_views, require_runs
from shards.errors import InputError

if TYPE_CHECKING:  # only for annotations: it imports loaders, which model code must not depend on
    from glass.config.run_config import ModelConfig, RunConfig

__all__ = [
    "NUM_CLASSES",
    "Glass",
    "SingleView",
    "build_model",
    "check_backbones",
    "compile_backbones",
    "require_views_run",
    "require_weights",
]

NUM_CLASSES = 2


class Glass(nn.Module):
    """Processes the global view with one backbone and the crops with another, and pools the crop features by attention.

    GLASS (arXiv 2601.00141): logits = head([global feature, attention-pooled crop feature]), head = LayerNorm(Dg + Dl)
    – Dropout – Linear. If ``local_backbone`` is None, the global backbone also processes the crops. ``crop_chunk`` is
    the number of crops per image that pass through the backbone at a time (:mod:`glass.model.chunking`), or None for
    all. Parameter counts with two backbones, equal to the paper's: 171.70 M with ViT-B/16, 55.74 M with ConvNeXt-T,
    47.29 M with ResNet-50.
    """

    def __init__(
        self,
        global_backbone: Backbone,
        local_backbone: Backbone | None,
        *,
        dropout: float = 0.0,
        attention_dim: int = 128,
        crop_chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.crop_chunk = crop_chunk
        self.global_backbone = global_backbone
        self.shares_backbone = local_backbone is None
        if local_backbone is not None:  # a shared one is registered, and saved, only once
            self.local_backbone = local_backbone
        local_dim = (local_backbone or global_backbone).embed_dim
        self.attention_pool = AttentionPool(local_dim, attention_dim, dropout)
        embed_dim = global_backbone.embed_dim + local_dim
        self.head = nn.Sequential(nn.LayerNorm(embed_dim), nn.Dropout(dropout), nn.Linear(embed_dim, NUM_CLASSES))

    def forward(
        self, global_view: torch.Tensor, local_crops: torch.Tensor, crop_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns logits (B, 2) and attention weights (B, N), both float32.

        ``global_view`` is (B, 3, S, S) uint8, ``local_crops`` (B, N, 3, C, C) uint8, and ``crop_mask`` (B, N) bool. If
        ``crop_mask`` is None, all crops are valid.
        """
        global_feature = self.global_backbone(global_view)
        crop_features = self.crop_features(local_crops)
        local_feature, attention_weights = self.attention_pool(crop_features, crop_mask)
        feature = torch.cat([global_feature.float(), local_feature], dim=1)
        return self.head(feature).float(), attention_weights

    def crop_features(self, local_crops: torch.Tensor) -> torch.Tensor:
        """Computes features (B, N, D) of ``local_crops`` (B, N, 3, C, C) uint8, in one pass or in chunks."""
        backbone = self.global_backbone if self.shares_backbone else self.local_backbone
        batch_size, num_crops = local_crops.shape[:2]
        if self.crop_chunk is not None and self.crop_chunk < num_crops:
            return chunked_features(backbone, local_crops, self.crop_chunk)
        return backbone(as_images(local_crops)).unflatten(0, (batch_size, num_crops))


class SingleView(nn.Module):
    """The resize-only baseline: one backbone on the global view, then Dropout – Linear(D, 2).

    Takes the same arguments as :class:`Glass` and ignores the crops; its attention weights are None.
    """

    def __init__(self, global_backbone: Backbone, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.global_backbone = global_backbone
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(global_backbone.embed_dim, NUM_CLASSES))

    def forward(
        self, global_view: torch.Tensor, local_crops: torch.Tensor | None = None, crop_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, None]:
        """Returns logits (B, 2) float32 for ``global_view`` (B, 3, S, S) uint8, and None in place of attention
        weights."""
        return self.head(self.global_backbone(global_view)).float(), None


def compile_backbones(model: Glass | SingleView, backend: str = "inductor") -> None:
    """Compiles each backbone separately and in place. About 99.9 % of a step's time is spent in the backbones.

    The loop over chunks of crops is not compiled. If it were compiled into one graph with the backbones, it would be
    unrolled, and the compiler rather than ``crop_chunk`` would decide which activations are kept.
    """
    for part in model.children():
        if isinstance(part, Backbone):
            part.compile(backend=backend)


def check_backbones(config: "RunConfig") -> None:
    """Raises ``InputError`` if a backbone does not accept views of the configured size, or would ignore pixels at their
    edges.

    Downloads nothing, and checks each backbone once per process.
    """
    for setting, (name, size) in _views(config).items():
        check_views(name, size, setting)


def require_weights(config: "RunConfig") -> None:
    """Raises ``InputError`` if a file or package that is set as a backbone's initial weights is missing."""
    model = config.model
    wanted = [(model.global_backbone, model.global_weights)]
    if model.kind == "glass" and not model.share_backbone:
        wanted.append(_local_source(model))
    for name, weights in wanted:
        if weights is not None:
            weights_file(name, weights)


def require_views_run(model: "Glass | SingleView", config: "RunConfig") -> None:
    """Raises ``InputError`` if a backbone of ``model`` fails on a black image of the size that ``config`` sets."""
    for setting, (name, size) in _views(config).items():
        is_local = setting == "loader.crop_size" and isinstance(model, Glass)
        shared = is_local and model.shares_backbone
        backbone = model.local_backbone if is_local and not shared else model.global_backbone
        require_runs(backbone, name, size, setting)


def _views(config: "RunConfig") -> dict[str, tuple[str, int]]:
    """Maps each setting that determines a view's size (e.g. ``loader.crop_size``) to (backbone name, size in
    pixels)."""
    model, loader = config.model, config.loader
    views = {"loader.global_size": (model.global_backbone, loader.global_size)}
    if model.kind == "glass":
        name = model.local_backbone or model.global_backbone
        views["loader.crop_size"] = (name, loader.crop_size)
    return views


def build_model(config: "RunConfig", *, with_weights: bool = True, for_training: bool = True) -> Glass | SingleView:
    """Builds the network for ``config`` on the CPU, initialised from torch's random generator.

    With ``with_weights=False``, pretrained weights are neither downloaded nor read, for callers that load weights
    afterwards. With ``for_training=False``, the network is built in the form in which it is exported: no weight is
    frozen and there are no LoRA layers. View sizes are not checked in that form, so the caller must call
    :func:`require_views_run` once the weights are loaded.

    Raises ``InputError`` as :func:`glass.model.backbones.create_backbone` does and, for training, also as
    :func:`check_backbones` and the functions of :mod:`glass.model.finetune` do.
    """
    if for_training:
        check_backbones(config)
    model = config.model
    global_backbone = _global_backbone(config, with_weights)
    if for_training and model.grad_checkpoint_global:
        checkpoint_activations(global_backbone)
    if for_training:
        choose_weights_to_tune(global_backbone, model, frozen=model.freeze_global)
    if model.kind == "single_view":
        network: Glass | SingleView = SingleView(global_backbone, dropout=model.dropout)
    else:
        local_backbone = None if model.share_backbone else _local_backbone(config, with_weights)
        if for_training and local_backbone is not None:
            choose_weights_to_tune(local_backbone, model, frozen=model.freeze_local)
        network = Glass(
            global_backbone,
            local_backbone,
            dropout=model.dropout,
            attention_dim=model.attention_dim,
            crop_chunk=model.crop_chunk,
        )
    if for_training:
        require_views_run(network, config)
    return network


def _global_backbone(config: "RunConfig", with_weights: bool) -> Backbone:
    model, loader = config.model, config.loader
    backbone = create_backbone(
        model.global_backbone,
        loader.global_size,
        pretrained=model.pretrained and with_weights,
        weights=model.global_weights if with_weights else None,
    )
    differ = model.kind == "glass" and loader.global_size != loader.crop_size
    if model.share_backbone and differ and backbone.has_fixed_size:
        raise InputError(
            f"model.share_backbone needs crops as large as the global view for {model.global_backbone}: set "
            f"loader.crop_size to loader.global_size, which is {loader.global_size}"
        )
    return backbone


def _local_source(model: "ModelConfig") -> tuple[str, str | None]:
    """Returns (network, initial weights) of the local backbone, as set."""
    name = model.local_backbone or model.global_backbone
    same = name == model.global_backbone
    return name, model.local_weights or (model.global_weights if same else None)


def _local_backbone(config: "RunConfig", with_weights: bool) -> Backbone:
    model = config.model
    name, weights = _local_source(model)
    return create_backbone(
        name,
        config.loader.crop_size,
        pretrained=model.pretrained and with_weights,
        weights=weights if with_weights else None,
        high_pass=model.local_high_pass,
    )
