"""Parses the items in an AVIF or HEIC file: their properties, and the number of bytes that the picture takes.

A file in these formats (ISO 14496-12, 23008-12) consists of items. One of them is the picture; others are thumbnails,
depth or gain maps, or EXIF. If the picture is a grid, each of its tiles is another item. Nothing is decoded here, and
no number in the file is trusted.
"""

from dataclasses import dataclass, field

from shards.images.containers import Piece, iso_boxes

__all__ = ["IsoItem", "IsoPicture", "iso_picture"]

_GAIN_MAPPED = b"tmap"  # made of a base picture and a gain map; the base is shown
_DERIVED = (b"grid", b"iovl", b"iden", _GAIN_MAPPED)  # made of the items in their "dimg" reference
_FROM_IDAT = 1


@dataclass(eq=False)
class IsoItem:
    """An item in the file."""

    kind: bytes = b""
    """The item's four-letter type: ``av01``, ``hvc1``, ``grid``, ``Exif``, ``mime`` or another."""
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(name, payload) of each property, such as ``av1C`` or ``irot``, in file order."""
    num_bytes: int = 0
    parts: list[int] = field(default_factory=list)
    """Ids of the items that make up this item, such as the tiles of a grid."""


@dataclass(frozen=True)
class IsoPicture:
    """The primary item, which is the picture, and the items that hold its bytes."""

    item: IsoItem
    coded: tuple[IsoItem, ...]
    """The items whose bytes hold the picture: the primary item itself, or the tiles of a grid."""
    kinds: frozenset[bytes]
    """The ``kind`` of every item in the file."""

    @property
    def num_bytes(self) -> int:
        """Number of bytes that the file claims to use for the picture.

        This number is not checked: callers must limit it to the file size.
        """
        return sum(item.num_bytes for item in self.coded)

    def properties(self, name: bytes) -> list[bytes]:
        """Returns the payloads of all properties called ``name``, such as ``irot``.

        The picture's properties come first, then those of its first tile.
        """
        return [
            payload
            for item in dict.fromkeys((self.item, *self.coded[:1]))
            for found, payload in item.properties
            if found == name
        ]

    def property(self, name: bytes) -> bytes | None:
        """The first of :meth:`properties`, or ``None``."""
        return next(iter(self.properties(name)), None)


def iso_picture(data: bytes) -> IsoPicture | None:
    """The picture in the file ``data``; ``None`` if no primary item is found."""
    meta = next((box for box in iso_boxes(data) if box.name == b"meta"), None)
    if meta is None:
        return None
    boxes: dict[bytes, Piece] = {}
    for box in iso_boxes(data, meta.start + 4, meta.end):  # four bytes of version and flags
        boxes.setdefault(box.name, box)
    items: dict[int, IsoItem] = {}
    try:
        _kinds(data, boxes, items)
        _properties(data, boxes, items)
        _parts(data, boxes, items)
        _places(data, boxes, items)
        primary = _Fields(data, boxes[b"pitm"]).primary()
    except (KeyError, _Cut):
        return None
    if primary not in items:
        return None
    kinds = frozenset(item.kind for item in items.values())
    return IsoPicture(items[primary], _coded(items, primary), kinds)


def _coded(items: dict[int, IsoItem], primary: int) -> tuple[IsoItem, ...]:
    """Returns the coded items that make up the picture, each only once.

    Works without recursion, because a malicious file could nest items to any depth.
    """
    coded: list[IsoItem] = []
    seen: set[int] = set()
    waiting = [primary]
    while waiting:
        number = waiting.pop()
        item = items.get(number)
        if item is None or number in seen:
            continue
        seen.add(number)
        if item.kind in _DERIVED:
            parts = item.parts[:1] if item.kind == _GAIN_MAPPED else item.parts
            waiting += reversed(parts)
        else:
            coded.append(item)
    return tuple(coded)


class _Cut(ValueError):
    """Raised if a box ends before its last field."""


class _Fields:
    """Reads big-endian numbers from a box that begins with a version and flags."""

    def __init__(self, data: bytes, box: Piece) -> None:
        self.data, self.at, self.end = data, box.start, box.end
        self.version = self.number(1)
        self.flags = self.number(3)

    def number(self, size: int) -> int:
        """The next ``size`` bytes as a big-endian number."""
        self.skip(size)
        return int.from_bytes(self.data[self.at - size : self.at], "big")

    def skip(self, size: int) -> None:
        """Skips ``size`` bytes. Raises ``_Cut`` if they extend past the end of the box."""
        self.at += size
        if self.at > self.end:
            raise _Cut

    def primary(self) -> int:
        """Reads the id of the primary item from a ``pitm`` box."""
        return self.number(4 if self.version else 2)


def _kinds(data: bytes, boxes: dict[bytes, Piece], items: dict[int, IsoItem]) -> None:
    fields = _Fields(data, boxes[b"iinf"])
    fields.skip(4 if fields.version else 2)
    for box in iso_boxes(data, fields.at, fields.end):
        entry = _Fields(data, box)
        if box.name != b"infe" or entry.version < 2:
            continue
        number = entry.number(2 if entry.version == 2 else 4)
        entry.skip(2)  # protection
        items[number] = IsoItem(entry.number(4).to_bytes(4, "big"))


def _properties(data: bytes, boxes: dict[bytes, Piece], items: dict[int, IsoItem]) -> None:
    known: list[tuple[bytes, bytes]] = []
    if b"iprp" not in boxes:
        return
    for box in iso_boxes(data, boxes[b"iprp"].start, boxes[b"iprp"].end):
        if box.name == b"ipco":
            inside = iso_boxes(data, box.start, box.end)
            known += [(piece.name, data[piece.start : piece.end]) for piece in inside]
        if box.name != b"ipma":
            continue
        fields = _Fields(data, box)
        wide = fields.flags & 1
        for _ in range(fields.number(4)):
            item = items.get(fields.number(4 if fields.version else 2))
            for _ in range(fields.number(1)):
                place = fields.number(2) & 0x7FFF if wide else fields.number(1) & 0x7F
                if item is not None and 1 <= place <= len(known):
                    item.properties.append(known[place - 1])


def _parts(data: bytes, boxes: dict[bytes, Piece], items: dict[int, IsoItem]) -> None:
    if b"iref" not in boxes:
        return
    whole = _Fields(data, boxes[b"iref"])
    wide = 4 if whole.version else 2
    for box in iso_boxes(data, whole.at, whole.end):
        if box.name != b"dimg":
            continue
        fields = _Fields(data, box._replace(start=box.start - 4))  # it has no version or flags
        item = items.get(fields.number(wide))
        parts = [fields.number(wide) for _ in range(fields.number(2))]
        if item is not None:
            item.parts = parts


def _places(data: bytes, boxes: dict[bytes, Piece], items: dict[int, IsoItem]) -> None:
    fields = _Fields(data, boxes[b"iloc"])
    sizes = fields.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if fields.version in (1, 2) else 0
    inside = boxes.get(b"idat")
    for _ in range(fields.number(4 if fields.version == 2 else 2)):
        item = items.get(fields.number(4 if fields.version == 2 else 2))
        method = fields.number(2) & 15 if fields.version in (1, 2) else 0
        fields.skip(2)  # data reference: always this file
        base = fields.number(base_size)
        extents = fields.number(2)
        room = len(data) if method != _FROM_IDAT else inside.size if inside else 0
        if not offset_size + length_size + index_size:  # extents without fields cover all bytes; count them once
            extents, covered = 0, room - base
            if item is not None:
                item.num_bytes = max(covered, 0)
        for _ in range(extents):
            fields.skip(index_size)
            start = base + fields.number(offset_size)
            left = max(room - start, 0)
            length = fields.number(length_size) if length_size else left
            if item is not None:
                item.num_bytes += min(length, left)
