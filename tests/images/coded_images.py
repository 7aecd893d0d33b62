"""Small images, as arrays and as files, whose pixels encode their own position and the image's index."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["JPEG_KINDS", "NUM_IMAGES", "SIZES", "draw_coded", "encode", "write_images", "write_small_images"]

NUM_IMAGES = 24
SIZES = [(320, 240), (257, 383), (480, 360), (96, 64), (500, 200), (301, 299)]  # width, height
JPEG_KINDS: list[dict[str, Any]] = [
    {"subsampling": 0},
    {"subsampling": 2},
    {"subsampling": 1},
    {"subsampling": 2, "restart_marker_blocks": 7},
    {"subsampling": 2, "progressive": True},
    {"subsampling": 2, "optimize": True},
    {"grey": True},
]


def draw_coded(index: int, width: int, height: int) -> np.ndarray:
    """Draws an image, (height, width, 3) uint8: red is x // 2, green is y // 2, blue is 10 × index.

    The pixels of a decoded crop therefore reveal its image (index 0 … 25) and its window (positions up to 512 pixels).
    In a grey image, each pixel is a weighted sum of the three channels.
    """
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(width) // 2)[None, :]
    image[..., 1] = (np.arange(height) // 2)[:, None]
    image[..., 2] = 10 * index
    return image


def encode(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """Encodes an image as a file and returns its bytes. ``options`` are passed to Pillow's ``save``, except
    ``grey=True``, which first converts the image to greyscale."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if options.pop("grey", False):
        image = image.convert("L")
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def _images() -> dict[str, bytes]:
    """Returns path → bytes of the files that ``write_images`` writes."""
    files = {}
    for index in range(NUM_IMAGES):
        width, height = SIZES[index % len(SIZES)]
        pixels = draw_coded(index, width, height)
        folder = "real" if index % 2 else f"generated/gan_{'ab'[index // 2 % 2]}"
        if index % 4 == 3 or index == 0:
            files[f"{folder}/{index:02d}.png"] = encode(pixels, "PNG")
        else:
            options = JPEG_KINDS[index % len(JPEG_KINDS)]
            files[f"{folder}/{index:02d}.jpg"] = encode(pixels, "JPEG", quality=90, **options)
    return files


@cache
def _small_images() -> dict[str, bytes]:
    """Returns path → bytes of the files that ``write_small_images`` writes."""
    files = {}
    for index in range(16):
        folder = "real" if index % 2 else "generated/gan"
        files[f"{folder}/{index:02d}.jpg"] = encode(draw_coded(index, 40 + index, 30), "JPEG", quality=80)
    return files


def _write(files: dict[str, bytes], root: Path) -> None:
    for folder in {path.rpartition("/")[0] for path in files}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (root / path).write_bytes(data)


def write_images(root: Path, count: int = NUM_IMAGES) -> None:
    """Writes 24 images, or the first ``count`` of them: 17 JPEGs of many kinds and 7 PNGs. Half are real, the others
    come from two generators."""
    _write(dict(list(_images().items())[:count]), root)


def write_small_images(root: Path, count: int = 16) -> None:
    """Writes ``count`` JPEGs, at most 16, that are 30 pixels high. Half of them are real."""
    _write(dict(list(_small_images().items())[:count]), root)
