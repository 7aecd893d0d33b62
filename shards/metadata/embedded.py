"""Lists the metadata embedded in an image file alongside the picture. Metadata does not affect the pixels.

Kinds of metadata that occur in several formats have the same name everywhere (``Exif``, ``XMP``, ``ICC``, ``C2PA``).
Others usually have the name that their format uses (``APP3``, ``pHYs``). The contents are not read: they are untrusted
text.
"""

import re

from PIL import ImageFile

from shards.images.containers import iso_boxes, png_chunks, riff_chunks
from shards.jpeg.header import BadJpeg, JpegHeader
from shards.jpeg.header_parser import read_header
from shards.metadata.iso_items import iso_picture

__all__ = ["holds_manifest", "metadata_names"]

MAX_NAMES = 32
_C2PA = "C2PA"
_C2PA_GIF = b"!\xff\x0bC2PA_GIF"  # the first bytes of its extension block

_JPEG_NAMES = (
    (0xE0, b"JFIF\0", "JFIF"),
    (0xE0, b"JFXX\0", "JFIF thumbnail"),
    (0xE1, b"Exif\0", "Exif"),
    (0xE1, b"http://ns.adobe.com/", "XMP"),
    (0xE2, b"ICC_PROFILE\0", "ICC"),
    (0xE2, b"MPF\0", "MPF"),
    (0xEB, b"JP", "JUMBF"),
    (0xED, b"Photoshop 3.0\0", "Photoshop"),
    (0xEE, b"Adobe", "Adobe"),
)
_COMMENT = 0xFE
_PNG_NAMES = {b"eXIf": "Exif", b"iCCP": "ICC", b"caBX": _C2PA, b"iTXt": "text", b"tEXt": "text"}
_PNG_NAMES |= {b"zTXt": "text", b"acTL": "animation"}
_PNG_PICTURE = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"fcTL", b"fdAT"})
_RIFF_NAMES = {b"EXIF": "Exif", b"XMP ": "XMP", b"ICCP": "ICC", b"C2PA": _C2PA, b"ANIM": "animation"}
_RIFF_PICTURE = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANMF"})
_TIFF_NAMES = {
    270: "description",
    271: "maker",
    272: "model",
    305: "software",
    306: "date",
    315: "artist",
    700: "XMP",
    33432: "copyright",
    33723: "IPTC",
    34377: "Photoshop",
    34665: "Exif",
    34675: "ICC",
    34853: "GPS",
    52545: _C2PA,
}
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_ISO_KINDS = {b"Exif": "Exif", b"mime": "XMP"}
_PLAIN = re.compile(rb"[A-Za-z0-9]{4}")
_TRAILING = "bytes behind the end"


def metadata_names(image: ImageFile.ImageFile, data: bytes, end: int, header: JpegHeader | None) -> str:
    """Returns the names of the metadata in ``data``, sorted and joined by commas; ``""`` if there is none.

    ``image`` was opened from ``data``, whose first picture ends at ``end``; ``header`` is given for JPEGs only. Bytes
    after ``end`` also count as metadata. At most 32 names are listed.
    """
    names = _names(image, data, header)
    if end < len(data):
        names.add(_TRAILING)
    return ", ".join(sorted(names)[:MAX_NAMES])


def holds_manifest(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether ``data``, from which ``image`` was opened, contains a C2PA manifest. Only its presence is checked."""
    try:
        header = read_header(data) if image.format == "JPEG" else None
    except BadJpeg:
        return False
    return _C2PA in _names(image, data, header)


def _names(image: ImageFile.ImageFile, data: bytes, header: JpegHeader | None) -> set[str]:
    names: set[str] = set()
    match image.format:
        case "JPEG" if header:
            names = _jpeg(data, header)
        case "PNG":
            chunks = {chunk.name for chunk in png_chunks(data)} - _PNG_PICTURE
            names = {_name(chunk, _PNG_NAMES) for chunk in chunks}
        case "WEBP":
            chunks = {chunk.name for chunk in riff_chunks(data)} - _RIFF_PICTURE
            names = {_name(chunk, _RIFF_NAMES) for chunk in chunks}
        case "TIFF":
            tags = getattr(image, "tag_v2", {})
            names = {name for tag, name in _TIFF_NAMES.items() if tag in tags}
        case "GIF":
            names = {"comment"} if image.info.get("comment") else set()
            names |= {_C2PA} if _C2PA_GIF in data else set()
        case "AVIF" | "HEIF":
            names = _iso(data)
        case "JXL":
            names = {
                _C2PA for box in iso_boxes(data) if box.name == b"jumb" and b"c2pa" in data[box.start : box.start + 64]
            }
    return names


def _jpeg(data: bytes, header: JpegHeader) -> set[str]:
    names = set()
    for segment in header.segments:
        if segment.marker == _COMMENT:
            names.add("comment")
        elif 0xE0 <= segment.marker <= 0xEF:
            payload = data[segment.offset : segment.offset + min(segment.length, 64)]
            names.add(_application(segment.marker, payload))
    return names


def _application(marker: int, payload: bytes) -> str:
    for known, start, name in _JPEG_NAMES:
        if marker == known and payload.startswith(start):
            # A signature is a JUMBF box whose description box names its type, c2pa.
            return _C2PA if name == "JUMBF" and b"c2pa" in payload else name
    return f"APP{marker - 0xE0}"


def _name(chunk: bytes, known: dict[bytes, str]) -> str:
    plain = chunk.decode("ascii") if _PLAIN.fullmatch(chunk) else "unknown chunk"
    return known.get(chunk, plain)


def _iso(data: bytes) -> set[str]:
    picture = iso_picture(data)
    if picture is None:
        return set()
    names = {name for kind, name in _ISO_KINDS.items() if kind in picture.kinds}
    if any(profile[:4] in (b"prof", b"rICC") for profile in picture.properties(b"colr")):
        names.add("ICC")
    if any(box.name == b"uuid" and data[box.start : box.start + 16] == _C2PA_UUID for box in iso_boxes(data)):
        names.add(_C2PA)
    return names
