"""Properties of an image file other than its pixels. Manifests record them, and audits compare them."""

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import ImageFile

from shards.errors import require_sound_machine
from shards.images.decoder_messages import quiet
from shards.images.formats import count_frames, open_image, rejecting
from shards.jpeg.header import BadJpeg, JpegHeader
from shards.jpeg.header_parser import read_header
from shards.jpeg.standard_bits import standard_scale
from shards.manifest.schema import SAMPLE_SCHEMA
from shards.metadata.coding import coding_facts
from shards.metadata.embedded import metadata_names
from shards.metadata.pixel_bytes import picture_extent

__all__ = ["ImageFacts", "facts_of", "jpeg_quality", "orientation_of", "read_facts"]

_EXIF_ORIENTATION = 0x0112
_EXIF_DIRECTORY = 0x8769
_TIFF_BITS_PER_SAMPLE = 258

# The luminance table of the JPEG standard (annex K.1), in the zigzag order of the file.
_STANDARD_LUMINANCE = np.array(
    [
        16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
        26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
        56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
        95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
    ]
)  # fmt: skip


def _scaled_tables() -> np.ndarray:
    """Returns libjpeg's luminance tables for qualities 1 … 100, in zigzag order, as a (100, 64) int64 array."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((_STANDARD_LUMINANCE * scale[:, None] + 50) // 100, 1, 255)


_TABLES = _scaled_tables()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Properties of one image file. The fields have the same names as the manifest's columns."""

    width: int
    """Width in pixels, before any rotation by EXIF. The same holds for ``height``."""
    height: int
    format: str
    """``JPEG``, ``PNG``, ``WEBP``, ``TIFF``, ``BMP``, ``GIF``, ``AVIF``, ``HEIF``, ``JXL`` or ``JPEG2000``."""
    mode: str
    """Pillow's mode before conversion to RGB, with ``;16`` appended for 16-bit colour, as in ``RGB;16``."""
    subsampling: str
    """Chroma subsampling, such as ``4:2:0``, or ``grey``; empty if pixels are coded as RGB or the file does not state
    it."""
    progressive: bool
    """Whether the file is a progressive JPEG."""
    restart_interval: int
    """Number of MCUs between a JPEG's restart markers; 0 if it has none."""
    jpeg_quality: int | None
    """Estimated quality of a JPEG, 1 … 100; ``None`` for other formats, or if a table is missing."""
    has_exif: bool
    """Whether the file carries EXIF data, whatever it contains."""
    exif_orientation: int
    """How a viewer must rotate or flip the stored pixels: an EXIF orientation, 1 … 8, or 1 if the file does not state
    it. In HEIC and AVIF, the container's boxes take precedence over EXIF. It is recorded, never applied."""
    has_icc: bool
    """Whether a colour profile is embedded. It is not applied."""
    num_frames: int
    """Number of frames that the file declares; 2 for a TIFF of two or more pages. Only the first frame is read."""
    bit_depth: int
    """Bits per channel in the file, or per palette index."""
    pixel_bytes: int
    """Number of bytes that hold the pixels (see ``shards.metadata.pixel_bytes``); 0 if no such bytes are found."""
    standard_bytes: int
    """``pixel_bytes``, made comparable between files. For a JPEG, an estimate of what ``pixel_bytes`` would be with the
    standard's Huffman tables (``shards.jpeg.standard_bits``). 0 for lossless files: their size depends mostly on
    compressor settings (zlib's level, filters, effort) that leave no trace in the pixels."""
    colour_transform: str
    """How colours are coded: ``ycbcr``, ``rgb``, ``grey``, ``cmyk``, ``ycck``; empty if the file does not state it."""
    lossless: bool
    """Whether the coding is lossless; also ``False`` if the file does not state it."""
    quant_digest: str
    """Digest of a JPEG's quantisation tables, 16 hexadecimal digits; empty for other formats."""
    huffman: str
    """Huffman tables of a JPEG: ``standard`` or ``optimised``. They do not affect the pixels. Empty for other
    codings."""
    metadata: str
    """Names of the embedded metadata, such as ``Exif, ICC``; see ``shards.metadata.embedded``."""

    def by_column(self) -> dict[str, Any]:
        """Maps manifest columns to values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def jpeg_quality(header: JpegHeader) -> int | None:
    """Returns the libjpeg quality, 1 … 100, whose luminance table is closest to the file's.

    Returns ``None`` if the file's table is missing. Files from other encoders, whose tables may differ from all of
    libjpeg's, are also assigned a quality.
    """
    table = header.quant_tables.get(header.components[0].tq)
    if table is None:
        return None
    distance = np.abs(_TABLES - np.array(table.values)).sum(axis=1)
    # Several qualities near 100 may share a table of ones: take the highest.
    return 100 - int(np.argmin(distance[::-1]))


def read_facts(data: bytes) -> ImageFacts:
    """Reads the properties of an image file.

    Decodes no pixels, with one exception: a PNG without EXIF before its pixels is decoded, since EXIF may follow them.
    Raises ``RejectedImage`` for data that is not an image.
    """
    return facts_of(open_image(data), data)


def facts_of(image: ImageFile.ImageFile, data: bytes) -> ImageFacts:
    """Reads the properties of ``image``, which ``open_image`` opened from ``data``.

    If you decode the image as well, do so first: a PNG may carry its EXIF after the pixels.
    """
    kind = image.format or ""
    mode, bit_depth = _mode_and_bits(image, data, kind)
    header = _jpeg_header(data) if kind == "JPEG" else None
    with rejecting(data), quiet():
        extent = picture_extent(image, data)
        coding = coding_facts(image, data, header)
        metadata = metadata_names(image, data, extent.end, header)
    facts = ImageFacts(
        width=image.width,
        height=image.height,
        format=kind,
        mode=mode,
        subsampling=coding.subsampling,
        progressive=header.progressive if header else False,
        restart_interval=header.restart_interval if header else 0,
        jpeg_quality=jpeg_quality(header) if header else None,
        exif_orientation=orientation_of(image),  # before has_exif: in a PNG it also finds EXIF after the pixels
        has_exif=_has_exif(image),
        has_icc=bool(image.info.get("icc_profile")),
        num_frames=count_frames(image),
        bit_depth=bit_depth,
        pixel_bytes=extent.pixel_bytes,
        standard_bytes=_standard_bytes(extent.pixel_bytes, coding.lossless, data, header),
        colour_transform=coding.colour_transform,
        lossless=coding.lossless,
        quant_digest=coding.quant_digest,
        huffman=coding.huffman,
        metadata=metadata,
    )
    return _fitted(facts)


def _fitted(facts: ImageFacts) -> ImageFacts:
    """``facts`` with every number clipped to the range of its manifest column, since a file may claim any number."""
    numbers = {}
    for name, (least, most) in _column_ranges().items():
        value = getattr(facts, name)
        if value is not None and not least <= value <= most:
            numbers[name] = min(max(value, least), most)
    return replace(facts, **numbers) if numbers else facts


@cache
def _column_ranges() -> dict[str, tuple[int, int]]:
    """Maps each integer field of ``ImageFacts`` to the (minimum, maximum) of its manifest column."""
    ranges = {}
    for field in fields(ImageFacts):
        kind = SAMPLE_SCHEMA.field(field.name).type
        if pa.types.is_integer(kind):
            bounds = np.iinfo(str(kind))  # ``to_pandas_dtype`` needs pandas in pyarrow below 24
            ranges[field.name] = int(bounds.min), int(bounds.max)
    return ranges


def _standard_bytes(pixel_bytes: int, lossless: bool, data: bytes, header: JpegHeader | None) -> int:
    if lossless:
        return 0
    return round(pixel_bytes * standard_scale(data, header)) if header else pixel_bytes


def _jpeg_header(data: bytes) -> JpegHeader | None:
    try:
        return read_header(data)
    except BadJpeg:  # decoding it will say whether the file is usable
        return None


def _mode_and_bits(image: ImageFile.ImageFile, data: bytes, kind: str) -> tuple[str, int]:
    mode, bits = image.mode, 1 if image.mode == "1" else 8
    if kind == "PNG":
        bits = data[24]  # in the header chunk, which comes first
    elif kind == "TIFF":
        bits = int(getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (1,))[0])
    elif kind == "BMP":
        bits = min(int.from_bytes(_bmp_bits(data), "little"), 8)  # bits per pixel; 16 and more mean three channels
    elif kind == "GIF":
        bits = _gif_bits(data)
    elif kind == "AVIF":
        bits = _avif_bits(data)
    elif kind == "HEIF":
        bits = int(image.info.get("bit_depth", bits))
    elif kind in ("JXL", "JPEG2000"):
        bits = int(getattr(image, "bit_depth", bits))
    if bits == 16 and not mode.startswith(("I", "F")):
        mode = f"{mode};16"  # Pillow has 16-bit modes for grey only
    return mode, bits


def _bmp_bits(data: bytes) -> bytes:
    """Returns the two bytes that hold a BMP's bits per pixel. They come earlier in the oldest header type."""
    return data[24:26] if data[14:18] == b"\x0c\0\0\0" else data[28:30]


