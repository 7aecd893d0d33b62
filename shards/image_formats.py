"""Which image formats are read, how they are told apart, and opening one with Pillow, safely.

The format is known by the first bytes, never by the name. Opening reads the header only, so that
the limit on pixels holds before anything is decoded.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from shards.decoder_messages import libtiff_silenced
from shards.machine_trouble import require_sound_machine
from shards.rejection import RejectedImage

__all__ = [
    "EXTENSIONS",
    "FILE_SUFFIXES",
    "MAX_PIXELS",
    "open_image",
    "quiet",
    "rejecting",
    "sniff_format",
]

MAX_PIXELS = 200_000_000
"""Images with more pixels are rejected before they are decoded."""

EXTENSIONS = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "TIFF": "tif",
    "BMP": "bmp",
    "GIF": "gif",
    "AVIF": "avif",
    "HEIF": "heic",
}
"""Format → extension of the image member in a shard."""

FILE_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib",
        ".gif", ".avif", ".heic", ".heif",
    }
)  # fmt: skip
"""Names of files in a folder that are taken for images, in lower case."""

# The plugins are called directly rather than through Image.open, so that a file is read as what its
# first bytes say, a multi-picture JPEG is read as its first picture, and no warning or error of
# Pillow's own, smaller or larger, pixel limit comes in between.
_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
# Some plugins (WebP, GIF) ask Pillow's limit themselves while opening; it errs above twice this.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_quiet_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings. One thread at a time, because Python's filters belong to the process."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sniff_format(data: bytes) -> str | None:
    """The format (a key of :data:`EXTENSIONS`) that the first bytes tell, ``None`` if none."""
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
    """Turns whatever Pillow raises on the file ``data`` into :class:`RejectedImage`.

    Damaged files make it raise nearly every kind of exception, from ``SyntaxError`` to
    ``struct.error``, so all are caught; ``KeyboardInterrupt`` and the like pass, and so does
    what is the machine's fault: ``MemoryError`` and ``MachineTrouble``.
    """
    try:
        yield
    except RejectedImage:
        raise
    except Exception as error:
        require_sound_machine(error)
        detail = f"{type(error).__name__}: {error}"
        raise RejectedImage("truncated" if _is_cut(error, data) else "corrupt", detail) from error


def _is_cut(error: Exception, data: bytes) -> bool:
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return True
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-4096:]


def open_image(data: bytes) -> ImageFile.ImageFile:
    """The image at its first frame, header read, pixels not; ``.format`` is a key of EXTENSIONS.

    Raises ``RejectedImage`` for what is no image of these formats, is damaged in its header, or has
    more than ``MAX_PIXELS`` pixels. Safe to call in threads.
    """
    if not data:
        raise RejectedImage("empty_file")
    kind = sniff_format(data)
    if kind is None:
        raise RejectedImage("not_an_image", f"begins with {data[:8]!r}")
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


def _reader(kind: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if kind != "HEIF":
        return _READERS[kind]
    try:  # libheif turns the pixels upright itself, and says so by an orientation of 1
        from pillow_heif import HeifImageFile
    except ImportError:
        detail = "HEIC needs the extra: pip install -e '.[heic]'"
        raise RejectedImage("unsupported_format", detail) from None
    return HeifImageFile
