"""Fuzzes JPEGs and entry points through building and splicing: both must handle every input without crashing.

    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(mktemp -d) python -m tests.fuzz.fuzz_jpeg --mutations 200000

Every mutation depends only on the seed and its number, and a failure names both. Both files are in buffers that end at
an unreadable page, so any read beyond them crashes the process even if bounds are not checked. With
``NUMBA_BOUNDSCHECK=1``, deliberate out-of-bounds accesses first prove that the checks are on, because Numba's cache may
hold code that was compiled without them. Negative indices, which NumPy counts from the end, then count as out of
bounds.

For every mutation, building must return a payload or raise ``NotIndexable``, splicing must return a status, and memory
and time must stay bounded. If a mutated file decodes without a warning and has entry points, its windows must equal
that decode bit for bit.
"""

import argparse
import ctypes
import mmap
import struct
import sys
import time
import zlib
from collections import Counter

import numpy as np
import simplejpeg
from numba import config, njit
from numba.np import arrayobj

import shards.jpeg.numba_support
from shards.jpeg.entry_points import (
    HEADER,
    IDENTITY_SCAN_BYTES,
    REFERENCE_OFFSET_BITS,
    NotIndexable,
    build_entry_points,
)
from shards.jpeg.header_parser import read_header
from shards.jpeg.ranges import frame_geometry, read_head
from shards.jpeg.splice.splicer import STATUS_REASONS, Splicer
from tests.images.jpeg_variants import NEED_CJPEG, VARIANTS, have_cjpeg, photograph

__all__ = ["Fuzzer", "prove_checks"]

LONGEST_S = 5.0  # maximum CPU time of one mutation; the files have a few kilobytes


class GuardedBuffer:
    """A buffer whose contents end at an unreadable page, so that reading beyond them crashes the process."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self._size = -(-size // page) * page
        self._map = mmap.mmap(-1, self._size + page)
        self._bytes = np.frombuffer(self._map, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        guard = ctypes.c_void_p(self._bytes.ctypes.data + self._size)
        if libc.mprotect(guard, ctypes.c_size_t(page), 0):  # PROT_NONE
            raise OSError(ctypes.get_errno(), "mprotect")

    def put(self, data: bytes) -> np.ndarray:
        """Copies ``data`` to the end of the buffer. Returns an array that is a view of the copy."""
        view = self._bytes[self._size - len(data) : self._size]
        view[:] = np.frombuffer(data, np.uint8)
        return view


def prove_checks() -> None:
    """Ends the program unless compiled code raises ``IndexError`` for planted accesses before and beyond an array."""

    @njit
    def read(array, at):  # type: ignore[no-untyped-def]
        return array[at]

    @njit
    def write(array, at):  # type: ignore[no-untyped-def]
        array[at] = 0

    @njit
    def read_word(array, at):  # type: ignore[no-untyped-def]
        return shards.jpeg.numba_support.load_word(array, at)

    @njit
    def write_view(address, length, at):  # type: ignore[no-untyped-def]
        view = shards.jpeg.numba_support.bytes_at(address, length)
        view[at] = 1

    array = np.zeros(16, np.uint8)
    address, length = np.uint64(array.ctypes.data), np.uint64(8)
    planted = {
        "read beyond": lambda: read(array, 16),
        "write beyond": lambda: write(array, np.uint64(16)),
        "read before": lambda: read(array, -1),
        "unsigned underflow": lambda: read(array, np.uint64(2**64 - 1)),
        "word across the end": lambda: read_word(array, np.uint64(9)),
        "write beyond a view": lambda: write_view(address, length, 8),
        "write before a view": lambda: write_view(address, length, -1),
    }
    for what, run in planted.items():
        try:
            run()
        except IndexError:
            continue
        raise SystemExit(f"bounds are not checked: {what} went unnoticed")
    if array.any():
        raise SystemExit("a planted write reached memory")


def forbid_negative_indices() -> None:
    """Makes Numba's bounds checks reject negative indices, which it would otherwise count from the end."""

    def fix_integer_index(context, builder, index_type, index, size):  # type: ignore[no-untyped-def]
        to = arrayobj.types.intp if index_type.signed else arrayobj.types.uintp
        return context.cast(builder, index, index_type, to)

    arrayobj.fix_integer_index = fix_integer_index