def _gif_bits(data: bytes) -> int:
    """Bits per palette index of a GIF's first frame, from the frame's own palette or else from the file's palette."""
    flags, at = data[10], 13
    if flags & 0x80:
        at += 3 << (flags & 7) + 1
    while data[at : at + 1] == b"!":  # extensions, in blocks of up to 255 bytes
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if data[at : at + 1] == b"," and at + 9 < len(data) and data[at + 9] & 0x80:
        flags = data[at + 9]
    return (flags & 7) + 1 if flags & 0x80 else 8


def _avif_bits(data: bytes) -> int:
    """Bits per channel of an AVIF, 8, 10 or 12, from two flags in the third byte of its first ``av1C`` box."""
    at = data.find(b"av1C")
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    if not flags & 0x40:
        return 8
    return 12 if flags & 0x20 else 10


def _has_exif(image: ImageFile.ImageFile) -> bool:
    """Whether the file has EXIF. A TIFF must have an EXIF directory, since Pillow reports even its ordinary tags as
    EXIF."""
    if image.format == "TIFF":
        return _EXIF_DIRECTORY in getattr(image, "tag_v2", {})
    return bool(image.info.get("exif") or image.info.get("Raw profile type exif"))


def orientation_of(image: ImageFile.ImageFile) -> int:
    """Returns the orientation of an opened image as an EXIF orientation, 1 … 8.

    Orientation in the container's boxes takes precedence over EXIF. If the metadata is damaged, returns 1 rather than
    rejecting the image.
    """
    value = getattr(image, "file_orientation", 1)
    try:
        if value == 1 and image.format != "HEIF":  # its reader sets the orientation in EXIF to 1
            with quiet():
                value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception as error:  # as with pixels, Pillow raises nearly anything on damaged bytes
        require_sound_machine(error)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
