"""Chooses the form in which a shard stores an image, and creates the image member and its entry points.

In the form ``source``, the source file is stored unchanged. Two kinds of images are converted to another form with the
same pixels, so that a crop can be read without decoding the rest of the image. Progressive JPEGs, and webcam JPEGs
without Huffman tables, become ``baseline`` JPEGs with the same coefficients. Lossless images, and with ``--lossy
tiles`` other images too (``shards.images.tiling``), become ``tiled`` TIFFs. Both conversions are checked by decoding
the result.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from shards.images.formats import EXTENSIONS
from shards.images.pixels import decode_rgb
from shards.images.tiling import can_tile

__all__ = ["STORED_FORMATS", "StoredImage", "as_tiles", "entry_points_of", "member_extension", "stored_form"]

STORED_FORMATS = {"baseline": "JPEG", "tiled": "TIFF", "recompressed": "JPEG"}
"""Maps ``stored_as`` to the stored image's format, for forms whose format may differ from the source file's. Only
``recompressed`` changes the pixels (``shards.build.equalise``); for that form, the manifest row describes the new file.
"""

# Reasons for missing entry points that a conversion removes.
_CONVERTIBLE = ("progressive", "several scans", "missing table")
_MAX_GROWTH = 1.1
"""Largest accepted size of a lossless image stored as tiles, as a multiple of the source file's size. If the tiles are
larger, they are compressed again at a higher level, which takes ten times as long."""
_OFTEN_DRAWN = frozenset({"PNG", "BMP", "TIFF", "GIF"})
"""Formats in which drawings and screenshots are common. Their tiles may be smaller without TIFF's horizontal
predictor."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The image member of a sample."""

    data: bytes
    extension: str
    """Member extension, without the dot."""
    stored_as: str
    """``source``, ``baseline`` or ``tiled``."""
    entry_points: bytes
    """The ``.mcu`` member; empty if there are no entry points."""
    not_indexable: str | None
    """Why there are no entry points, or ``None`` if there are."""


def stored_form(data: bytes, kind: str, rgb: Image.Image, tiled: bool, keep_progressive: bool) -> StoredImage:
    """Chooses the form in which to store the image file ``data`` of format ``kind``, which was decoded to ``rgb``.

    If ``tiled`` is true, the image becomes a tiled TIFF. A JPEG that is progressive or lacks Huffman tables becomes a
    baseline JPEG unless ``keep_progressive`` is true. Other images, and any whose conversion fails, stay unchanged.
    """
    if tiled and (tiles := as_tiles(data, kind, rgb)):
        return StoredImage(tiles, EXTENSIONS["TIFF"], "tiled", *entry_points_of(tiles, "TIFF"))
    entry_points, not_indexable = entry_points_of(data, kind)
    if not_indexable in _CONVERTIBLE and not keep_progressive and (jpeg := _as_baseline(data)):
        return StoredImage(jpeg, EXTENSIONS["JPEG"], "baseline", *entry_points_of(jpeg, "JPEG"))
    return StoredImage(data, EXTENSIONS[kind], "source", entry_points, not_indexable)


def as_tiles(data: bytes, kind: str, rgb: Image.Image) -> bytes | None:
    """Returns the tiled TIFF made from the image file ``data`` of format ``kind``, or ``None`` if it fails a check.

    ``rgb`` is the decoded image. The check is that both this project's reader and Pillow decode the same pixels.
    """
    from shards.images.tiled_tiff import LEVELS, TiledImage, encode_tiled

    pixels = np.asarray(rgb)
    if kind not in _OFTEN_DRAWN:  # no limit for lossless WebP: tiles never get nearly as small
        tiles = encode_tiled(pixels, pixels.size)
    elif can_tile(data, kind):
        tiles = encode_tiled(pixels, int(_MAX_GROWTH * len(data)) + 1024)
    else:
        tiles = encode_tiled(pixels, 0, LEVELS[:1])
    if not np.array_equal(TiledImage(tiles).read_all(), pixels):
        return None
    return tiles if np.array_equal(decode_rgb(tiles), pixels) else None


def _as_baseline(data: bytes) -> bytes | None:
    """Converts ``data`` to a baseline JPEG; ``None`` if this is impossible without loss."""
    from shards.images.baseline import NotConvertible, to_baseline

    try:
        return to_baseline(data)
    except NotConvertible:
        return None


def entry_points_of(data: bytes, kind: str) -> tuple[bytes, str | None]:
    """Makes the entry points for a stored image. Returns (``.mcu`` member, ``None``), or (``b""``, why there are none).

    ``kind`` is the format of ``data``, the stored bytes.
    """
    if kind != "JPEG":
        return b"", "not a JPEG"
    # Importing Numba takes a second, so commands that build nothing should not do it.
    from shards.jpeg.entry_points import NotIndexable, build_entry_points

    try:
        return build_entry_points(data), None
    except NotIndexable as error:
        return b"", error.reason


def member_extension(stored_as: str, kind: str) -> str:
    """Returns the extension of an image member, given the manifest columns ``stored_as`` and ``format`` (``kind``)."""
    return EXTENSIONS[STORED_FORMATS.get(stored_as, kind)]
