"""Writes images as lossless tiled TIFFs and reads windows from them, decoding only the tiles that a window touches.

A PNG must be decoded from the top down to the crop. Here every tile of 128 × 128 pixels is compressed separately (zstd
after TIFF's horizontal predictor). Pillow, libtiff and tifffile open such a file like any other TIFF. docs/LOG.md
compares formats and tile sizes. A file consists of

    header | directory of 12 tags | offsets and lengths of the tiles | the tiles, row by row

The reader accepts only files with exactly these parts and tags, and trusts nothing in them.
"""

import math
import struct
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import zstandard

from shards.images.formats import MAX_PIXELS
from shards.jpeg.kernel_cache import cached

__all__ = ["BadTiles", "TiledImage", "encode_tiled", "head_bytes"]

TILE_SIZE = 128
"""Side length of a tile, in pixels. Smaller tiles compress worse; with larger ones, a crop decodes more pixels."""

MAX_TILE_SIZE = 1024
LEVELS = (9, 19)
"""zstd compression levels. The second level takes ten times as long as the first, and is tried only if the first does
not compress enough."""

_ALIGNMENT = 16  # TIFF requires tile sides to be multiples of this
_ZSTD, _NO_PREDICTOR, _HORIZONTAL = 50000, 1, 2
_SHORT, _LONG = 3, 4
_HEAD = struct.Struct("<4sIH")  # byte order and version, offset of the directory, its entries
_ENTRY = struct.Struct("<HHI4s")
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _LENGTHS = 284, 317, 322, 323, 324, 325
_TAGS = (
    (_WIDTH, _LONG),
    (_HEIGHT, _LONG),
    (_BITS, _SHORT),
    (_COMPRESSION, _SHORT),
    (_PHOTOMETRIC, _SHORT),
    (_SAMPLES, _SHORT),
    (_PLANES, _SHORT),
    (_PREDICTOR, _SHORT),
    (_TILE_WIDTH, _LONG),
    (_TILE_HEIGHT, _LONG),
    (_OFFSETS, _LONG),
    (_LENGTHS, _LONG),
)
_LISTS = (_BITS, _OFFSETS, _LENGTHS)  # tags whose values may lie after the directory
_FORMAT = {_SHORT: "H", _LONG: "I"}
_DIRECTORY_BYTES = _HEAD.size + _ENTRY.size * len(_TAGS) + 4
_BEGIN = b"II*\0"


class BadTiles(ValueError):
    """Raised if the bytes are not a TIFF written by :func:`encode_tiled`, or are damaged. The message says where."""


def encode_tiled(pixels: np.ndarray, wanted_bytes: int, levels: Sequence[int] = LEVELS) -> bytes:
    """Encodes (height, width, 3) uint8 pixels as a TIFF file.

    If all pixels are grey, one channel is stored. Each of the zstd ``levels`` is tried with and without the predictor,
    until a file has at most ``wanted_bytes`` bytes. If none does, the smallest file is returned.
    """
    if (pixels[..., :1] == pixels[..., 1:]).all():
        pixels = pixels[..., :1]
    smallest: bytes | None = None
    for level in levels:
        for predictor in (_HORIZONTAL, _NO_PREDICTOR):
            file = _encode(pixels, predictor, level)
            if len(file) <= wanted_bytes:
                return file
            if smallest is None or len(file) < len(smallest):
                smallest = file
    assert smallest is not None
    return smallest


