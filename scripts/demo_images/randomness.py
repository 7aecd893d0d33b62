"""The demo's random streams. Each purpose and index has its own stream, so that one does not affect another."""

from enum import IntEnum

import numpy as np

__all__ = ["Stream", "stream"]


class Stream(IntEnum):
    """A random stream's purpose. Changing a value changes the images that a seed produces."""

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
    """Returns the random stream for one purpose and the scene or image with index ``number``. ``seed`` and ``number``
    are ≥ 0.
    """
    return np.random.default_rng([seed, int(purpose), number])
