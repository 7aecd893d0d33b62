"""Checks, without loading weights, whether an architecture accepts views of a given size and uses all of their pixels.

The network is created and run on torch's meta device, where tensors have shapes but no values, so the check needs
neither memory nor a download. Errors that depend on values (e.g. an index outside its table, as in MViTv2) are only
found by :func:`require_runs`, which passes an image through the real network.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from glass.model.architectures import create_network, feature_width, shapes_only
from shards.errors import InputError

__all__ = ["check_views", "require_runs"]

STEPS = (16, 32, 56, 64)
"""Suggested sizes are multiples of these numbers. Networks that restrict the image size require multiples of their
total stride, or of that stride times the size of an attention window."""
SMALL_RIM = 3
"""Maximum number of pixel rows at an image's edge that a network with overlapping windows may leave unread. A size that
leaves more rows unread is rejected."""


@dataclass(frozen=True)
class _Reduction:
    """A layer that slides a square window over feature maps. All sizes are per side, in pixels of the layer's input."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def steps(self) -> int:
        """Number of window positions per side."""
        reach = self.dilation * (self.kernel - 1)
        return (self.size + 2 * self.padding - reach - 1) // self.stride + 1

    def last_input(self, output: int) -> int:
        """The index of the last input row that output row ``output`` depends on."""
        last = output * self.stride - self.padding + self.dilation * (self.kernel - 1)
        return min(last, self.size - 1)


def check_views(name: str, size: int, setting: str) -> None:
    """Raises ``InputError`` if the network ``name`` does not return a vector for views of this size, or ignores pixels
    at their edges.

    ``name`` is timm's name, ``size`` is in pixels per side, and ``setting`` is the setting that determines the size.
    The message suggests nearby sizes that fit.
    """
    problem = _problem(name, size)
    if problem is None:
        return
    if problem.gives:
        raise InputError(_no_vector(name, problem.gives))
    raise InputError(_sentence(problem, name, size, setting))


def _no_vector(name: str, gives: str) -> str:
    return f"{name} returns {gives}, not a vector for each image, so it cannot be a backbone: choose another network"


def require_runs(backbone: nn.Module, name: str, size: int, setting: str) -> None:
    """Raises ``InputError`` if ``backbone`` fails on a black image of this size, or does not return a vector for it.

    ``size`` is in pixels per side; the message is the same as from :func:`check_views`. A network on the meta device
    cannot be run and is accepted.
    """
    if any(weight.is_meta for weight in backbone.parameters()):
        return
    device = next(backbone.parameters()).device
    was_training = backbone.training
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            found = backbone.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device))
    except Exception as error:  # of any type: timm's layers assert, divide and unpack
        problem = _Problem(f"which fails on that size ({_first_line(error)})")
        raise InputError(_sentence(problem, name, size, setting)) from error
    finally:
        backbone.train()  # LeViT and similar networks then drop what they cached for evaluation
        if not was_training:
            backbone.eval()
    if not torch.is_tensor(found) or found.dim() != 2:
        raise InputError(_no_vector(name, _shape(found)))


@dataclass(frozen=True)
class _Problem:
    """The reason why a network does not accept views of a certain size.

    * If the network returns something other than a vector, ``gives`` describes what it returns.
    * In all other cases, ``words`` is the part of the message that states the reason.
    * If the reason is unread pixels, ``rim`` is the number of unread rows, and sizes that leave none unread are
      ``step`` pixels apart.
    """

    words: str = ""
    rim: int = 0
    step: int = 0
    gives: str = ""


@cache
def _problem(name: str, size: int) -> _Problem | None:
    try:
        with _meta(), shapes_only():
            network = create_network(name, size)
    except InputError:
        raise
    except Exception as error:  # of any type: timm's layers assert, divide and unpack
        return _Problem(f"which cannot be created for that size ({_first_line(error)})")
    try:
        with _meta(), _spatial_layers(network) as layers:
            found = network.eval()(torch.empty(2, 3, size, size))
    except Exception as error:  # as above
        return _Problem(f"which fails on that size ({_first_line(error)})")
    if not torch.is_tensor(found) or found.shape != (2, feature_width(network)):
        return _Problem(gives=_shape(found))
    rim, step = _unread_rim(size, layers)
    if rim:
        rows = "row and column" if rim == 1 else f"{rim} rows and columns"
        return _Problem(f"which would ignore the last {rows}", rim, step)
    return None