def _encode(pixels: np.ndarray, predictor: int, level: int) -> bytes:
    height, width, samples = pixels.shape
    tile_height, tile_width = (min(TILE_SIZE, -(-side // _ALIGNMENT) * _ALIGNMENT) for side in (height, width))
    compress = zstandard.ZstdCompressor(level=level).compress
    tiles = []
    for top in range(0, height, tile_height):
        for left in range(0, width, tile_width):
            part = pixels[top : top + tile_height, left : left + tile_width]
            missing = ((0, tile_height - part.shape[0]), (0, tile_width - part.shape[1]), (0, 0))
            tile = np.pad(part, missing, mode="edge")
            if predictor == _HORIZONTAL:
                tile[:, 1:] -= tile[:, :-1].copy()
            tiles.append(compress(tile.tobytes()))
    values = {
        _WIDTH: [width],
        _HEIGHT: [height],
        _BITS: [8] * samples,
        _COMPRESSION: [_ZSTD],
        _PHOTOMETRIC: [2 if samples == 3 else 1],
        _SAMPLES: [samples],
        _PLANES: [1],
        _PREDICTOR: [predictor],
        _TILE_WIDTH: [tile_width],
        _TILE_HEIGHT: [tile_height],
    }
    lengths = [len(tile) for tile in tiles]
    lists = 8 * len(tiles) * (len(tiles) > 1) + 8 * (samples > 1)
    starts = _DIRECTORY_BYTES + lists + np.cumsum([0, *lengths[:-1]])
    head = _directory({**values, _OFFSETS: starts.tolist(), _LENGTHS: lengths})
    return b"".join([head, *tiles])


def _directory(values: dict[int, list[int]]) -> bytes:
    """Serialises the header, the directory, and the values that do not fit into the directory's entries.

    ``values`` maps each tag to its list of values.
    """
    entries, lists = b"", b""
    for tag, kind in _TAGS:
        packed = struct.pack(f"<{len(values[tag])}{_FORMAT[kind]}", *values[tag])
        if len(packed) > 4:
            packed += bytes(-len(packed) % 4)
            place = struct.pack("<I", _DIRECTORY_BYTES + len(lists))
            lists += packed
            packed = place
        entries += _ENTRY.pack(tag, kind, len(values[tag]), packed)
    return _HEAD.pack(_BEGIN, 8, len(_TAGS)) + entries + bytes(4) + lists


def head_bytes(height: int, width: int) -> int:
    """Upper bound on the offset of the first tile in a file written by :func:`encode_tiled`."""
    tiles = -(-height // TILE_SIZE) * -(-width // TILE_SIZE)
    return _DIRECTORY_BYTES + 8 + 8 * tiles


class TiledImage:
    """An opened file that :func:`encode_tiled` wrote. Opening checks the directory and does not read any tile.

    Safe to use from several threads. ``data`` may be any one-dimensional buffer of bytes. If it is a mapped file, only
    the pages of the directory and of the tiles that are read are loaded.
    """

    def __init__(self, data: bytes | np.ndarray) -> None:
        """Checks the directory in ``data``. Raises :class:`BadTiles` if it is not valid."""
        self._data = memoryview(data)  # type: ignore[arg-type]
        values = self._values()
        if (values[_COMPRESSION], values[_PLANES]) != (_ZSTD, 1):
            raise BadTiles("a compression or layout that this project does not write")
        self.width, self.height = values[_WIDTH], values[_HEIGHT]
        self._samples, self._predicted = values[_SAMPLES], values[_PREDICTOR] == _HORIZONTAL
        if self._samples not in (1, 3) or values[_PREDICTOR] not in (_NO_PREDICTOR, _HORIZONTAL):
            raise BadTiles(f"{self._samples} channels, predictor {values[_PREDICTOR]}")
        self._tile = values[_TILE_HEIGHT], values[_TILE_WIDTH]
        if any(not 0 < side <= MAX_TILE_SIZE or side % _ALIGNMENT for side in self._tile):
            raise BadTiles(f"tiles of {self._tile[1]}×{self._tile[0]} pixels")
        self._shape = (*self._tile, self._samples)
        self._tile_bytes = math.prod(self._shape)
        if not 0 < self.width * self.height <= MAX_PIXELS:
            raise BadTiles(f"{self.width}×{self.height} pixels")
        self._across = -(-self.width // self._tile[1])
        num_tiles = self._across * -(-self.height // self._tile[0])
        self._offsets, self._lengths = self._list(_OFFSETS), self._list(_LENGTHS)
        if len(self._offsets) != num_tiles or len(self._lengths) != num_tiles:
            raise BadTiles(f"{len(self._offsets)} tiles instead of {num_tiles}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the image as an array: (height, width, 3)."""
        return self.height, self.width, 3

    def read(self, windows: np.ndarray, outs: list[np.ndarray]) -> None:
        """Reads K windows into arrays.

        ``windows`` is (K, 4): top, left, height, width. ``outs`` are K uint8 arrays (H, W, 3); where an array is larger
        than its window, the rest is left unchanged. Raises :class:`BadTiles` if a window extends outside the image or a
        tile is damaged.
        """
        # Tile by tile, not window by window: a tile is copied to all its windows while it is in the processor's
        # cache, and only one decoded tile is in memory at a time.
        sharing: dict[int, list[tuple[list[int], np.ndarray]]] = {}
        for window, out in zip(windows.tolist(), outs, strict=True):
            _, _, height, width = window
            if out.shape[0] < height or out.shape[1] < width or out.shape[2] != 3:
                raise ValueError(f"window {height}×{width} into an array of shape {out.shape}")
            for number in self._touched(window):
                sharing.setdefault(number, []).append((window, out))
        for number, touching in sharing.items():
            tile = self._decompress(number)
            for window, out in touching:
                _copy(tile, self._predicted, *divmod(number, self._across), *window, out)

    def read_all(self) -> np.ndarray:
        """Returns the whole image, (height, width, 3) uint8."""
        pixels = np.empty((self.height, self.width, 3), np.uint8)
        self.read(np.array([(0, 0, self.height, self.width)]), [pixels])
        return pixels

    def bytes_touched(self, windows: np.ndarray) -> int:
        """Returns how many bytes :meth:`read` reads from the file for ``windows``, (K, 4): top, left, height, width."""
        numbers = {number for window in windows.tolist() for number in self._touched(window)}
        listed = 8 * len(self._offsets) + _DIRECTORY_BYTES
        return listed + sum(int(self._lengths[number]) for number in numbers)

    def byte_ranges(self, windows: np.ndarray) -> np.ndarray:
        """Returns the byte range of each tile that :meth:`read` reads for ``windows``, (K, 4).

        The result is (n, 2) int64: start and end of each range in the file.
        """
        numbers = sorted({n for window in windows.tolist() for n in self._touched(window)})
        starts, lengths = self._offsets[numbers], self._lengths[numbers]
        return np.stack([starts, starts.astype(np.int64) + lengths], axis=1).astype(np.int64)

    @property
    def first_tile(self) -> int:
        """Offset of the first tile in the file. Header, directory and lists come before it."""
        return int(self._offsets.min())

    def _touched(self, window: list[int]) -> list[int]:
        """Returns the indices of the tiles that ``window``, (top, left, height, width), overlaps."""
        top, left, height, width = window
        bottom, right = top + height, left + width
        if not (0 <= top < bottom <= self.height and 0 <= left < right <= self.width):
            raise BadTiles(f"a window {top, left, height, width} outside the image")
        tile_height, tile_width = self._tile
        return [
            row * self._across + column
            for row in range(top // tile_height, -(-bottom // tile_height))
            for column in range(left // tile_width, -(-right // tile_width))
        ]

    def _values(self) -> dict[int, int]:
        """Reads the directory. Returns each tag's value or, for a tag with several, the offset of the first."""
        if len(self._data) < _DIRECTORY_BYTES:
            raise BadTiles("cut off in the directory")
        if _HEAD.unpack_from(self._data) != (_BEGIN, 8, len(_TAGS)):
            raise BadTiles("not a tiled TIFF of this layout")
        self._entries = dict[int, tuple[int, bytes]]()
        values = {}
        for place, (tag, kind) in enumerate(_TAGS):
            found = _ENTRY.unpack_from(self._data, _HEAD.size + place * _ENTRY.size)
            if found[:2] != (tag, kind) or (tag not in _LISTS and found[2] != 1):
                raise BadTiles(f"tag {found[0]} instead of tag {tag}")
            self._entries[tag] = found[2], found[3]
            values[tag] = struct.unpack_from("<" + _FORMAT[kind], found[3])[0]
        return values

    def _list(self, tag: int) -> np.ndarray:
        count, inline = self._entries[tag]
        if count == 1:
            return np.frombuffer(inline, "<u4")
        (start,) = struct.unpack("<I", inline)
        if start + 4 * count > len(self._data):
            raise BadTiles(f"the list of tag {tag} is outside the file")
        return np.frombuffer(self._data, "<u4", count, start)

    def _decompress(self, number: int) -> np.ndarray:
        start, length = int(self._offsets[number]), int(self._lengths[number])
        if start + length > len(self._data):
            raise BadTiles(f"tile {number} is outside the file")
        part = self._data[start : start + length]
        try:
            size = zstandard.frame_content_size(part)  # an untrusted size, which the decompressor would allocate
            if size != self._tile_bytes:
                raise BadTiles(f"tile {number}: {size} bytes, not the {self._tile_bytes} of a tile")
            content = _decompressor().decompress(part, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise BadTiles(f"tile {number}: {error}") from error
        return np.ndarray(self._shape, np.uint8, content)


_OF_THREAD = threading.local()


def _decompressor() -> zstandard.ZstdDecompressor:
    """Returns this thread's decompressor. Reusing it saves about a tenth of the time that four crops take."""
    found = getattr(_OF_THREAD, "decompressor", None)
    if found is None:
        found = _OF_THREAD.decompressor = zstandard.ZstdDecompressor()
    return found


@cached
def _copy(
    tile: Any, predicted: bool, tile_row: int, tile_column: int, top: int, left: int, height: int, width: int, out: Any
) -> None:
    """Copies the intersection of a tile (h, w, 1 or 3) and a window to the window's array ``out`` (H, W, 3).

    Two things save time. The three channels are summed in parallel (modulo 256, to undo the predictor), which halves
    the time. The indices are unsigned, so Numba need not handle negative ones, which saves a quarter.
    """
    zero, one, two = np.uintp(0), np.uintp(1), np.uintp(2)
    last = np.uintp(tile.shape[2] - 1)  # for grey, all three are the same channel
    second, third = min(one, last), min(two, last)
    y0, x0 = tile_row * tile.shape[0], tile_column * tile.shape[1]
    first, begin = np.uintp(max(top - y0, 0)), np.uintp(max(left - x0, 0))
    stop, end = np.uintp(min(top + height - y0, tile.shape[0])), np.uintp(min(left + width - x0, tile.shape[1]))
    down, across = np.uintp(max(y0 - top, 0)), np.uintp(max(x0 - left, 0))
    for y in range(first, stop):
        red = green = blue = np.uint8(0)
        if predicted:
            for x in range(begin):
                red += tile[y, x, zero]
                green += tile[y, x, second]
                blue += tile[y, x, third]
        for x in range(begin, end):
            red = tile[y, x, zero] + (red if predicted else np.uint8(0))
            green = tile[y, x, second] + (green if predicted else np.uint8(0))
            blue = tile[y, x, third] + (blue if predicted else np.uint8(0))
            out[y - first + down, x - begin + across, zero] = red
            out[y - first + down, x - begin + across, one] = green
            out[y - first + down, x - begin + across, two] = blue