def reference_lengths(jpeg: bytes, mcu: bytes) -> list[tuple[int, int]]:
    """Returns (offset, length) of each segment of the JPEG's header to which the entry points ``mcu`` refer. The length
    is the number of bytes that the splice reads there."""
    parts = []
    for (word,) in struct.iter_unpack("<I", mcu[HEADER.size : HEADER.size + 4 * mcu[6]]):
        kind, at = word >> REFERENCE_OFFSET_BITS, word & ((1 << REFERENCE_OFFSET_BITS) - 1)
        part = jpeg[at : at + 300]
        length = 2
        if kind == 0:
            length = 9 + 3 * part[8]
        elif kind == 1:
            length = 4 + 2 * part[0]
        elif kind in (2, 3):
            length = 14 if kind == 2 else 12
        elif kind == 4:
            length = 129 if part[0] >= 16 else 65
        elif kind == 5:
            length = 17 + sum(part[1:17])
        parts.append((at, length))
    return parts


def reseal(jpeg: bytes, mcu: bytes) -> bytes:
    """Returns ``mcu`` with checksums that match ``jpeg`` and its own header, so that the splice does not refuse it."""
    if len(mcu) < HEADER.size or len(mcu) < HEADER.size + 4 * mcu[6]:
        return mcu
    fixed = bytearray(mcu)
    struct.pack_into("<I", fixed, 8, len(jpeg))
    start, length = struct.unpack_from("<II", mcu, 12)
    identity = 0
    try:
        for at, size in reference_lengths(jpeg, mcu):
            identity = zlib.crc32(jpeg[at : at + size], identity)
    except IndexError:
        return mcu
    head = min(IDENTITY_SCAN_BYTES, length)
    struct.pack_into("<I", fixed, 20, zlib.crc32(jpeg[start : start + head], identity))
    end = HEADER.size + 4 * mcu[6]
    check = zlib.crc32(fixed[HEADER.size : end], zlib.crc32(fixed[: HEADER.size - 4]))
    struct.pack_into("<I", fixed, HEADER.size - 4, check)
    return bytes(fixed)


def mutate(rng: np.random.Generator, data: bytes, low: int, high: int) -> bytes:
    """Returns ``data`` with a few bytes of ``data[low:high]`` changed, or a part cut, doubled or moved."""
    if high <= low:
        return data
    result = bytearray(data)
    kind = rng.integers(0, 10)
    if kind < 7:
        for place in rng.integers(low, high, 1 + int(rng.exponential(2))):
            if rng.random() < 0.5:
                result[place] ^= 1 << rng.integers(0, 8)
            else:
                result[place] = rng.choice([0, 1, 0x7F, 0x80, 0xD0, 0xFF, rng.integers(0, 256)])
        return bytes(result)
    first, last = sorted(int(place) for place in rng.integers(low, high, 2))
    if kind == 7:
        del result[first : min(last, first + 40)]
    elif kind == 8:
        result[first:first] = data[first : min(last, first + 40)]
    else:
        del result[first:]
    return bytes(result)


