"""Chooses random image sizes and file formats, which depend on an image's index but not on its class."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["Encoding", "draw_encoding", "draw_size", "encode"]

MEGAPIXELS = (0.6, 2.0)
ASPECTS = (1.0, 5 / 4, 4 / 3, 3 / 2, 16 / 9)
FORMATS = ("jpg", "png", "webp")
FORMAT_SHARES = (0.8, 0.1, 0.1)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
SUBSAMPLING_SHARES = (0.4, 0.2, 0.4)
QUALITIES = (90, 97)  # lower ones would erase the traces that the demo is about
PROGRESSIVE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an image is stored."""

    suffix: str
    """File name suffix, one of :data:`FORMATS`."""
    quality: int
    """JPEG or lossy WebP quality."""
    subsampling: str
    """JPEG chroma subsampling, one of :data:`SUBSAMPLINGS`."""
    progressive: bool
    """Whether a JPEG is stored in several scans."""


def draw_encoding(rng: np.random.Generator, qualities: tuple[int, int] = QUALITIES) -> Encoding:
    """Returns a random encoding: mostly JPEG, sometimes PNG or WebP. Takes equally many random numbers from ``rng`` for
    every format.
    """
    return Encoding(
        suffix=str(rng.choice(FORMATS, p=FORMAT_SHARES)),
        quality=int(rng.integers(qualities[0], qualities[1] + 1)),
        subsampling=str(rng.choice(SUBSAMPLINGS, p=SUBSAMPLING_SHARES)),
        progressive=bool(rng.random() < PROGRESSIVE_SHARE),
    )


def draw_size(rng: np.random.Generator) -> tuple[int, int]:
    """Returns a random (width, height): 0.6 to 2 megapixels, portrait or landscape, with varied aspect ratios."""
    pixels = 1e6 * np.exp(rng.uniform(*np.log(MEGAPIXELS)))
    aspect = float(rng.choice(ASPECTS)) * rng.uniform(0.95, 1.05)
    long, short = round(float(np.sqrt(pixels * aspect))), round(float(np.sqrt(pixels / aspect)))
    return (long, short) if rng.random() < 0.7 else (short, long)


def encode(image: Image.Image, encoding: Encoding) -> bytes:
    """Encodes ``image`` (RGB) as a file without metadata; returns its bytes."""
    buffer = io.BytesIO()
    if encoding.suffix == "jpg":
        image.save(
            buffer, "JPEG", quality=encoding.quality, subsampling=encoding.subsampling, progressive=encoding.progressive
        )
    elif encoding.suffix == "png":
        image.save(buffer, "PNG", compress_level=1)  # the default takes ten times as long
    else:
        image.save(buffer, "WEBP", quality=encoding.quality, method=1)
    return buffer.getvalue()
