"""Random streams of the demo. Each purpose and each index has a stream of its own, so that draws for one do not affect
draws for another."""

from enum import IntEnum

import numpy as np

__all__ = ["Stream", "stream"]


class Stream(IntEnum):
    """The purpose of a random stream. Changing a value changes the images that a seed produces."""

    PLAN = 1  # which source each scene comes from
    FILE = 2  # size, format and quality: numbered by image, so it cannot know the class
    SCENE = 3  # the content of a drawn scene: numbered by scene, shared by its renditions
    FRAMING = 4  # which part of a photograph an image shows
    CAMERA = 5  # mosaic, sensor noise and sharpening
    GENERATOR = 6  # the detail that a generator invents
    PHOTOS = 7  # which photographs are used if there are more than needed
    SPLIT = 8  # which pictures are for the test
    RESIZE = 9  # filters and factors of what is shrunk and enlarged


def stream(seed: int, purpose: Stream, number: int = 0) -> np.random.Generator:
    """Returns the random stream for one purpose and one scene or image, whose index is ``number``. ``seed`` and
    ``number`` are ≥ 0."""
    return np.random.default_rng([seed, int(purpose), number])
