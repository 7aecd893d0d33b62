"""Reads those texts in an image file that are searched for claims: XMP, EXIF, IIM, text chunks and comments.

Every file is untrusted. Pillow is used for those texts that it can read without decoding pixels. In a PNG, texts may
follow the pixels and may decompress to any size, so this module reads them without Pillow, up to a size limit.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image, ImageFile, IptcImagePlugin

from glass.claims.xmp import xmp_properties
from shards.images.containers import Piece, iso_boxes, png_chunks

__all__ = ["FileTexts", "Text", "file_texts"]

MAX_BYTES = 1 << 20
"""Maximum number of bytes read from each text."""
_MAX_TEXTS = 64
_MAX_KEYWORD = 79  # bytes, in a PNG

_EXIF_TAGS = {
    270: "ImageDescription",
    271: "Make",
    272: "Model",
    305: "Software",
    315: "Artist",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
}
_EXIF_DIRECTORY, _USER_COMMENT = 0x8769, 0x9286
_IIM_FIELDS = {(2, 65): "program", (2, 80): "creator", (2, 110): "credit line", (2, 115): "source", (2, 120): "caption"}
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_XMP_FIELDS = {
    "http://ns.adobe.com/xap/1.0/ CreatorTool": "CreatorTool",
    "http://ns.adobe.com/photoshop/1.0/ Credit": "Credit",
    "http://ns.adobe.com/tiff/1.0/ Software": "Software",
    "http://ns.adobe.com/exif/1.0/ UserComment": "UserComment",
    "http://purl.org/dc/elements/1.1/ creator": "creator",
    "http://purl.org/dc/elements/1.1/ description": "description",
}


@dataclass(frozen=True)
class Text:
    """One text in a file."""

    kind: str
    """Where the text is stored: ``EXIF``, ``XMP``, ``IIM``, ``PNG text`` or ``comment``."""
    name: str
    """The keyword or field under which the text is stored; empty for a comment."""
    text: str


@dataclass(frozen=True)
class FileTexts:
    """The texts found in a file."""

    properties: list[tuple[str, str]] = field(default_factory=list)
    """The properties in the XMP packets, each as (name, value). A name consists of the namespace, a space and the local
    name."""
    texts: list[Text] = field(default_factory=list)


def file_texts(image: ImageFile.ImageFile, data: bytes) -> FileTexts:
    """Reads the texts in an image file, at most ``_MAX_TEXTS`` of each kind.

    ``image`` is the result of ``open_image(data)``. If the metadata are damaged, exceptions of any type may propagate
    from Pillow to the caller.
    """
    if image.format == "PNG":
        packets, texts, exif = _png(data)
    else:
        packets, texts, exif = _packets(image, data), [], _exif_of(image)
    properties = [pair for packet in packets for pair in xmp_properties(packet)]
    texts += [Text("XMP", _XMP_FIELDS[name], value) for name, value in properties if name in _XMP_FIELDS][:_MAX_TEXTS]
    texts += [*_exif_texts(exif), *_iim(image)]
    if isinstance(comment := image.info.get("comment"), bytes):
        texts.append(Text("comment", "", _decoded(comment)))
    return FileTexts(properties, texts)


def _packets(image: ImageFile.ImageFile, data: bytes) -> list[bytes]:
    packet = image.info.get("xmp")
    if image.format == "JXL":  # the plugin does not read its XMP
        packet = next((data[box.start : box.end] for box in iso_boxes(data) if box.name == b"xml "), None)
    return [packet] if isinstance(packet, bytes) else []


def _png(data: bytes) -> tuple[list[bytes], list[Text], Image.Exif]:
    """Returns (XMP packets, texts, EXIF) of a PNG.

    Pillow is not used, because it decodes the pixels before it reads the texts that follow them.
    """
    packets: list[bytes] = []
    texts: list[Text] = []
    for keyword, value in _png_texts(data):
        if keyword == _XMP_KEYWORD:
            packets.append(value)
        else:
            texts.append(Text("PNG text", keyword.decode("latin-1"), _decoded(value)))
    exif = next((data[chunk.start : chunk.end] for chunk in png_chunks(data) if chunk.name == b"eXIf"), None)
    return packets, texts, _loaded(exif)


def _png_texts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (keyword, the first ``MAX_BYTES`` of the text) for the first ``_MAX_TEXTS`` text chunks."""
    left = _MAX_TEXTS
    for chunk in png_chunks(data):
        if chunk.name not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        keyword, found, _ = data[chunk.start : chunk.start + _MAX_KEYWORD + 1].partition(b"\0")
        if not found:
            continue
        yield keyword, _png_text(data, chunk, chunk.start + len(keyword) + 1)
        left -= 1
        if not left:
            return


