"""Makes scenes from the user's photographs.

Finds photographs, groups renditions of the same picture, and cuts out parts at half their resolution or less. Halving
the size removes the traces that the photograph's camera and compression left between neighbouring pixels; the simulated
camera then adds its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from shards.errors import InputError
from shards.files.folder_walk import walk_folder
from shards.images.resize import resized_image

__all__ = [
    "MIN_PIXELS",
    "Photo",
    "cut_scene",
    "find_photos",
    "fingerprint",
    "group_pictures",
    "open_half",
    "open_whole",
]

SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif"])
MODES = frozenset(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
MIN_PIXELS = 2_400_000  # half of each side must leave the 0.6 megapixels of the smallest image
MAX_PIXELS = 200_000_000
THUMBNAIL_SIDE = 32
# Among KDE Plasma's 72 wallpapers, crops and recoloured versions of one picture reach 0.60 to 0.99; different pictures
# reach at most 0.68, and at most 0.57 except for one pair. Joining two pictures does no harm; separating two renditions
# of one would leak it from one split into another.
SAME_PICTURE = 0.6


@dataclass(frozen=True, slots=True)
class Photo:
    """A usable photograph: its size, and small edge images by which to find other photographs of the same picture."""

    path: Path
    width: int
    height: int
    by_height: np.ndarray
    """(32, 32 × aspect) float32: the whole photograph's edge strength, scaled to a height of 32 pixels."""
    by_width: np.ndarray
    """(32 / aspect, 32) float32: the whole photograph's edge strength, scaled to a width of 32 pixels."""


def find_photos(folder: Path) -> list[Path]:
    """Returns the files under ``folder`` with an image suffix, each only once, however many links lead to it. Raises
    ``InputError`` if ``folder`` is not a folder or contains no such file.
    """
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"--photos {folder} {found}: give a folder that holds photographs.")
    paths = sorted(
        Path(parent, name)
        for parent, names in walk_folder(folder, lambda error: None)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    )
    if not paths:
        raise InputError(
            f"--photos {folder} holds no image: give a folder with JPEG, PNG, WebP, TIFF, BMP or AVIF photographs."
        )
    unique: dict[Path, Path] = {}
    for path in paths:
        unique.setdefault(path.resolve(), path)
    return list(unique.values())


def fingerprint(path: Path) -> Photo | str:
    """Returns the photograph at ``path``, or a message that says why it cannot be used. Decodes the whole file once."""
    try:
        with _open(path) as image:
            width, height = image.size
            if image.mode not in MODES:
                return f"pixels of kind {image.mode} are not supported"
            if width * height < MIN_PIXELS:
                return f"smaller than {MIN_PIXELS / 1e6} megapixels"
            if width * height > MAX_PIXELS:
                return f"larger than {MAX_PIXELS / 1e6:.0f} megapixels"
            image.draft("RGB", (width // 4, height // 4))
            grey = image.convert("RGB").convert("L")
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a broken file
        return f"cannot be read: {error}"
    aspect = min(max(width / height, 0.25), 4.0)
    wide = resized_image(grey, (round(THUMBNAIL_SIDE * aspect), THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
    tall = resized_image(grey, (THUMBNAIL_SIDE, round(THUMBNAIL_SIDE / aspect)), Image.Resampling.BILINEAR)
    return Photo(path, width, height, _edges(wide), _edges(tall))


def group_pictures(photos: Sequence[Photo]) -> list[int]:
    """Returns each photograph's picture index. Photographs recognised as renditions or crops of one picture share an
    index.
    """
    group = list(range(len(photos)))
    for second, photo in enumerate(photos):
        for first in range(second):
            kept, joined = sorted((group[first], group[second]))
            if kept != joined and _similarity(photos[first], photo) >= SAME_PICTURE:
                group = [kept if number == joined else number for number in group]
    renumbered = {number: position for position, number in enumerate(sorted(set(group)))}
    return [renumbered[number] for number in group]


def open_half(path: Path) -> Image.Image:
    """Returns the photograph in RGB at half its width and height. The JPEG decoder can halve the size itself; in other
    formats, 2×2 blocks of pixels are averaged.
    """
    with _open(path) as image:
        image.draft("RGB", (image.width // 2, image.height // 2))  # JPEG halves while decoding
        drafted = image.size != image.info["full_size"]
        rgb = image.convert("RGB")
    return rgb if drafted else rgb.reduce(2)


def open_whole(path: Path) -> Image.Image:
    """The photograph in RGB at full size."""
    with _open(path) as image:
        return image.convert("RGB")


def cut_scene(half: Image.Image, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A random part of a halved photograph as (3, height, width) float32 in 0…1."""
    most = min(half.width / width, half.height / height)
    shrink = np.exp(rng.uniform(0, np.log(max(most, 1.0))))
    part_width, part_height = shrink * width, shrink * height
    left = rng.uniform(0, half.width - part_width)
    top = rng.uniform(0, half.height - part_height)
    box = (left, top, left + part_width, top + part_height)
    part = resized_image(half, (width, height), Image.Resampling.BICUBIC, box)
    return np.stack([np.asarray(plane, dtype=np.float32) for plane in part.split()]) / 255


def _open(path: Path) -> Image.Image:
    image = Image.open(path)
    image.info["full_size"] = image.size
    return image


def _edges(grey: Image.Image) -> np.ndarray:
    rows, columns = np.gradient(np.asarray(grey, dtype=np.float32))
    return np.hypot(rows, columns)


def _similarity(first: Photo, second: Photo) -> float:
    """Returns the highest correlation, −1 to 1, between one photograph's edges and those in part of the other.

    A crop to a different aspect ratio usually keeps either the height or the width. So only parts with full height or
    full width are tried.
    """
    wide, tall = first, second
    if wide.width * tall.height < tall.width * wide.height:
        wide, tall = second, first
    return max(_best_match(wide.by_height, tall.by_height), _best_match(tall.by_width, wide.by_width))


def _best_match(field: np.ndarray, part: np.ndarray) -> float:
    """Highest correlation between ``part`` and any window of the same shape in ``field``."""
    windows = np.lib.stride_tricks.sliding_window_view(field, part.shape).reshape(-1, part.size)
    windows = windows - windows.mean(axis=1, keepdims=True)
    centred = (part - part.mean()).ravel()
    norms = np.linalg.norm(windows, axis=1) * np.linalg.norm(centred)
    return float((windows @ centred / np.maximum(norms, 1e-6)).max())
