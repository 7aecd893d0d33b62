"""Lists the readable image formats, recognises a file's format, and opens images safely with Pillow.

The format is determined by the first bytes, never by the file name. Opening reads only the header, so that the pixel
limit is enforced before anything is decoded.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from shards.errors import require_sound_machine
from shards.files.limits import limit
from shards.images.decoder_messages import libtiff_silenced, quiet
from shards.images.jxl_header import CONTAINER
from shards.images.jxl_jpeg2000 import CODESTREAM, StoredJpeg2000, jxl_reader
from shards.images.rejection import MAX_PIXELS, RejectedImage
from shards.images.tiff_avif_heif import StoredAvif, StoredTiff, heif_reader
from shards.images.unsupported import unsupported_kind

__all__ = [
    "EXTENSIONS",
    "FILE_SUFFIXES",
    "MAX_PIXELS",
    "count_frames",
    "known_format",
    "open_image",
    "rejecting",
    "sniff_format",
]

EXTENSIONS = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "TIFF": "tif",
    "BMP": "bmp",
    "GIF": "gif",
    "AVIF": "avif",
    "HEIF": "heic",
    "JXL": "jxl",
    "JPEG2000": "jp2",
}
"""Maps each format to the extension of its image members in shards."""

FILE_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".gif",
        ".avif",
        ".heic",
        ".heif",
        ".jxl",
        ".jp2",
        ".j2k",
        ".jpx",
        ".jph",
    }
)
"""Lower-case file name suffixes by which image files in a folder are recognised."""

# The plugins are called directly rather than through Image.open, so that the first bytes decide the
# format, a multi-picture JPEG is read as its first picture, and Pillow's own pixel limit raises no
# warning or error. ``shards.images.tiff_avif_heif`` and ``shards.images.jxl_jpeg2000`` undo rotations
# and metadata that plugins add.
_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": StoredTiff,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": StoredAvif,
    "JPEG2000": StoredJpeg2000,
}
_EXTRAS = {"HEIF": heif_reader, "JXL": jxl_reader}
# Some plugins (WebP, GIF) check Pillow's limit themselves; they raise an error above twice its value.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def sniff_format(data: bytes) -> str | None:
    """Returns the format (a key of :data:`EXTENSIONS`) indicated by the first bytes; ``None`` if unknown."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if data.startswith((CONTAINER, b"\xff\x0a")):
        return "JXL"
    if data.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", CODESTREAM)):
        return "JPEG2000"
    return _sniff_iso_media(data)


def _sniff_iso_media(data: bytes) -> str | None:
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & set(_HEIF_BRANDS) else None


@contextmanager
def rejecting(data: bytes) -> Iterator[None]:
    """Context manager: converts any exception that Pillow raises while reading ``data`` to :class:`RejectedImage`.

    Damaged files make Pillow raise nearly every kind of exception, from ``SyntaxError`` to ``struct.error``, so all are
    converted. Exceptions that are not errors, such as ``KeyboardInterrupt``, are passed through. Machine faults are
    raised as ``MemoryError`` or ``MachineTrouble``.
    """
    try:
        yield
    except RejectedImage:
        raise
    except Exception as error:
        require_sound_machine(error)
        if "MAX_TEXT_" in str(error):
            detail = f"text of more than GLASS_MAX_PNG_TEXT_BYTES={limit('MAX_PNG_TEXT_BYTES')}"
            raise RejectedImage("too_large", detail) from error
        if name := unsupported_kind(data, sniff_format(data), str(error)):
            raise RejectedImage("unsupported_format", name) from error
        detail = f"{type(error).__name__}: {error}"
        raise RejectedImage("truncated" if _is_cut(error, data) else "corrupt", detail) from error


def _is_cut(error: Exception, data: bytes) -> bool:
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return True
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-4096:]


def known_format(data: bytes) -> str:
    """Like :func:`sniff_format`, but raises ``RejectedImage`` with the reason if the format is unknown."""
    if not data:
        raise RejectedImage("empty_file")
    if kind := sniff_format(data):
        return kind
    if name := unsupported_kind(data, None):
        raise RejectedImage("unsupported_format", name)
    raise RejectedImage("not_an_image", f"begins with {repr(data[:8])[1:]}")


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Opens the first frame of an image and reads its header, not its pixels.

    The result's ``.format`` is a key of ``EXTENSIONS``. Raises ``RejectedImage`` if ``data`` is not an image of one of
    these formats, has a damaged header, or has more than ``MAX_PIXELS`` pixels. Thread-safe.
    """
    kind = known_format(data)
    if kind == "TIFF":
        libtiff_silenced()
    with rejecting(data), quiet():
        try:
            image = _reader(kind)(io.BytesIO(data))
        except Image.DecompressionBombError as error:
            raise RejectedImage("too_large", str(error)) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RejectedImage("too_large", f"{width}×{height} pixels")
    return image


def count_frames(image: ImageFile.ImageFile) -> int:
    """Returns the frame count of an opened animation; 2 for a TIFF with two or more pages; 1 for any other image.

    Only the first frame is ever read, so an image is not rejected for damage in later frames. TIFF pages are not all
    counted, because each page's directory may be anywhere in the file, and following them all can take hours.
    """
    if image.format == "TIFF":
        return 1 + bool(getattr(image, "is_animated", False))
    try:
        with quiet():
            return int(getattr(image, "n_frames", 1))
    except Exception as error:  # on damaged bytes Pillow raises nearly anything
        require_sound_machine(error)
        return 2  # counting fails only if something follows the first frame


def _reader(kind: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if kind == "PNG":
        # Pillow's own limits, 1 and 64 MiB, reject images because of text that is not needed here,
        # such as the workflows that some generators embed. They also apply while pixels are read.
        most = limit("MAX_PNG_TEXT_BYTES")
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = most
    return _EXTRAS[kind]() if kind in _EXTRAS else _READERS[kind]
