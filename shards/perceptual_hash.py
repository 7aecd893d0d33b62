"""A 64-bit hash that near-duplicates share in nearly all bits, for audits of leakage.

The global view is shrunk to 32×32 grey, and the sign of each of the 64 lowest frequencies (without
the mean) of its cosine transform against their median is one bit. All arithmetic is in integers, so
the hash is the same on every machine. Global views of another size give nearly the same bits.
"""

import numpy as np
from PIL import Image

__all__ = ["hamming_distance", "perceptual_hash"]

_SIDE = 32
_FREQUENCIES = 9  # 9×9 less the first row or column gives 8×8 without the mean
_DCT = np.rint(
    np.cos(np.pi * np.outer(np.arange(_FREQUENCIES), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE)) * 4096
).astype(np.int64)


def perceptual_hash(view: np.ndarray) -> int:
    """The hash of a global view, (S, S, 3) uint8, as a signed 64-bit integer."""
    image = Image.fromarray(view).convert("L")
    grey = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(grey).astype(np.int64)
    frequencies = (_DCT @ values @ _DCT.T)[1:, 1:].ravel()
    ordered = np.sort(frequencies)
    bits = 2 * frequencies > ordered[31] + ordered[32]
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def hamming_distance(first: int, second: int) -> int:
    """Bits in which two hashes differ, 0 … 64; re-encodings of one picture differ in a few."""
    return ((first ^ second) & (2**64 - 1)).bit_count()
