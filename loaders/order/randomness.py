"""Random numbers as a pure function of (seed, epoch, content_id), the same on every machine and in every version.

Library generators may change their streams between versions, so this module implements its own: SplitMix64 (Steele, Lea
and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), driven by a counter. Draw k of a stream is
``mix64(stream + (k + 1) · GAMMA)`` modulo 2⁶⁴. A test compares the numbers with recorded ones; changing a constant here
changes every score of every trained model.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["bounded", "draws", "mix64", "stream"]

U64 = npt.NDArray[np.uint64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


def mix64(value: U64) -> U64:
    """SplitMix64's finalizer: a bijection of 64-bit words in which every input bit affects every output bit."""
    value = (value ^ (value >> np.uint64(30))) * MIX_1
    value = (value ^ (value >> np.uint64(27))) * MIX_2
    return value ^ (value >> np.uint64(31))


def stream(seed: int, epoch: int, content_id: npt.ArrayLike, purpose: int = 0) -> U64:
    """Returns one 64-bit stream per content id.

    ``content_id`` is an int64 array of any shape (at least 1-D). Streams with different ``purpose`` are uncorrelated.
    As a result, windows are independent of the sample order, and if a sample occurs several times in an epoch, its
    windows are independent each time.
    """
    state = np.full(1, seed, np.uint64)
    with np.errstate(over="ignore"):
        for word in (epoch, purpose):
            state = mix64(state + GAMMA) + np.uint64(word)
        content = np.atleast_1d(np.asarray(content_id, np.int64)).view(np.uint64)
        return mix64(mix64(state + GAMMA) + content)


def draws(streams: U64, count: int, start: int = 0) -> U64:
    """Returns the draws with indices ``start`` … ``start + count - 1`` from every stream, as an array of shape
    ``streams.shape + (count,)``."""
    with np.errstate(over="ignore"):
        steps = np.arange(start + 1, start + count + 1, dtype=np.uint64) * GAMMA
        return mix64(streams[..., None] + steps)


def bounded(draw: U64, limit: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Maps draws to 0 … limit-1 by multiply-shift on the upper 32 bits; 1 ≤ limit < 2³².

    The relative bias of a value's probability is below limit · 2⁻³², too small to show in any experiment.
    """
    return (((draw >> np.uint64(32)) * np.asarray(limit, np.uint64)) >> np.uint64(32)).astype(np.int64)
