"""Opens JPEG XL files (with a Pillow plugin) and JPEG 2000 files (with Pillow itself), keeping the pixels as stored.

The classes here undo the plugin's rotation, add metadata that Pillow omits, and reject images that Pillow decodes
wrongly.
"""

import io
from collections.abc import Callable
from functools import cache
from typing import Any

from PIL import Image, ImageFile, Jpeg2KImagePlugin

from shards.images.containers import iso_boxes
from shards.images.jxl_header import BadJxl, read_jxl_header
from shards.images.rejection import MAX_PIXELS, RejectedImage
from shards.images.tiff_avif_heif import TURNED_BACK

__all__ = ["CODESTREAM", "StoredJpeg2000", "jxl_reader"]

CODESTREAM = b"\xff\x4f\xff\x51"
"""First bytes of a JPEG 2000 codestream."""

_EXIF_UUID = b"JpgTiffExif->JP2"


class StoredJpeg2000(Jpeg2KImagePlugin.Jpeg2KImageFile):
    """A JPEG 2000 image with up to 8 bits per channel.

    Images with a higher bit depth are rejected, because Pillow 13 decodes their white as black.
    """

    bit_depth = 8

    def _open(self) -> None:
        super()._open()
        assert self.fp is not None
        self.fp.seek(0)
        data = self.fp.read()
        depths = self._depths(data)
        if max(depths) > 0x80:
            raise RejectedImage("unsupported_mode", "JPEG 2000 with signed samples")
        self.bit_depth = max(depths)
        if self.bit_depth > 8:
            raise RejectedImage("unsupported_mode", f"JPEG 2000 of {self.bit_depth} bits")

    def _depths(self, data: bytes) -> list[int]:
        """Reads the metadata. Returns the bit depth of each component, plus 128 if the component is signed."""
        at = 0 if data.startswith(CODESTREAM) else -1
        for name, start, end in iso_boxes(data, 0, len(data) if at < 0 else 0, whole=True):
            if name == b"jp2c" and at < 0:
                at = start
            elif name == b"uuid" and data[start : start + 16] == _EXIF_UUID:
                self.info["exif"] = b"Exif\0\0" + data[start + 16 : end]
            elif name == b"jp2h":
                self._read_colour(data, start, end)
        if at < 0 or data[at : at + 4] != CODESTREAM:
            raise ValueError("it contains no codestream")
        count = int.from_bytes(data[at + 40 : at + 42], "big")
        depths = [d + 1 for d in data[at + 42 : at + 42 + 3 * count : 3]]
        if not 0 < count == len(depths):
            raise ValueError("truncated codestream")
        return depths

    def _read_colour(self, data: bytes, start: int, end: int) -> None:
        for name, at, stop in iso_boxes(data, start, end, whole=True):
            if name == b"colr" and data[at : at + 1] in (b"\2", b"\3"):
                self.info["icc_profile"] = data[at + 3 : stop]
            depths = data[at + 3 : at + 3 + data[at + 2]] if name == b"pclr" else b""
            if any(depth & 0x7F > 7 for depth in depths):
                raise RejectedImage("unsupported_mode", "JPEG 2000 with a palette of over 8 bits")


def jxl_reader() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """Returns a function that opens a JPEG XL file. Raises ``RejectedImage`` if the ``jxl`` extra is not installed."""
    try:
        return _jxl_class()
    except ImportError:
        detail = "JPEG XL needs the extra: pip install -e '.[jxl]'"
        raise RejectedImage("unsupported_format", detail) from None


@cache
def _jxl_class() -> type[ImageFile.ImageFile]:
    from pillow_jxl import JpegXLImagePlugin

    JpegXLImagePlugin.DECODE_THREADS = 0  # other threads decode other images

    class StoredJxl(JpegXLImagePlugin.JXLImageFile):
        """A JPEG XL image with its pixels as stored. Pillow's plugin rotates them to the upright orientation, and this
        class rotates them back.

        The pixel limit is enforced before decoding.
        """

        _size: tuple[int, int]
        im: Any

        def _open(self) -> None:
            assert self.fp is not None, "opened from bytes"
            try:
                header = read_jxl_header(self.fp.read())
            except BadJxl as error:
                raise ValueError(f"truncated or not a JPEG XL: {error}") from error
            # Programs that read large images set Pillow's limit to None, which does not lift ours.
            if header.width * header.height > (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
                raise RejectedImage("too_large", f"{header.width}×{header.height} pixels")
            self.fp.seek(0)
            _decoded(super()._open)
            self.file_orientation, self.bit_depth = header.orientation, header.bit_depth
            self.n_frames = 1 + header.animated  # 2 for an animation: its frames are not counted
            self._turned, self._back = self._size, None
            if self.jpeg:  # a recompressed JPEG is reconstructed
                return
            self._back = TURNED_BACK.get(header.orientation)
            if header.orientation >= 5:
                self._size = self._size[::-1]
            if not header.has_icc:
                self.info.pop("icc_profile", None)  # the decoder's, not the file's

        def load(self) -> Any:
            if self._back is None:
                return super().load()
            back, self._back = self._back, None
            stored, self._size = self._size, self._turned
            super().load()
            self.im = self.im.transpose(back)
            self._size = stored
            return Image.Image.load(self)

    return StoredJxl


def _decoded(decode: Callable[[], None]) -> None:
    """Runs ``decode``. If the plugin, which is written in Rust, panics, raises ``ValueError`` instead.

    In Python, a panic is a ``BaseException`` but not an ``Exception``, so ordinary error handlers would not catch it.
    """
    try:
        decode()
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the decoder gave up: {error}") from error
