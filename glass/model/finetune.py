"""Selects which weights of a backbone are trained: all, none, the last blocks, or a low-rank correction (LoRA).

Frozen weights need neither gradients nor optimiser state, and layers before the first trained weight need no
activations. This makes it possible to train large backbones (ViT-L, DINO) on small GPUs.
"""

import importlib.util
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from glass.model.backbones import Backbone
from glass.model.chunking import keep_statistics_in_backward
from glass.model.timm_library import timm
from shards.errors import InputError

if TYPE_CHECKING:
    from glass.config.run_config import ModelConfig

__all__ = ["checkpoint_activations", "choose_weights_to_tune", "exported_state"]

ATTENTION_PROJECTIONS = re.compile(r"(.*\.)?attn\.(qkv|q|k|v|kv|q_proj|k_proj|v_proj|proj)")
"""Matches timm's names for transformers' attention projections, the layers to which LoRA is applied."""
ADAPTER = "default"
"""Name of the LoRA adapter. It is peft's default name; each backbone has only one adapter."""


def choose_weights_to_tune(backbone: Backbone, model: "ModelConfig", *, frozen: bool) -> None:
    """Freezes all weights that are not to be trained according to ``model``, or all weights if ``frozen``. Adds LoRA
    layers if ``model`` asks for them.

    Raises ``InputError`` if the backbone lacks the blocks or layers that the settings require.
    """
    if frozen:
        backbone.requires_grad_(False)
    elif model.tune_last_blocks is not None:
        _freeze_but_last_blocks(backbone, model.tune_last_blocks)
    elif model.lora_rank is not None:
        _add_lora(backbone, model.lora_rank)


def checkpoint_activations(backbone: Backbone) -> None:
    """Turns on timm's gradient checkpointing. Raises ``InputError`` if the architecture does not support it."""
    try:
        backbone.network.set_grad_checkpointing(True)
    except (AttributeError, AssertionError):
        raise InputError(
            f"model.grad_checkpoint_global: timm has no gradient checkpointing for {_name(backbone)}: set it to false"
        ) from None
    keep_statistics_in_backward(backbone.network)


def exported_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the state dict of ``model`` with its LoRA layers merged into the weights that they correct."""
    state = model.state_dict()
    for name, layer in _lora_layers(model):
        merged = layer.base_layer.weight.detach() + layer.get_delta_weight(ADAPTER).detach()
        own = [key for key in state if key.startswith(f"{name}.")]
        kept = {key: state[key] for key in own if key.startswith(f"{name}.base_layer.")}
        for key in own:
            del state[key]
        for key, tensor in kept.items():
            state[key.replace(".base_layer.", ".")] = tensor
        state[f"{name}.weight"] = merged.to(layer.base_layer.weight.dtype)
    return state


def _freeze_but_last_blocks(backbone: Backbone, count: int) -> None:
    blocks = _blocks(backbone.network)
    if not blocks:
        raise InputError(
            f"model.tune_last_blocks={count}: timm does not divide {_name(backbone)} into blocks; set "
            "model.freeze_global or model.freeze_local to freeze a whole backbone, or choose another backbone"
        )
    if count > len(blocks):
        raise InputError(
            f"model.tune_last_blocks={count}: {_name(backbone)} has only {len(blocks)} blocks, its stem included: "
            "give a smaller number"
        )
    backbone.requires_grad_(False)
    for block in blocks[len(blocks) - count :]:
        for parameter in block:
            parameter.requires_grad_(True)


def _blocks(network: nn.Module) -> list[list[nn.Parameter]]:
    """Returns the weights of each block, from the first to the last; empty if timm does not divide this network into
    blocks.

    The blocks are those that timm uses for layer-wise learning rates. The stem is the first block, and a norm after the
    last block belongs to the last block.
    """
    if not hasattr(network, "group_matcher"):
        return []
    number_of = timm.models.group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    blocks: dict[int, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        blocks.setdefault(number_of[name], []).append(parameter)
    merged: list[list[nn.Parameter]] = []
    for number in sorted(blocks):
        if merged and all(parameter.ndim < 2 for parameter in blocks[number]):
            merged[-1].extend(blocks[number])
        else:
            merged.append(blocks[number])
    return merged


def _add_lora(backbone: Backbone, rank: int) -> None:
    targets = [
        name
        for name, layer in backbone.network.named_modules()
        if isinstance(layer, nn.Linear) and ATTENTION_PROJECTIONS.fullmatch(name)
    ]
    if not targets:
        raise InputError(
            f"model.lora_rank={rank}: {_name(backbone)} has no attention projections that LoRA could adapt; choose a "
            "transformer, or set model.tune_last_blocks instead"
        )
    if importlib.util.find_spec("peft") is None:
        raise InputError("model.lora_rank needs an extra: pip install -e '.[lora]'")
    from peft import LoraConfig, inject_adapter_in_model

    backbone.requires_grad_(False)
    # alpha = 2 · rank, as is usual: the correction is scaled by 2, whatever the rank.
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
    inject_adapter_in_model(settings, backbone.network, adapter_name=ADAPTER)
    _require_reached(backbone, targets)


def _require_reached(backbone: Backbone, targets: list[str]) -> None:
    """Raises ``InputError`` if the network never calls one of the layers listed in ``targets``.

    Some networks (BEiT, EVA with separate biases) read a projection's weight without calling the layer. The LoRA
    correction of such a layer would silently learn nothing.
    """
    missed = set(targets)
    layers = [(name, backbone.network.get_submodule(name)) for name in targets]
    handles = [layer.register_forward_pre_hook(lambda _, __, name=name: missed.discard(name)) for name, layer in layers]
    was_training = backbone.training
    try:
        size = getattr(getattr(backbone.network, "patch_embed", None), "img_size", None)
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, *(size or (224, 224)), dtype=torch.uint8))
    finally:
        backbone.train(was_training)
        for handle in handles:
            handle.remove()
    if missed:
        raise InputError(
            f"model.lora_rank: {_name(backbone)} reads the weight of {min(missed)} without calling the layer, which "
            "LoRA cannot adapt; set model.tune_last_blocks instead"
        )


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "get_delta_weight"):
            yield name, layer


def _name(backbone: Backbone) -> str:
    return str(backbone.network.pretrained_cfg.get("architecture", "this backbone"))
