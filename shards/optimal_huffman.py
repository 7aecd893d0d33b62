"""Huffman codes for a JPEG, made to measure for its symbols."""

import heapq

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_CODE_BITS", "Code", "optimal_code"]

MAX_CODE_BITS = 16
Code = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""(code, its length in bits) of every symbol; length 0 where a symbol has none."""


def optimal_code(counts: npt.NDArray[np.int64]) -> Code:
    """(code, its length) of every symbol, length 0 where it is not used.

    Huffman's, shortened to 16 bits as in annex K.2 of the standard, with the code of all ones left
    free.
    """
    symbols = sorted(np.flatnonzero(counts).tolist(), key=lambda s: (-int(counts[s]), s))
    if not symbols:
        return np.zeros(len(counts), np.int64), np.zeros(len(counts), np.int64)
    per_length = _limited(_depths([*(int(counts[s]) for s in symbols), 1]))
    by_length = [length for length, number in enumerate(per_length) for _ in range(number)]
    values, lengths = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.int64)
    value, previous = 0, 0
    # The last and longest code is that of the extra symbol: all ones, and nobody's.
    for symbol, length in zip(symbols, by_length[:-1], strict=True):
        value <<= length - previous
        values[symbol], lengths[symbol] = value, length
        value, previous = value + 1, length
    return values, lengths


def _depths(weights: list[int]) -> list[int]:
    """How many leaves of a Huffman tree lie at each depth."""
    heap: list[tuple[int, int, list[int]]] = [
        (weight, place, [0]) for place, weight in enumerate(weights)
    ]
    heapq.heapify(heap)
    place = len(heap)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        leaves = [depth + 1 for depth in first[2] + second[2]]
        heapq.heappush(heap, (first[0] + second[0], place, leaves))
        place += 1
    leaves = heap[0][2]
    return np.bincount(leaves, minlength=MAX_CODE_BITS + 1).tolist()


def _limited(per_length: list[int]) -> list[int]:
    """Moves codes of more than 16 bits up (annex K.2, figure K.3)."""
    for length in range(len(per_length) - 1, MAX_CODE_BITS, -1):
        while per_length[length]:
            shorter = length - 2
            while not per_length[shorter]:
                shorter -= 1
            per_length[length] -= 2
            per_length[length - 1] += 1
            per_length[shorter + 1] += 2
            per_length[shorter] -= 1
    return per_length[: MAX_CODE_BITS + 1]
