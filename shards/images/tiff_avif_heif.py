"""Pillow's plugins for TIFF, AVIF and HEIC without automatic rotation: pixels and metadata as in the file.

Most of Pillow returns pixels as stored and leaves the rotation to the caller. For these three formats, its plugins
behave differently:

- TIFF images are rotated on loading, according to the orientation tag or the XMP, and the tag is dropped;
- HEIC images are rotated by libheif, by the boxes ``irot`` and ``imir``, and the EXIF orientation is set to 1;
- AVIF images are not rotated, but EXIF is generated from the boxes, even if the file has none.

The plugins here return the pixels as stored. The attribute ``file_orientation`` is the rotation that the file requests
by means other than EXIF, such as boxes. It is given as an EXIF orientation. Boxes take precedence over EXIF, as ISO
23008-12 requires.
"""

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image, ImageFile, TiffImagePlugin

from shards.images.decoder_messages import quiet
from shards.images.rejection import RejectedImage

__all__ = ["TURNED_BACK", "StoredAvif", "StoredTiff", "heif_reader", "transform_orientation"]

_SUBFILE_TYPE, _SUB_DIRECTORIES = 254, 330  # TIFF tags
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _FILL_ORDER, _SAMPLES, _PLANES = (256, 257, 258, 259, 266, 277, 284)

_SAMPLE_FORMAT, _SIGNED = 339, 2

_FIRST_PILLOW_HEIF = (1, 8)
"""The first version of pillow-heif that lists the rotations that libheif applied."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Maps EXIF orientations to how a viewer rotates or flips the stored pixels (``ROTATE_90`` is counter-clockwise)."""

TURNED_BACK = {**_TURNS, 6: _TURNS[8], 8: _TURNS[6]}
"""Maps EXIF orientations to the inverses of the operations in ``_TURNS``. All except 6 and 8 are their own inverses."""


class StoredTiff(TiffImagePlugin.TiffImageFile):
    """A TIFF file, opened without applying its orientation, so that pixels and tags are as stored."""

    def _setup(self) -> None:
        tags = self.tag_v2
        if tags.get(_SUBFILE_TYPE, 0) & 1 and _SUB_DIRECTORIES in tags:
            raise RejectedImage("unsupported_format", "camera raw: its first picture is a preview")
        if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
            # Pillow takes signed 8-bit grey for unsigned, so that values below zero become bright.
            raise RejectedImage("unsupported_mode", "TIFF with signed samples")
        samples = tags.get(_SAMPLES, 1)
        if tags.get(_PLANES, 1) != 1 and samples == 1:
            # The tag has no meaning for one sample (TIFF 6.0, page 38), but Pillow would reduce the raw
            # mode to its first letter, and so lose inversions and depths below 8 bits.
            tags[_PLANES] = 1
        if tags.get(_PLANES, 1) != 1:
            _require_planes(tags)
        super()._setup()
        self._size = tags[_WIDTH], tags[_HEIGHT]

    def load_end(self) -> None:
        """Replaces Pillow's method, which rotates the pixels. Reads the metadata before the file is closed.

        Ignores damaged metadata, since the pixels may still be intact.
        """
        try:
            with quiet():
                self.getexif()
        except Exception:  # as with pixels, Pillow raises nearly anything on damaged bytes
            self._exif = Image.Exif()
            self._exif._loaded = True


def _require_planes(tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Raises ``RejectedImage`` for a TIFF with separate planes that Pillow would misread.

    Pillow would read 16-bit planes as 8-bit values. In uncompressed planes with reversed bit order, it would leave the
    bits reversed.
    """
    if max(tags.get(_BITS, (1,))) == 16:
        raise RejectedImage("unsupported_mode", "16-bit TIFF with separate planes")
    if tags.get(_FILL_ORDER, 1) == 2 and tags.get(_COMPRESSION, 1) == 1:
        raise RejectedImage("unsupported_mode", "TIFF with separate planes and reversed bit order")


class StoredAvif(AvifImagePlugin.AvifImageFile):
    """An AVIF image with its EXIF as stored in the file. Pillow would modify it according to the file's boxes."""

    file_orientation = 1

    def _open(self) -> None:
        super()._open()
        *_, exif, orientation, _ = self._decoder.get_info()
        self.info.pop("exif", None)
        if exif:
            self.info["exif"] = exif
        self.file_orientation = orientation


def heif_reader() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """Returns a function that opens a HEIC or HEIF file (a ``BytesIO``) as a Pillow image with its pixels as stored.

    Raises ``RejectedImage`` if the ``heic`` extra is not installed or is too old.
    """
    try:
        return _heif_class()
    except ImportError:
        detail = "HEIC needs the extra: pip install -e '.[heic]'"
        raise RejectedImage("unsupported_format", detail) from None


@cache
def _heif_class() -> type[ImageFile.ImageFile]:
    from pillow_heif import HeifImageFile, __version__

    if tuple(int(part) for part in __version__.split(".")[:2]) < _FIRST_PILLOW_HEIF:
        raise ImportError("an older version")

    class StoredHeif(HeifImageFile):
        """A HEIC image with its pixels as stored: libheif's rotation is undone."""

        file_orientation = 1

        def _open(self) -> None:
            super()._open()
            assert self._heif_file is not None
            chosen = self._heif_file[self.tell()]
            turned = transform_orientation(chosen._c_image.transformations)
            self._back = TURNED_BACK.get(turned)
            self.file_orientation = turned if turned > 1 else self.info["original_orientation"] or 1
            if turned >= 5:
                self._size = self._size[::-1]

        def load(self) -> Any:
            loaded = super().load()
            if self._back is None:
                return loaded
            back, self._back = self._back, None
            self.im = self.im.transpose(back)
            self._size = self.im.size
            return Image.Image.load(self)

    return StoredHeif


def transform_orientation(transforms: tuple[tuple[Any, ...], ...]) -> int:
    """Returns the EXIF orientation, 1 … 8, that is equivalent to a HEIF's ``irot`` and ``imir`` boxes combined.

    ``transforms`` is pillow-heif's list, in the order in which libheif applies the boxes: ``("irot", degrees)`` rotates
    counter-clockwise, ``("imir", 1)`` swaps left and right, ``("imir", 0)`` swaps top and bottom. Other boxes
    (``clap``) are ignored.
    """
    probe = np.arange(6, dtype=np.uint8).reshape(2, 3)
    turned = probe
    for name, *values in transforms:
        if name == "irot":
            turned = np.rot90(turned, values[0] // 90)
        elif name == "imir":
            turned = np.fliplr(turned) if values[0] else np.flipud(turned)
    for orientation, turn in _TURNS.items():
        if np.array_equal(turned, np.asarray(Image.fromarray(probe).transpose(turn))):
            return orientation
    return 1
