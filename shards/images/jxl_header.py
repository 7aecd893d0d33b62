"""Reads the header of a JPEG XL codestream (ISO 18181-1): size, orientation and bit depth, without decoding.

Pillow's JPEG XL plugin decodes a file as soon as it is opened, and rotates the pixels. The pixel limit must be enforced
before the plugin opens the file, so the size must be known. The orientation is needed to undo the rotation afterwards.
"""

from dataclasses import dataclass

from shards.images.containers import iso_boxes

__all__ = ["CONTAINER", "BadJxl", "JxlHeader", "read_jxl_header"]

CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_HEAD_BYTES = 128  # more than all of these fields can take
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class BadJxl(ValueError):
    """Raised if the bytes are not a JPEG XL file, or end within its header."""


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """The header fields of a codestream."""

    width: int
    """Width in pixels as stored, before ``orientation`` is applied."""
    height: int
    orientation: int
    """How a viewer rotates or flips the stored pixels: 1 … 8, as in EXIF."""
    animated: bool
    bit_depth: int
    """Bits per sample, integer or float, up to 64."""
    has_icc: bool
    """Whether a colour profile is embedded. Also ``False`` if the field cannot be reached because unusual extra
    channels precede it."""


class _Bits:
    """Reads bit fields, least significant bit first, and numbers as encoded by the JPEG XL standard."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise BadJxl("cut off in the header")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value

    def number(self, choices: tuple[tuple[int, int], ...]) -> int:
        """Reads a number. Two bits select a (number of bits, offset) pair from ``choices``. The number is the offset
        plus the value of that many bits."""
        count, offset = choices[self.take(2)]
        return self.take(count) + offset

    def size(self) -> tuple[int, int]:
        """Reads a size and returns it as (width, height)."""
        small = self.take(1)
        height = 8 * (self.take(5) + 1) if small else self.number(_SIZES)
        ratio = self.take(3)
        if ratio:
            numerator, denominator = _RATIOS[ratio]
            return height * numerator // denominator, height
        return (8 * (self.take(5) + 1) if small else self.number(_SIZES)), height


def read_jxl_header(data: bytes) -> JxlHeader:
    """Reads the header of a JPEG XL file, a bare codestream or one in a container. May raise :class:`BadJxl`."""
    head = _codestream_head(data)
    if head[:2] != b"\xff\x0a":
        raise BadJxl("it contains no codestream")
    bits = _Bits(head[2:])
    width, height = bits.size()
    orientation, animated = 1, False
    if bits.take(1):  # set if all fields have default values
        return JxlHeader(width, height, orientation, animated, 8, False)
    if bits.take(1):
        orientation = bits.take(3) + 1
        if bits.take(1):
            bits.size()  # intrinsic size, at which a viewer shows it
        if bits.take(1):
            _pass_over_preview(bits)
        if animated := bool(bits.take(1)):
            _pass_over_timing(bits)
    return JxlHeader(width, height, orientation, animated, _depth(bits), _has_icc(bits))


def _codestream_head(data: bytes) -> bytes:
    if not data.startswith(CONTAINER):
        return data[:_HEAD_BYTES]
    head = b""
    for name, start, end in iso_boxes(data, whole=True):
        if name == b"jxlc":
            return data[start : min(end, start + _HEAD_BYTES)]
        if name == b"jxlp":  # a part of the codestream, preceded by its index in four bytes
            head += data[start + 4 : min(end, start + 4 + _HEAD_BYTES)]
        if len(head) >= _HEAD_BYTES:
            break
    return head[:_HEAD_BYTES]


def _pass_over_preview(bits: _Bits) -> None:
    div8 = bits.take(1)
    choices = ((0, 16), (0, 32), (5, 1), (9, 33)) if div8 else ((6, 1), (8, 65), (10, 321), (12, 1345))
    bits.number(choices)
    if not bits.take(3):
        bits.number(choices)


def _pass_over_timing(bits: _Bits) -> None:
    bits.number(((0, 100), (0, 1000), (10, 1), (30, 1)))
    bits.number(((0, 1), (0, 1001), (8, 1), (10, 1)))
    bits.number(((0, 0), (3, 0), (16, 0), (32, 0)))
    bits.take(1)


def _depth(bits: _Bits) -> int:
    if not bits.take(1):
        return bits.number(((0, 8), (0, 10), (0, 12), (6, 1)))
    depth = bits.number(((0, 32), (0, 16), (0, 24), (6, 1)))
    bits.take(4)  # exponent bits
    return depth


def _has_icc(bits: _Bits) -> bool:
    bits.take(1)  # modular_16bit_buffers
    for _ in range(bits.number(((0, 0), (0, 1), (4, 2), (12, 1)))):
        if not bits.take(1):  # an extra channel other than plain alpha
            return False
    bits.take(1)  # xyb_encoded
    return not bits.take(1) and bool(bits.take(1))
