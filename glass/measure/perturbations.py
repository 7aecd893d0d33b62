"""Defines the perturbations that are applied to test images to measure a detector's robustness.

They are those commonly reported in the literature (JPEG, WebP, blur, resizing, noise, saving twice), plus two chains
that imitate images shared on the web. All random choices are seeded with the image's content id, so a perturbation
produces the same image for every model, on every machine and in any order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from loaders.augment.augment import Change, fit_within, scaled
from loaders.augment.operation import Operation, Size
from loaders.augment.operations import Blur, Jpeg, Noise, WebP
from loaders.order.randomness import U64, bounded, draws, stream
from shards.errors import InputError

__all__ = ["CLEAN", "PERTURBATIONS", "Perturbation", "chosen_rows"]

PERTURBATION_PURPOSE = 5 << 32
"""The ``purpose`` passed to :func:`loaders.order.randomness.stream` for perturbations. Training uses other values, so
test images never receive the same noise as training images."""

CLEAN = "clean"


@dataclass(frozen=True)
class Perturbation:
    """A perturbation applied to images; one row of the robustness table."""

    name: str
    title: str
    """Display name."""
    operations: Callable[[Size, U64], tuple[Operation, ...]]
    """Maps (image size, two random numbers derived from the content id) to the operations to apply, in order."""

    def change(self, size: Size, content_id: int) -> Change:
        """Returns the change to apply to an image with this ``size`` (height, width) and content id."""
        random = draws(stream(0, 0, [content_id], PERTURBATION_PURPOSE), 2)[0]
        return Change.of(self.operations(size, random), size)

    def on_image(self, pixels: npt.NDArray[np.uint8], content_id: int) -> npt.NDArray[np.uint8]:
        """Applies the perturbation to the image ``pixels``, (H, W, 3) uint8, and returns the result.

        Raises ``ValueError`` or ``OSError`` if the image has to be encoded in a format that does not support its size.
        """
        return self.change((pixels.shape[0], pixels.shape[1]), content_id).on_image(pixels)


Make = Callable[[Size, U64], tuple[Operation, ...]]


def _always(*operations: Operation) -> Make:
    """Returns a function that returns the same ``operations`` for every image."""
    return lambda size, random: operations


def _resized(percent: int) -> Make:
    return lambda size, random: scaled(size, percent)


def _noisy(deviation: float) -> Make:
    return lambda size, random: (Noise(deviation, int(random[0])),)


def _saved_twice(size: Size, random: U64) -> tuple[Operation, ...]:
    """Returns operations that save the image as JPEG twice, each time with a random quality from 50 to 95."""
    return tuple(Jpeg(50 + int(quality)) for quality in bounded(random, 46))


def _shared(longest: int, quality: int) -> Make:
    return lambda size, random: (*fit_within(size, longest), Jpeg(quality))


def _grid() -> list[Perturbation]:
    rows = [Perturbation(CLEAN, "as it is", _always())]

    def add(name: str, title: str, make: Make) -> None:
        rows.append(Perturbation(name, title, make))

    for quality in (95, 90, 80, 70, 60, 50):
        add(f"jpeg-{quality}", f"JPEG {quality}", _always(Jpeg(quality)))
    for quality in (90, 80, 50):
        add(f"webp-{quality}", f"WebP {quality}", _always(WebP(quality)))
    for sigma in (0.5, 1.0, 2.0, 4.0):
        add(f"blur-{sigma:g}", f"blur, σ {sigma:g} px", _always(Blur(sigma)))
    for percent in (25, 50, 75, 150, 200):
        add(f"resize-{percent / 100:g}", f"resized × {percent / 100:g}", _resized(percent))
    for deviation in (0.015, 0.03, 0.05, 0.075):
        add(f"noise-{deviation:g}", f"noise, sd {deviation:g}", _noisy(deviation))
    add("double-jpeg", "JPEG twice, 50 … 95 each", _saved_twice)
    add("web", "web: ≤ 768 px, JPEG 60", _shared(768, 60))
    add("hard", "hard: ≤ 512 px, JPEG 40", _shared(512, 40))
    return rows


PERTURBATIONS: dict[str, Perturbation] = {row.name: row for row in _grid()}
"""Maps names to perturbations, in the order of the robustness table."""


def chosen_rows(patterns: Sequence[str]) -> list[Perturbation]:
    """Returns the rows whose names match any of ``patterns`` (e.g. "jpeg-*"), plus ``clean``, in table order.

    Returns all rows if ``patterns`` is empty. Raises ``InputError`` for a pattern that matches nothing.
    """
    if not patterns:
        return list(PERTURBATIONS.values())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in PERTURBATIONS):
            raise InputError(f"--rows {pattern}: no row matches; choose from {', '.join(PERTURBATIONS)}")
    return [
        row
        for name, row in PERTURBATIONS.items()
        if name == CLEAN or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