@contextmanager
def _meta() -> Iterator[None]:
    """Context manager: networks created inside it are placed on the meta device, without gradients or warnings.

    The random state is restored at the end.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.device("meta"), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    text = text.partition("\n")[0]
    return text if len(text) <= 100 else f"{text[:100]}…"


def _shape(found: Any) -> str:
    if not torch.is_tensor(found):
        return f"a {type(found).__name__}"
    return f"maps of shape {tuple(found.shape[1:])}"


@contextmanager
def _spatial_layers(network: nn.Module) -> Iterator[list[_Reduction]]:
    """Context manager: yields a list that collects every layer that slides a window over square maps, in execution
    order."""
    seen: list[_Reduction] = []

    def note(layer: Any, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        maps = inputs[0]
        if maps.ndim == 4 and maps.shape[2] == maps.shape[3]:
            seen.append(
                _Reduction(
                    size=maps.shape[2],
                    kernel=_side(layer.kernel_size),
                    stride=_side(layer.stride),
                    padding=0 if isinstance(layer.padding, str) else _side(layer.padding),
                    dilation=_side(getattr(layer, "dilation", 1)),
                )
            )

    kinds = (nn.Conv2d, nn.Unfold, nn.MaxPool2d, nn.AvgPool2d)
    hooks = [layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, kinds)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _side(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else int(value[0])


def _unread_rim(size: int, layers: list[_Reduction]) -> tuple[int, int]:
    """Returns (number of unread rows at the bottom edge of an image of ``size`` pixels, distance between sizes without
    unread rows, in pixels).

    A network that cuts an image into patches has a layer whose window is as large as its stride; no other layer reads
    the same pixels afterwards. Rows after the last whole patch are therefore lost, unless earlier layers have mixed
    them into others. Overlapping windows may lose rows as well; up to :data:`SMALL_RIM` lost rows, as in Inception's
    stem, are accepted.
    """
    path: list[_Reduction] = []
    side = size
    for place, layer in enumerate(layers):
        if layer.kernel < layer.stride:
            continue  # a shortcut that takes every other pixel, beside a window that reads them all
        if not path and layer.size == size and layer.stride > 1:
            lost = size - 1 - layer.last_input(layer.steps - 1)
            if lost > SMALL_RIM:
                return lost, layer.stride
        if layer.size != side:
            continue  # a layer in a side branch
        are_patches = layer.kernel == layer.stride and layer.stride > 1
        if are_patches and any(later.size == layer.size for later in layers[place + 1 :]):
            continue  # others read the same map, as beside the shrunken keys of PVT's attention
        path.append(layer)
        if are_patches:
            break
        side = layer.steps
    else:
        return 0, 1
    last = path[-1].steps - 1
    for layer in reversed(path):
        last = layer.last_input(last)
    return size - 1 - last, math.prod(layer.stride for layer in path)


def _sentence(problem: _Problem, name: str, size: int, setting: str) -> str:
    fitting = _sizes_that_fit(name, size, (problem.step,) if problem.step else STEPS)
    what = f"{' and '.join(map(str, fitting))} would fit" if fitting else "no size near it fits"
    way = " (glass build --global-size sets the size of the views in the shards)" if "global" in setting else ""
    return f"{setting}={size} does not fit {name}, {problem.words}: {what}{way}"


def _sizes_that_fit(name: str, size: int, steps: tuple[int, ...]) -> list[int]:
    """Returns the nearest smaller and the nearest larger size that fit ``name``, among multiples of ``steps``.

    Either is omitted if no such size fits.
    """
    below = {size // step * step for step in steps} - {0, size}
    above = {size // step * step + step for step in steps}
    fitting = []
    for sizes in (sorted(below, reverse=True), sorted(above)):
        fitting += [n for n in sizes if _problem(name, n) is None][:1]
    return fitting