def _png_text(data: bytes, chunk: Piece, start: int) -> bytes:
    """Returns the text in ``chunk``, or empty bytes if the chunk is damaged.

    ``start`` is the position in ``data`` just after the chunk's keyword and the zero byte that ends the keyword.
    """
    packed = chunk.name == b"zTXt"
    if chunk.name == b"iTXt":
        packed = data[start : start + 1] == b"\1"
        start += 2
        for _ in range(2):  # the language tag, and the translated keyword
            start = data.find(b"\0", start, chunk.end) + 1
            if not start:
                return b""
    elif packed:
        start += 1  # the compression method; only one is defined
    if not packed:
        return data[start : min(chunk.end, start + MAX_BYTES)]
    try:
        return zlib.decompressobj().decompress(data[start : chunk.end], MAX_BYTES)
    except zlib.error:
        return b""


def _exif_of(image: ImageFile.ImageFile) -> Image.Exif:
    return image.getexif() if image.format == "TIFF" else _loaded(image.info.get("exif"))


def _loaded(exif: object) -> Image.Exif:
    loaded = Image.Exif()
    if isinstance(exif, bytes):
        loaded.load(exif)
    return loaded


def _exif_texts(exif: Image.Exif) -> Iterator[Text]:
    for tag, name in _EXIF_TAGS.items():
        value = exif.get(tag)
        if isinstance(value, str):
            yield Text("EXIF", name, value[:MAX_BYTES])
        elif isinstance(value, bytes) and name.startswith("XP"):
            yield Text("EXIF", name, value[:MAX_BYTES].decode("utf-16-le", "replace"))
    if isinstance(comment := exif.get_ifd(_EXIF_DIRECTORY).get(_USER_COMMENT), bytes):
        yield Text("EXIF", "UserComment", _user_comment(comment[:MAX_BYTES]))


def _user_comment(comment: bytes) -> str:
    """Decodes EXIF's UserComment, whose first eight bytes name the encoding.

    For UTF-16, these bytes do not state the byte order, and both orders occur in practice. The order is guessed from
    the positions of zero bytes.
    """
    text = comment[8:]
    if not comment.startswith(b"UNICODE\0"):
        return _decoded(text if comment[:8] in (b"ASCII\0\0\0", bytes(8)) else comment)
    big_endian = text[0:512:2].count(0) >= text[1:512:2].count(0)
    return text.decode("utf-16-be" if big_endian else "utf-16-le", "replace")


def _iim(image: ImageFile.ImageFile) -> Iterator[Text]:
    found = IptcImagePlugin.getiptcinfo(image) or {}
    for key, name in _IIM_FIELDS.items():
        value = found.get(key)
        if isinstance(value, bytes):
            yield Text("IIM", name, _decoded(value))


def _decoded(text: bytes) -> str:
    """Decodes ``text`` as UTF-8 or, if that fails, as Latin-1.

    UTF-8 comes first because programs write it even where a format prescribes Latin-1.
    """
    text = text[:MAX_BYTES]
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        # The cut at MAX_BYTES may have divided the last character.
        return text[: error.start].decode() if error.start > len(text) - 4 else text.decode("latin-1")
