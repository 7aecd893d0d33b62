"""How long the scan of a JPEG would be with the standard's Huffman tables.

Optimised tables make the same pixels a tenth smaller, those of small or smooth images a third, and
no pixel shows it. So that files are compared by what they show, their lengths are put on one scale.
The tables alone suffice for that: an optimised code is as long as its symbol is rare, so a table
says how often each symbol comes, and how rare the end-of-block symbol is, which a block has once,
says how many come.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image

from shards.jpeg.header import JpegHeader
from shards.jpeg.header_parser import read_header

__all__ = ["standard_scale", "standard_tables"]

_AC = 16
_LONGEST = 16
_OPTIMISED = 0.993  # the median of 120 files: integer lengths of codes make shares a little uneven
# These have no tables that say as much: what is usual, photographs at 50 to 96 within five percent.
_PROGRESSIVE, _ARITHMETIC = 1.06, 1.12


@lru_cache(maxsize=1)
def standard_tables() -> dict[int, bytes]:
    """``class << 4 | number`` → the Huffman table of the standard (annex K.3): how many codes have
    1 … 16 bits, then the symbols. As libjpeg writes them."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    data = buffer.getvalue()
    tables = read_header(data).huffman_tables
    return {number: data[at + 1 : at + length] for number, (at, length) in tables.items()}


def standard_scale(data: bytes, header: JpegHeader) -> float:
    """The factor from the entropy-coded bytes of the JPEG ``data`` to about the number of bytes that the standard's
    Huffman tables would take; 1 for a file that uses those.

    The error has a standard deviation of 1 to 3 percent for optimised tables, and of 5 for progressive files.
    """
    if header.arithmetic:
        return _ARITHMETIC
    if header.progressive:
        return _PROGRESSIVE
    own = standard = 0.0
    is_standard = True
    scan = header.scan
    for place, dc, ac in zip(scan.components, scan.dc_tables, scan.ac_tables, strict=True):
        blocks = header.components[place].h * header.components[place].v
        chroma = int(place in (1, 2))
        for number in (dc, _AC | ac):
            at, length = header.huffman_tables.get(number, (0, 0))
            # Frames without tables have the standard's, of which there are two of each class.
            table = data[at + 1 : at + length] if length else standard_tables()[number & 17]
            is_standard &= table in standard_tables().values()
            usual = standard_tables()[number & _AC | chroma]
            mine, theirs = _expected_bits(table, usual, blocks, ends_block=bool(number & _AC))
            own, standard = own + mine, standard + theirs
    return 1.0 if is_standard or not own else _OPTIMISED * standard / own


def _expected_bits(table: bytes, usual: bytes, blocks: int, ends_block: bool) -> tuple[float, float]:
    """Bits of this many blocks by ``table``, and by ``usual``, with the bits that follow symbols."""
    lengths = _lengths(table)
    share = np.where(lengths > 0, 0.5**lengths, 0.0)
    share /= max(share.sum(), 1e-9)
    # Of DC a block has one symbol; of AC it has one that ends it, 0, whose share says how many.
    count = blocks / max(share[0], 1e-4) if ends_block else blocks
    extra = np.arange(256) & 15
    return (float(count * (share * (lengths + extra)).sum()), float(count * (share * (_lengths(usual) + extra)).sum()))


def _lengths(table: bytes) -> np.ndarray:
    """Bits of the code of each of 256 symbols, 0 for one that has none."""
    lengths = np.zeros(256)
    codes = np.repeat(np.arange(1, _LONGEST + 1), list(table[:_LONGEST]))
    symbols = np.frombuffer(table[_LONGEST : _LONGEST + len(codes)], np.uint8)
    lengths[symbols] = codes[: len(symbols)]
    return lengths
