"""Splits image files into pieces: PNG and RIFF chunks, and ISO media boxes.

Every length in a file is untrusted. A piece that claims to extend beyond its container is truncated at the container's
end. Every step advances by at least one header, so no file can cause an endless loop.
"""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Piece", "iso_boxes", "png_chunks", "riff_chunks", "webp_pictures"]

_PNG_START = 8  # after the signature
_RIFF_START = 12  # after RIFF, the length and WEBP


class Piece(NamedTuple):
    """A chunk or box of the file ``data``; ``data[start:end]`` is its payload."""

    name: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        """Payload length in bytes."""
        return self.end - self.start


def png_chunks(data: bytes) -> Iterator[Piece]:
    """Yields the chunks of a PNG, up to and including IEND."""
    at = _PNG_START
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        name, start = data[at + 4 : at + 8], at + 8
        yield Piece(name, start, min(start + size, len(data)))
        if name == b"IEND":
            return
        at = start + size + 4  # a checksum follows


def riff_chunks(data: bytes, start: int = _RIFF_START, end: int | None = None) -> Iterator[Piece]:
    """Yields the chunks of the WebP file ``data``, or only those in ``data[start:end]``."""
    end = min(len(data), int.from_bytes(data[4:8], "little") + 8) if end is None else end
    at = start
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield Piece(data[at : at + 4], at + 8, min(at + 8 + size, end))
        at += 8 + size + size % 2


def webp_pictures(data: bytes) -> Iterator[Piece]:
    """Yields the ``VP8`` and ``VP8L`` chunks of a WebP, including those inside the frames of an animation."""
    for chunk in riff_chunks(data):
        # A frame's chunks follow its 16-byte header.
        inside = riff_chunks(data, chunk.start + 16, chunk.end) if chunk.name == b"ANMF" else (chunk,)
        yield from (part for part in inside if part.name in (b"VP8 ", b"VP8L"))


def iso_boxes(data: bytes, start: int = 0, end: int | None = None, whole: bool = False) -> Iterator[Piece]:
    """Yields the boxes in ``data[start:end]`` of an ISO media file (AVIF, HEIC, JPEG XL, JPEG 2000).

    Stops before the first box with an impossible length and, if ``whole`` is set, before the first box that is cut off.
    """
    end = len(data) if end is None else end
    at = start
    while at + 8 <= end:
        size, name, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:  # the length follows in eight bytes
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:  # the box extends to the end
            size = end - at
        if size < head or at + head > end or (whole and at + size > end):
            return
        yield Piece(name, at + head, min(at + size, end))
        at += size
