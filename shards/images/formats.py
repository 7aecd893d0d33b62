"""The image formats that are read, how they are recognised, and opening one with Pillow, safely.

The format is known by the first bytes, never by the name. Opening reads the header only, so that
the limit on pixels holds before anything is decoded.
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
"""Format → extension of the image member in a shard."""

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
"""Names of files in a folder that are taken for images, in lower case."""

# The plugins are called directly rather than through Image.open, so that a file is read as what its
# first bytes say, a multi-picture JPEG is read as its first picture, and no warning or error of
# Pillow's own, smaller or larger, pixel limit comes in between. What plugins turn or make
# up, ``shards.images.tiff_avif_heif`` and ``shards.images.jxl_jpeg2000`` undo.
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
# Some plugins (WebP, GIF) ask Pillow's limit themselves while opening; it errs above twice this.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def sniff_format(data: bytes) -> str | None:
    """The format (a key of :data:`EXTENSIONS`) by the first bytes, ``None`` if unknown."""
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
    """Context manager: raises :class:`RejectedImage` for whatever Pillow raises on the file ``data``.

    Damaged files make it raise nearly every kind of exception, from ``SyntaxError`` to ``struct.error``, so all are
    caught; ``KeyboardInterrupt`` and the like pass, and so does what is the machine's fault: ``MemoryError`` and
    ``MachineTrouble``.
    """
    try:
        yield
    except RejectedImage:
        raise
    except Exception as error:
        require_sound_machine(error)
        if "MAX_TEXT_" in str(error):
            detail = f"texts of more than GLASS_MAX_PNG_TEXT_BYTES={limit('MAX_PNG_TEXT_BYTES')}"
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
    """:func:`sniff_format`, or ``RejectedImage`` with the true reason if it is unknown."""
    if not data:
        raise RejectedImage("empty_file")
    if kind := sniff_format(data):
        return kind
    if name := unsupported_kind(data, None):
        raise RejectedImage("unsupported_format", name)
    raise RejectedImage("not_an_image", f"begins with {data[:8]!r}")


def open_image(data: bytes) -> ImageFile.ImageFile:
    """The image at its first frame, header read, pixels not; ``.format`` is a key of EXTENSIONS.

    Raises ``RejectedImage`` for what is not an image of these formats, is damaged in its header, or has
    more than ``MAX_PIXELS`` pixels. Safe to call in threads.
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
    """Frames of an opened image: those of an animation, 2 for two pages of a TIFF or more.

    Only the first frame is read, so that whatever is wrong with later ones rejects nothing. Of a
    TIFF no page is counted: each is a directory anywhere in the file, and a walk through all of
    them can take hours.
    """
    if image.format == "TIFF":
        return 1 + bool(getattr(image, "is_animated", False))
    try:
        with quiet():
            return int(getattr(image, "n_frames", 1))
    except Exception as error:  # on damaged bytes Pillow raises nearly anything
        require_sound_machine(error)
        return 2  # there is something after the first frame, or counting would not fail


def _reader(kind: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if kind == "PNG":
        # Pillow's own limits, 1 and 64 MiB, reject images for text that nobody reads here: the
        # workflows that some generators write. They bind while pixels are read, too.
        most = limit("MAX_PNG_TEXT_BYTES")
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = most
    return _EXTRAS[kind]() if kind in _EXTRAS else _READERS[kind]
