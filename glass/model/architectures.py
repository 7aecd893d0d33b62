"""Resolves network names to timm architectures, and creates the networks without their classifiers.

A timm name (``resnet50.tv_in1k``) is enough to create the network on any machine. For ``hf-hub:…`` and ``local-dir:…``,
a description must be fetched first. It contains the network's timm name; runs and exported models record that name.
"""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from glass.model.hub import cache_only_if_unreachable
from glass.model.timm_library import timm
from shards.errors import InputError

__all__ = ["Architecture", "architecture", "classifier_keys", "create_network", "feature_width", "shapes_only"]

SET_BY_US = frozenset({"num_classes", "img_size"})
"""Arguments that are tolerated in a network's description, because this module overrides them."""


@dataclass(frozen=True)
class Architecture:
    """The timm network that a name stands for."""

    name: str
    """timm's name for the network, with the weights tag if one was given."""
    fixed_size: bool
    """Whether the network only accepts the image size that it was created for, as do transformers with position
    embeddings."""
    description: Mapping[str, Any] | None = None
    """timm's settings (``pretrained_cfg``) for weights from a hub or a folder; None for a plain timm name."""


@cache
def architecture(name: str) -> Architecture:
    """Returns the architecture that ``name`` stands for.

    Raises ``InputError`` if timm has no such network. For ``hf-hub:…`` and ``local-dir:…``, raises it if the
    description cannot be fetched, names a network that timm lacks, or needs arguments that an exported model does not
    record.
    """
    if ":" in name:
        return _described(name)
    if not timm.is_model(name):
        raise InputError(f"timm has no backbone called {name!r}{_hint(name)}")
    known = timm.get_pretrained_cfg(name)
    return Architecture(name, bool(known is not None and known.fixed_input_size))


def create_network(name: str, image_size: int, *, pretrained: bool = False) -> nn.Module:
    """Creates the network without its classifier, for images of ``image_size`` × ``image_size`` pixels.

    Raises whatever timm, its layers or the hub client raise; these exceptions have no common base class.
    """
    known = architecture(name)
    with cache_only_if_unreachable() if pretrained else nullcontext():
        return timm.create_model(
            known.name, pretrained=pretrained, pretrained_cfg=known.description, **_settings(known, image_size)
        )


FILLING = frozenset(
    getattr(torch.Tensor, name)
    for name in ("uniform_", "normal_", "erfinv_", "clamp_", "mul_", "add_", "zero_", "fill_")
)
"""The tensor methods with which layers initialise their weights. On the meta device, calls to these methods are
skipped, so wrong numbers passed to them go unnoticed."""


class _WithoutFirstValues(TorchFunctionMode):
    """Skips calls that would initialise tensors on the meta device, i.e. calls that pass only plain numbers to methods
    in :data:`FILLING`. Meta tensors have no values, but torch would trace each call in Python, which takes longer than
    filling real weights."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [*args[1:], *(kwargs or {}).values()]
        if function in FILLING and args[0].is_meta and not any(map(torch.is_tensor, given)):
            return args[0]
        return function(*args, **(kwargs or {}))


@contextmanager
def shapes_only() -> Iterator[None]:
    """Context manager: networks created inside it are placed on torch's meta device, where tensors have shapes but no
    values. The random state is restored at the end.

    Use it only to create networks: in a forward pass, errors could be missed.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _WithoutFirstValues():
        yield


def feature_width(network: nn.Module) -> int:
    """Length of the feature vector that ``network`` returns for an image.

    timm's ``num_features`` is not enough: a few networks (e.g. MobileNetV3) have a layer before the classifier that
    widens the vector.
    """
    return int(getattr(network, "head_hidden_size", None) or network.num_features)


def classifier_keys(name: str, image_size: int, network: nn.Module) -> set[str]:
    """Returns the names of the classifier's tensors, which timm's weights for ``name`` contain but ``network`` lacks.

    timm itself lists only a classifier's last layer, and many classifiers have more than one.
    """
    known = architecture(name)
    settings = _settings(known, image_size) | {"num_classes": 1000}
    with shapes_only():
        whole = timm.create_model(known.name, pretrained=False, **settings)
    classifier = network.pretrained_cfg.get("classifier") or ()
    layers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    named = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    return (set(whole.state_dict()) - set(network.state_dict())) | named


def _settings(known: Architecture, image_size: int) -> dict[str, Any]:
    return {"num_classes": 0} | ({"img_size": image_size} if known.fixed_size else {})


def _described(name: str) -> Architecture:
    try:
        source, place = timm.models.parse_model_name(name)
        if source == "local-dir":
            description, own_name, arguments = timm.models._hub.load_model_config_from_path(place)
        else:
            with cache_only_if_unreachable():
                description, own_name, arguments = timm.models.load_model_config_from_hf(place)
    except Exception as error:  # of a dozen unrelated types, timm's and the hub client's
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        raise InputError(
            f"the description of {name} cannot be obtained ({reason}): check the name and your connection, or choose "
            "one of timm's networks, with --set model.global_weights=FILE for its weights"
        ) from error
    if not timm.is_model(own_name):
        raise InputError(
            f"{name} needs the network {own_name!r}, which this version of timm lacks: choose another network"
        )
    if other := sorted(set(arguments or {}) - SET_BY_US):
        raise InputError(
            f"{name} is timm's {own_name} with extra arguments ({', '.join(other)}), so a model trained with it could "
            "not be read elsewhere: choose a network without them"
        )
    known = timm.get_pretrained_cfg(own_name)
    fixed = description.get("fixed_input_size", known is not None and known.fixed_input_size)
    return Architecture(own_name, bool(fixed), description)


def _hint(name: str) -> str:
    if "/" in name:
        return f"; for one on the Hugging Face hub, give hf-hub:{name}"
    close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.5)
    return f"; close to it are {', '.join(close)}" if close else ""