class Fuzzer:
    """Holds the JPEGs and entry points to mutate, and counts the outcomes of the mutations."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.longest_s = 0.0
        self._splicers = [Splicer(False), Splicer(True)]
        self._buffers = [GuardedBuffer(1 << 18), GuardedBuffer(1 << 18)]
        self._files: list[tuple[bytes, bytes]] = []
        for number, (name, encode) in enumerate(VARIANTS.items()):
            if name not in NEED_CJPEG or have_cjpeg():
                jpeg = encode(photograph(33 + 5 * (number % 7), 40 + 9 * (number % 5), number))
                self._files.append((jpeg, build_entry_points(jpeg, 200 + 100 * (number % 4))))
        window = np.array([[0, 0, 8, 8]])  # compiles now, outside the time of a mutation
        for splicer in self._splicers:
            jpeg, mcu = self._files[0]
            splicer.splice(np.frombuffer(jpeg, np.uint8), np.frombuffer(mcu, np.uint8), window)

    def run(self, number: int) -> None:
        """Runs mutation ``number``. Raises if anything happens that is not allowed."""
        rng = np.random.default_rng([self.seed, number])
        jpeg, mcu = self._files[rng.integers(len(self._files))]
        header = read_header(jpeg)
        start = header.scan_start
        kinds = ["header", "scan", "index", "entries", "both", "foreign"]
        kind = rng.choice(kinds, p=[0.2, 0.2, 0.15, 0.25, 0.15, 0.05])
        self.counts[f"mutated: {kind}"] += 1
        if kind in ("header", "both"):
            jpeg = mutate(rng, jpeg, 0, start)
        if kind in ("scan", "both"):
            jpeg = mutate(rng, jpeg, start, len(jpeg))
        if kind in ("index", "both"):
            mcu = mutate(rng, mcu, 0, HEADER.size + 4 * mcu[6])
        if kind == "entries":
            mcu = mutate(rng, mcu, HEADER.size + 4 * mcu[6], len(mcu))
        if kind == "foreign":
            mcu = self._files[rng.integers(len(self._files))][1]
        if rng.random() < 0.95:
            mcu = reseal(jpeg, mcu)
        began = time.thread_time()
        self._splice(rng, jpeg, mcu, header.height, header.width)
        self._read(jpeg, mcu)
        if kind in ("header", "scan", "both"):
            self._build(rng, jpeg)
        self.longest_s = max(self.longest_s, time.thread_time() - began)
        assert self.longest_s < LONGEST_S, f"took {self.longest_s:.1f} s"

    def _windows(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        windows = rng.integers(0, [height, width, height, width], (3, 4))
        windows += np.array([0, 0, 1, 1])
        windows[:, 2] = np.minimum(windows[:, 2], height - windows[:, 0])
        windows[:, 3] = np.minimum(windows[:, 3], width - windows[:, 1])
        if rng.random() < 0.1:
            windows[2] = rng.integers(-(2**31), 2**31, 4)
        return windows

    def _splice(self, rng: np.random.Generator, jpeg: bytes, mcu: bytes, height: int, width: int) -> None:
        data, index = (b.put(d) for b, d in zip(self._buffers, (jpeg, mcu), strict=True))
        windows = self._windows(rng, height, width)
        spliced = self._splicers[rng.integers(2)].splice(data, index, windows)
        assert np.all((spliced.status >= 0) & (spliced.status < len(STATUS_REASONS)))
        assert np.all(np.diff(spliced.offsets) >= 0)
        assert np.all(np.diff(spliced.offsets) < 2 * len(jpeg) + 64 * 1024)
        assert spliced.data.size < 64 * (len(jpeg) + 64 * 1024)
        for status in spliced.status:
            self.counts[f"spliced: {STATUS_REASONS[status]}"] += 1

    def _read(self, jpeg: bytes, mcu: bytes) -> None:
        """Reads the entry points as range requests do, and asserts that they are refused or yield positions inside the
        file."""
        data, index = np.frombuffer(jpeg, np.uint8), np.frombuffer(mcu, np.uint8)
        head = read_head(index, len(jpeg))
        if head is None:
            self.counts["read: refused"] += 1
            return
        positions = head.positions(index, np.array([0, head.entries // 2, head.entries - 1]))
        assert np.all((positions >= head.scan_start) & (positions <= head.scan_end) & (head.scan_end <= len(jpeg)))
        frame_geometry(data, head)

    def _build(self, rng: np.random.Generator, jpeg: bytes) -> None:
        try:
            mcu = build_entry_points(jpeg, 300)
        except NotIndexable as error:
            self.counts[f"built: {error.reason}"] += 1
            return
        self.counts["built: ok"] += 1
        space = {1: "GRAY", 4: "CMYK"}.get(len(read_header(jpeg).components), "RGB")
        try:
            full = simplejpeg.decode_jpeg(jpeg, space, strict=True)
        except ValueError:
            self.counts["compared: the whole file does not decode"] += 1
            return
        windows = self._windows(rng, *full.shape[:2])[:2]
        data = np.frombuffer(jpeg, np.uint8)
        spliced = self._splicers[0].splice(data, np.frombuffer(mcu, np.uint8), windows)
        for i, (top, left, height, width) in enumerate(windows):
            assert spliced.status[i] == 0, STATUS_REASONS[spliced.status[i]]
            small = simplejpeg.decode_jpeg(spliced.jpeg(i), space, strict=True)
            row, column = spliced.origin[i]
            crop = small[row : row + height, column : column + width]
            assert np.array_equal(crop, full[top : top + height, left : left + width])
            self.counts["compared: equal"] += 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mutations", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one mutation")
    options = parser.parse_args(arguments)
    if config.BOUNDSCHECK:
        forbid_negative_indices()
        prove_checks()
        print("bounds checks are on: every planted overrun was noticed")
    else:
        print("bounds checks are off (NUMBA_BOUNDSCHECK=1 turns them on)")
    fuzzer = Fuzzer(options.seed)
    numbers = range(options.mutations) if options.only is None else [options.only]
    for number in numbers:
        try:
            fuzzer.run(number)
        except BaseException:
            print(f"FAILED: --seed {options.seed} --only {number}", file=sys.stderr)
            raise
    for what, count in sorted(fuzzer.counts.items()):
        print(f"{count:9d}  {what}")
    print(f"{len(numbers)} mutations, the longest took {fuzzer.longest_s * 1e3:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
