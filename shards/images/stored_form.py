"""How an image lies in its shard: the bytes of its member and what goes with them.

``source``: the source's bytes, untouched. Two kinds are stored in another form, with the same pixels, so
that a crop can be read out of the middle of them. Progressive JPEGs, and those of webcams without
tables, become ``baseline`` JPEGs with the same coefficients; lossless images, and with
``--lossy tiles`` others (``shards.images.tiling``), become ``tiled`` TIFFs. Both are checked before they are used.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from shards.images.formats import EXTENSIONS
from shards.images.pixels import decode_rgb
from shards.images.tiling import can_tile

__all__ = ["STORED_FORMATS", "StoredImage", "as_tiles", "entry_points_of", "member_extension", "stored_form"]

STORED_FORMATS = {"baseline": "JPEG", "tiled": "TIFF", "recompressed": "JPEG"}
"""``stored_as`` → format of the member, where that is not the source's. Only ``recompressed`` has
other pixels than the source: see ``shards.build.equalise``, and all facts are those of the new file."""

# Reasons of entry points that a conversion mends.
_CONVERTIBLE = ("progressive", "several scans", "missing table")
_MAX_GROWTH = 1.1
"""Largest growth of a lossless image: beyond it the tiles are compressed harder, which takes ten times
as long."""
_OFTEN_DRAWN = frozenset({"PNG", "BMP", "TIFF", "GIF"})
"""Formats of drawings and screenshots, which may be smaller without the predictor."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The image member of a sample."""

    data: bytes
    extension: str
    """Extension of the member, without the dot."""
    stored_as: str
    """``source``, ``baseline`` or ``tiled``."""
    entry_points: bytes
    """The ``.mcu`` member; empty where there is none."""
    not_indexable: str | None
    """Why there are no entry points."""


def stored_form(data: bytes, kind: str, rgb: Image.Image, tiled: bool, keep_progressive: bool) -> StoredImage:
    """The form in which to store the image file ``data`` of format ``kind``, which decoded without error to ``rgb``.

    It is a tiled TIFF if ``tiled``. A JPEG that is progressive, or leaves out Huffman tables, becomes a baseline JPEG
    unless ``keep_progressive``. Everything else stays as it is.
    """
    if tiled and (tiles := as_tiles(data, kind, rgb)):
        return StoredImage(tiles, EXTENSIONS["TIFF"], "tiled", *entry_points_of(tiles, "TIFF"))
    entry_points, not_indexable = entry_points_of(data, kind)
    if not_indexable in _CONVERTIBLE and not keep_progressive and (jpeg := _as_baseline(data)):
        return StoredImage(jpeg, EXTENSIONS["JPEG"], "baseline", *entry_points_of(jpeg, "JPEG"))
    return StoredImage(data, EXTENSIONS[kind], "source", entry_points, not_indexable)


def as_tiles(data: bytes, kind: str, rgb: Image.Image) -> bytes | None:
    """The tiled TIFF of an image file that decodes to ``rgb``; ``None`` should the pixels come out changed, for us or
    for Pillow."""
    from shards.images.tiled_tiff import LEVELS, TiledImage, encode_tiled

    pixels = np.asarray(rgb)
    if kind not in _OFTEN_DRAWN:  # nor could lossless WebP be reached, three quarters of a PNG
        tiles = encode_tiled(pixels, pixels.size)
    elif can_tile(data, kind):
        tiles = encode_tiled(pixels, int(_MAX_GROWTH * len(data)) + 1024)
    else:
        tiles = encode_tiled(pixels, 0, LEVELS[:1])
    if not np.array_equal(TiledImage(tiles).read_all(), pixels):
        return None
    return tiles if np.array_equal(decode_rgb(tiles), pixels) else None


def _as_baseline(data: bytes) -> bytes | None:
    """``None`` where it cannot be converted without loss; the file then stays as it is."""
    from shards.images.baseline import NotConvertible, to_baseline

    try:
        return to_baseline(data)
    except NotConvertible:
        return None


def entry_points_of(data: bytes, kind: str) -> tuple[bytes, str | None]:
    """The ``.mcu`` member of an image as it is stored, or nothing and the reason why.

    ``kind`` is the format of the stored bytes.
    """
    if kind != "JPEG":
        return b"", "not a JPEG"
    # Numba takes a second to import, which commands that build nothing need not spend.
    from shards.jpeg.entry_points import NotIndexable, build_entry_points

    try:
        return build_entry_points(data), None
    except NotIndexable as error:
        return b"", error.reason


def member_extension(stored_as: str, kind: str) -> str:
    """The extension of an image member, from the manifest's ``stored_as`` and ``format``."""
    return EXTENSIONS[STORED_FORMATS.get(stored_as, kind)]
