"""Identifies image kinds that this project cannot read, so that an intact image is not reported as damaged.

Used only after opening or decoding has failed, so a readable file is never refused because of its kind. Reads only
headers, and checks every length.
"""

import io
import lzma
from collections.abc import Callable
from functools import cache

import zstandard
from PIL import Image, TiffImagePlugin

from shards.images.decoder_messages import quiet
from shards.jpeg.header import BadJpeg
from shards.jpeg.header_parser import SegmentParser

__all__ = ["unsupported_kind"]

_BEGINNINGS = {
    b"II\xbc\x01": "JPEG XR",
    b"8BPS": "Photoshop (PSD)",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"qoif": "QOI",
    b"DDS ": "DirectDraw Surface (DDS)",
    b"BPG\xfb": "BPG",
    b"FLIF": "FLIF",
    b"\x8aMNG\r\n\x1a\n": "MNG",
    b"\x8bJNG\r\n\x1a\n": "JNG",
    b"\0\0\1\0": "Windows icon (ICO)",
    b"SIMPLE  =": "FITS",
    b"%PDF-": "PDF",
    b"<svg": "SVG",
    b"FUJIFILMCCD-RAW": "Fujifilm camera raw (RAF)",
    b"IIRO": "Olympus camera raw (ORF)",
    b"IIU\0": "Panasonic camera raw (RW2)",
}
_NETPBM = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7")
_BRANDS = {
    b"crx ": "Canon camera raw (CR3)",
    b"avci": "HEIF of H.264",
    b"avcs": "HEIF of H.264",
    b"jpeg": "HEIF of JPEG",
    b"j2ki": "HEIF of JPEG 2000",
    b"vvic": "HEIF of VVC",
    b"evbi": "HEIF of EVC",
}

_COMPRESSIONS = {
    6: "old-style JPEG",
    32766: "NeXT",
    32809: "ThunderScan",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34713: "Nikon NEF",
    34887: "LERC",
    34892: "lossy JPEG",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
    34925: "LZMA",
    50000: "zstd",
}
_SELDOM_BUILT_IN = frozenset({6, 32809, 34676, 34677})


def _webp_pixel() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "WEBP", lossless=True)
    return file.getvalue()


_OPTIONAL: dict[int, Callable[[], bytes]] = {
    34925: lambda: lzma.compress(bytes(3)),
    50000: lambda: zstandard.ZstdCompressor().compress(bytes(3)),
    50001: _webp_pixel,
}
"""TIFF compressions that some builds of libtiff lack. Each function returns a compressed black pixel."""

_FORMATS = {2: "signed integers", 3: "floats", 5: "complex", 6: "complex"}
_PHOTOMETRICS = {
    4: "transparency mask",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "camera raw",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear camera raw",
}


def unsupported_kind(data: bytes, kind: str | None, error: str = "") -> str | None:
    """Describes the kind of the image file ``data``, for example ``12-bit JPEG``, if that kind is not supported.

    Returns ``None`` if it is supported, in which case the image is probably damaged. ``kind`` is the format from
    ``sniff_format``, or ``None`` if unknown; ``error`` is the decoder's error message.
    """
    if kind is None:
        return _other_format(data)
    if kind == "JPEG":
        return _jpeg(data)
    if kind == "TIFF":
        return _tiff(data, error)
    if kind == "PNG":
        return "Apple's PNG for iOS (CgBI)" if data[12:16] == b"CgBI" else None
    if kind == "BMP":
        return error.removeprefix("Unsupported ") if error.startswith("Unsupported BMP") else None
    if kind in ("HEIF", "AVIF") and "nsupported codec" in error:
        return f"{kind} with a codec that is not built in"
    return None


def _other_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    if data[:2] in _NETPBM and data[2:3].isspace():
        return "Netpbm"
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<?xml") and b"<svg" in head:
        return "SVG"
    return next((name for begin, name in _BEGINNINGS.items() if head.startswith(begin)), None)


def _jpeg(data: bytes) -> str | None:
    parser = SegmentParser(memoryview(data))
    try:
        header = parser.parse()
    except BadJpeg:
        return "JPEG-LS" if any(s.marker == 0xF7 for s in parser.segments) else None
    if header.hierarchical:
        return "hierarchical JPEG"
    if header.precision != 8:
        return f"{header.precision}-bit JPEG"
    return "JPEG of 2 components" if len(header.components) == 2 else None


def _tiff(data: bytes, error: str) -> str | None:
    if data[8:10] == b"CR":
        return "Canon camera raw (CR2)"
    try:
        with quiet():  # tags are decoded on access
            tags = _first_directory(data)
            compression, photometric = int(tags.get(259, 1)), int(tags.get(262, 0))
            bits, kind = [int(b) for b in tags.get(258, (1,))], int(tags.get(339, (1,))[0])
    except Exception:  # as with pixels, Pillow raises nearly anything on damaged bytes
        return None
    name = _COMPRESSIONS.get(compression, f"compression {compression}")
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"TIFF with {name}"
    if photometric in _PHOTOMETRICS:
        return f"TIFF of {_PHOTOMETRICS[photometric]}"
    if "unknown pixel mode" in error:
        what = "half floats" if (kind, bits[0]) == (3, 16) else _FORMATS.get(kind, "")
        depths = "/".join(str(b) for b in sorted(set(bits)))
        parts = [f"TIFF of {depths} bits", what, f"{len(bits)} channels, photometric {photometric}"]
        return ", ".join(part for part in parts if part)
    missing = compression in _OPTIONAL and not _built_in(compression)
    return f"TIFF with {name}" if missing or compression in _SELDOM_BUILT_IN else None


@cache
def _built_in(compression: int) -> bool:
    """Whether Pillow's libtiff decodes this compression, one of ``_OPTIONAL``. Finds out by decoding a black pixel,
    which is safe in all versions of Pillow."""
    try:
        strip = _OPTIONAL[compression]()
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        values = {256: 1, 257: 1, 258: (8, 8, 8), 259: compression, 262: 2, 273: 0, 277: 3, 278: 1, 279: len(strip)}
        for tag, value in values.items():
            tags[tag] = value
        file = io.BytesIO()
        tags.save(file)  # also sets 273, the place of the strip
        file.write(strip)
        with quiet():
            Image.open(file).load()
    except Exception:  # libtiff may raise anything
        return False
    return True


def _first_directory(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:4] in (b"+\0", b"\0+") else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags
