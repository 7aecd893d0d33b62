"""Detects how a file's pixels are coded: subsampling, colour transform, losslessness and JPEG tables.

Quantisation and chroma subsampling leave traces in the pixels. Huffman tables only pack the bits, and do not affect the
pixels.
"""

import hashlib
import struct
from dataclasses import dataclass

from PIL import ImageFile

from shards.images.containers import webp_pictures
from shards.jpeg.header import SUBSAMPLING_NAMES, JpegHeader
from shards.jpeg.standard_bits import standard_tables
from shards.metadata.iso_items import IsoPicture, iso_picture

__all__ = ["CodingFacts", "coding_facts"]

OPTIMISED, STANDARD = "optimised", "standard"

_CHROMA_FORMATS = ("grey", "4:2:0", "4:2:2", "4:4:4")  # indexed by HEVC's chroma_format_idc
_COMPRESSION, _PHOTOMETRIC, _CHROMA = 259, 262, 530
_TIFF_LOSSLESS = frozenset(
    {1, 2, 3, 4, 5, 8, 32771, 32773, 32809, 32946, 34925, 50000}
)  # none, fax, LZW, deflate, packbits, LZMA, zstd
_TIFF_COLOURS = {0: "grey", 1: "grey", 2: "rgb", 3: "rgb", 5: "cmyk", 6: "ycbcr"}
_IDENTITY = 0  # matrix coefficients that leave RGB unchanged


@dataclass(frozen=True, slots=True)
class CodingFacts:
    """How a file's pixels are coded. ``shards.metadata.facts.ImageFacts`` describes the fields."""

    subsampling: str = ""
    colour_transform: str = ""
    lossless: bool = False
    quant_digest: str = ""
    huffman: str = ""


def coding_facts(image: ImageFile.ImageFile, data: bytes, header: JpegHeader | None) -> CodingFacts:
    """Detects how the pixels in ``data`` are coded.

    ``image`` was opened from ``data``; ``header`` is its JPEG header, or ``None`` for other formats.
    """
    kind = image.format
    if kind == "JPEG":
        return _jpeg(data, header) if header else CodingFacts()
    if kind in ("PNG", "BMP", "GIF"):
        return CodingFacts("", _plain_colours(image.mode), lossless=True)
    if kind == "WEBP":
        return _webp(data)
    if kind == "TIFF":
        return _tiff(image)
    picture = iso_picture(data) if kind in ("AVIF", "HEIF") else None
    return _iso(picture) if picture else CodingFacts()


def _jpeg(data: bytes, header: JpegHeader) -> CodingFacts:
    return CodingFacts(
        header.subsampling, _jpeg_colours(header), header.lossless, _quant_digest(header), _huffman(data, header)
    )


def _jpeg_colours(header: JpegHeader) -> str:
    """Returns the colour transform of a JPEG, or ``""`` if it is unknown.

    Follows libjpeg-turbo's rules, which determine what viewers show.
    """
    count, adobe = len(header.components), header.adobe_transform
    if count == 1:
        return "grey"
    if count == 4:
        return "ycck" if adobe == 2 else "cmyk"
    if count != 3:
        return ""
    if header.has_jfif:
        return "ycbcr"
    if adobe is not None:
        return "rgb" if adobe == 0 else "ycbcr"
    return "rgb" if bytes(c.id for c in header.components) == b"RGB" else "ycbcr"


def _quant_digest(header: JpegHeader) -> str:
    """Digest of the quantisation-table values, in component order; empty if a table is missing."""
    tables = [header.quant_tables.get(component.tq) for component in header.components]
    if any(table is None for table in tables):
        return ""
    values = b"".join(struct.pack(">64H", *table.values) for table in tables if table)
    return hashlib.sha256(values).hexdigest()[:16]


def _huffman(data: bytes, header: JpegHeader) -> str:
    if header.arithmetic:
        return ""
    used = (*header.scan.dc_tables, *(16 | number for number in header.scan.ac_tables))
    for number in used:
        # Motion-JPEG frames from webcams have no tables: decoders use the standard's.
        at, length = header.huffman_tables.get(number, (0, 0))
        if length and data[at + 1 : at + length] not in standard_tables().values():
            return OPTIMISED
    return STANDARD


def _plain_colours(mode: str) -> str:
    return "grey" if mode.startswith(("1", "L", "I", "F")) else "rgb"


def _webp(data: bytes) -> CodingFacts:
    first = next(webp_pictures(data), None)
    if first is None:
        return CodingFacts()
    # VP8 has no other subsampling.
    return CodingFacts("4:2:0", "ycbcr") if first.name == b"VP8 " else CodingFacts("", "rgb", lossless=True)


def _tiff(image: ImageFile.ImageFile) -> CodingFacts:
    tags = getattr(image, "tag_v2", {})
    colours = _TIFF_COLOURS.get(tags.get(_PHOTOMETRIC, -1), "")
    chroma = tags.get(_CHROMA, (2, 2)) if colours == "ycbcr" else ()
    subsampling = SUBSAMPLING_NAMES.get(tuple(chroma), "")
    return CodingFacts(subsampling, colours, tags.get(_COMPRESSION, 1) in _TIFF_LOSSLESS)


def _iso(picture: IsoPicture) -> CodingFacts:
    """How an AVIF or HEIC is coded. ``lossless`` is always ``False``, since the coded bytes are not parsed."""
    subsampling = ""
    if (av1 := picture.property(b"av1C")) and len(av1) > 2:
        mono, x, y = av1[2] >> 4 & 1, av1[2] >> 3 & 1, av1[2] >> 2 & 1
        subsampling = "grey" if mono else {(1, 1): "4:2:0", (1, 0): "4:2:2"}.get((x, y), "4:4:4")
    elif (hevc := picture.property(b"hvcC")) and len(hevc) > 16:
        subsampling = _CHROMA_FORMATS[hevc[16] & 3]
    matrices = [p[8:10] for p in picture.properties(b"colr") if p[:4] == b"nclx"]
    if subsampling == "grey":
        return CodingFacts(subsampling, "grey")
    if not subsampling:
        return CodingFacts()
    identity = matrices and int.from_bytes(matrices[0], "big") == _IDENTITY
    return CodingFacts(subsampling, "rgb" if identity and subsampling == "4:4:4" else "ycbcr")
