"""Any timm network as a feature extractor: made, given weights, and fed with uint8 pixels."""

import difflib
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import nn

from glass.hub import cache_only_if_unreachable
from shards.command import InputError
from shards.machine_trouble import require_openable, require_sound_machine

__all__ = ["Backbone", "create_backbone", "read_weights"]

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep the weights in a torch file."""


class Backbone(nn.Module):
    """A timm network without its classifier: uint8 images in, one feature vector each out.

    The pixels are normalised here, on the device, by the network's own mean and deviation.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        # Of a few networks (MobileNetV3) the head widens the features before the classifier.
        self.embed_dim: int = getattr(network, "head_hidden_size", None) or network.num_features
        # Not persistent: they belong to the architecture and not to the weights.
        self.register_buffer("scale", torch.empty(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.empty(1, 3, 1, 1), persistent=False)
        self.set_normalisation(network.pretrained_cfg["mean"], network.pretrained_cfg["std"])

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise by this ``mean`` and deviation ``std`` of each channel, in units of 0 … 1."""
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        mean_tensor, std_tensor = (
            torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1)
            for values in (self.mean, self.std)
        )
        self.scale.copy_(1.0 / (255.0 * std_tensor))
        self.shift.copy_(-mean_tensor / std_tensor)

    @property
    def has_fixed_size(self) -> bool:
        """Whether it takes images of one size only: a transformer's position table."""
        return bool(self.network.pretrained_cfg.get("fixed_input_size"))

    @property
    def is_frozen(self) -> bool:
        """Whether no weight learns: it then computes as in evaluation and keeps no activations."""
        return not any(parameter.requires_grad for parameter in self.network.parameters())

    def train(self, mode: bool = True) -> "Backbone":
        """As of any module; but parts whose weights are all frozen stay in evaluation mode, so that
        their BatchNorm statistics are frozen too."""
        super().train(mode)
        if mode:
            for module in self.network.modules():
                weights = list(module.parameters())
                if weights and not any(weight.requires_grad for weight in weights):
                    module.eval()
        return self

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """``pixels`` (B, 3, H, W) uint8, any memory format, to (B, ``embed_dim``)."""
        with torch.no_grad() if self.is_frozen else nullcontext():
            return self.network(self.normalise(pixels))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(value / 255 - mean) / deviation, memory format kept, in the dtype computed with.

        The arithmetic is float32's, since bf16 would round the mean itself; under autocast it is
        cast at once, as the first convolution would do, so that no float32 copy stays alive."""
        normalised = torch.addcmul(self.shift, pixels.float(), self.scale)
        device_type = pixels.device.type
        if torch.is_autocast_enabled(device_type):
            return normalised.to(torch.get_autocast_dtype(device_type))
        return normalised


def create_backbone(
    name: str, image_size: int, *, pretrained: bool, weights: str | Path | None = None
) -> Backbone:
    """The timm network ``name`` for images of ``image_size`` pixels a side, channels-last.

    ``weights`` names a local file to start from; without it ``pretrained`` fetches timm's own.
    Raises ``InputError`` for an unknown name, weights that cannot be had, and weights of another
    network.
    """
    _check_name(name)
    network = _create(name, image_size, pretrained and weights is None)
    if weights is not None:
        _load_weights(network, name, read_weights(Path(weights)), Path(weights))
    # On two CPU cores channels-last trained 1.2–1.5 times as fast as the default layout
    # (test_resnet, resnet10t and test_convnext at 96 px) and cost a ViT nothing.
    return Backbone(network.to(memory_format=torch.channels_last))


def _check_name(name: str) -> None:
    if ":" in name or timm.is_model(name):  # "hf-hub:…" is looked up by timm itself
        return
    close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.5)
    hint = f"; close to it are {', '.join(close)}" if close else ""
    raise InputError(f"timm has no backbone called {name!r}{hint}")


def _create(name: str, image_size: int, pretrained: bool) -> nn.Module:
    settings: dict[str, Any] = {"num_classes": 0}
    known = timm.get_pretrained_cfg(name)
    if known is not None and known.fixed_input_size:
        settings["img_size"] = image_size  # a transformer's position table depends on it
    try:
        with cache_only_if_unreachable() if pretrained else nullcontext():
            return timm.create_model(name, pretrained=pretrained, **settings)
    except Exception as error:
        # timm, the hub client and the network below raise exceptions of a dozen unrelated types.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if pretrained and not _can_be_made(name, settings):
            pretrained = False
        if not pretrained:
            raise InputError(
                f"the backbone {name} cannot be made for images of {image_size} pixels ({reason})"
            ) from error
        raise InputError(
            f"the pretrained weights of {name} could not be fetched ({reason}): connect to the"
            " network, or give a local file with --set model.global_weights=FILE (and"
            " model.local_weights=FILE), or start from nothing with --set model.pretrained=false"
        ) from error


def _can_be_made(name: str, settings: dict[str, Any]) -> bool:
    """Whether the architecture itself takes these settings; costs no memory."""
    try:
        with torch.device("meta"):
            timm.create_model(name, pretrained=False, **settings)
    except Exception:  # as above
        return False
    return True


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``.safetensors`` or torch file, by name; code in a torch file never runs.

    Raises ``InputError`` where the file is missing or holds anything else.
    """
    if not path.is_file():
        raise InputError(f"the weights file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors errors have no common ancestor
        require_sound_machine(error, path)
        require_openable(path)
        raise InputError(
            f"the weights file {path} is neither a safetensors file nor a torch file of tensors"
            f" ({type(error).__name__})"
        ) from error
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())) or not state:
        raise InputError(f"the weights file {path} holds no plain table of tensors by name")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _load_weights(
    network: nn.Module, name: str, state: dict[str, torch.Tensor], path: Path
) -> None:
    """Through timm's own loading, which renames keys and resizes position tables."""
    found: list[Any] = []
    handle = network.register_load_state_dict_post_hook(lambda _, keys: found.append(keys))
    rename = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        timm.models.load_pretrained(
            network,
            pretrained_cfg=network.pretrained_cfg | {"state_dict": state},
            num_classes=0,
            filter_fn=rename,
        )
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(_other_network(path, name, f"{error}".splitlines()[-1].strip())) from error
    finally:
        handle.remove()
    # timm drops the classifier and then tolerates whatever else is missing or left over: we do not.
    missing, left = found[0].missing_keys, _beside_the_classifier(network, found[0].unexpected_keys)
    if missing:
        raise InputError(_other_network(path, name, f"it lacks {missing[0]}"))
    if left:
        raise InputError(_other_network(path, name, f"it has {left[0]}"))


def _beside_the_classifier(network: nn.Module, keys: list[str]) -> list[str]:
    classifier = network.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return [key for key in keys if key.rsplit(".", 1)[0] not in names]


def _other_network(path: Path, name: str, detail: str) -> str:
    return f"the weights file {path} belongs to another network than {name}: {detail}"
