"""Pillow's ``resize`` in compiled code: the same result, bit for bit, in a fraction of the time.

The integer arithmetic is Pillow's: filter weights are 22-bit fixed-point numbers. An image is first resized
horizontally and rounded to 8 bits, then resized vertically. Pillow processes one pixel at a time. When resizing
horizontally, the code here multiplies 16 values by a weight in one step: four adjacent bytes (a pixel and the red value
of the next) in each of four rows. When resizing vertically, it relies on the compiler to vectorise the loop.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from shards.jpeg.kernel_cache import cached

__all__ = ["filter_weights", "resample_columns", "resample_rows", "resampled"]

Pixels = npt.NDArray[np.uint8]
Weights = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Filter weights for resizing one axis to ``target`` pixels, as a pair of arrays. The first array, (target, 2), has two
numbers for each target pixel: the index of the first contributing source pixel, and the number of contributing source
pixels. The second array, (target, K), has the fixed-point weights of these source pixels; K is at least the largest
number of contributing pixels."""

_PRECISION_BITS = 22
_HALF = 1 << (_PRECISION_BITS - 1)
_ROWS = 4


def resampled(pixels: Pixels, size: tuple[int, int], part: tuple[int, int, int, int], cubic: bool = False) -> Pixels:
    """Resizes ``pixels``, (H, W, 3), to ``size`` (height, width). Returns only ``part`` (top, left, height, width).

    Only that part is computed. Must not be used if ``columns_come_first`` is true for the sizes, because Pillow's
    result then differs. ``pixels`` may have gaps between rows in memory, so it may be a view of part of a larger image.
    """
    top, left, height, width = part
    if pixels.strides[1:] != (3, 1):
        pixels = np.ascontiguousarray(pixels)
    columns, column_weights = filter_weights(pixels.shape[1], size[1], cubic)
    rows, row_weights = filter_weights(pixels.shape[0], size[0], cubic)
    rows, row_weights = rows[top : top + height], row_weights[top : top + height]
    first, last = rows[0, 0], rows[-1].sum()
    rows[:, 0] -= first
    narrow = np.empty((last - first, 3 * width), np.uint8)
    across = columns[left : left + width], column_weights[left : left + width]
    resample_rows(pixels[first:last], across, narrow)
    out = np.empty((height, 3 * width), np.uint8)
    resample_columns(narrow, rows, row_weights, out)
    return out.reshape(height, width, 3)


def resample_rows(pixels: Pixels, weights: Weights, out: Pixels) -> None:
    """Resizes each row of ``pixels`` to the width of ``out``, and writes the rows to ``out``.

    ``pixels`` is (R, W, 3), contiguous within each row; ``out`` is (R, 3 × new width), contiguous.
    """
    num_rows, width = pixels.shape[:2]
    source = pixels.__array_interface__["data"][0]
    target, pitch = out.__array_interface__["data"][0], out.shape[1]
    # A pixel is read together with the next byte, which may not exist after the last row.
    inner = max(num_rows - 1, 0) // _ROWS * _ROWS
    _resample_rows(source, pixels.strides[0], inner, *weights, target, pitch)
    last = np.zeros((_ROWS + 1, 3 * width), np.uint8)
    last[: num_rows - inner] = pixels[inner:].reshape(-1, 3 * width)
    small = np.empty((_ROWS, pitch), np.uint8)
    _resample_rows(
        last.__array_interface__["data"][0], 3 * width, _ROWS, *weights, small.__array_interface__["data"][0], pitch
    )
    out[inner:] = small[: num_rows - inner]


@cached
def filter_weights(source: int, target: int, cubic: bool) -> Any:
    """Computes ``Weights`` exactly as Pillow's ``precompute_coeffs`` does for its bilinear or bicubic filter."""
    scale = source / target
    widened = max(scale, 1.0)
    support = 2.0 * widened if cubic else widened
    starts = np.zeros((target, 2), np.int32)
    weights = np.zeros((target, int(np.ceil(support)) * 2 + 1), np.int32)
    values = np.zeros(weights.shape[1], np.float64)
    for out in range(target):
        center = (out + 0.5) * scale
        start = max(0, int(center - support + 0.5))
        count = min(source, int(center + support + 0.5)) - start
        total = 0.0
        for i in range(count):
            x = abs((i + start - center + 0.5) * (1.0 / widened))
            value = 0.0
            if not cubic:
                if x < 1.0:
                    value = 1.0 - x
            elif x < 1.0:
                value = ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
            elif x < 2.0:
                value = (((x - 5) * x + 8) * x - 4) * -0.5
            values[i] = value
            total += value
        for i in range(count):
            weight = values[i] / total if total != 0.0 else values[i]
            half = -0.5 if weight < 0 else 0.5
            weights[out, i] = int(half + weight * (1 << _PRECISION_BITS))
        starts[out, 0], starts[out, 1] = start, count
    return starts, weights


@intrinsic
def _four_rows(typing_context: Any, source: Any, pitch: Any, weights: Any, count: Any, out: Any, out_pitch: Any) -> Any:
    """Computes one pixel at the address ``out``, and the pixels in the same column of the next three rows.

    Each pixel is the weighted sum of ``count`` consecutive source pixels, starting at the address ``source``, rounded
    to 8 bits. The int32 weights are at the address ``weights``. ``pitch`` and ``out_pitch`` are the distances between
    rows in bytes, in the source and in the output.
    """
    byte, word = ir.IntType(8), ir.IntType(32)
    four_words, levels, values = (
        ir.VectorType(word, _ROWS),
        ir.VectorType(byte, 4 * _ROWS),
        ir.VectorType(word, 4 * _ROWS),
    )

    def splat(value: int) -> Any:
        return ir.Constant(values, [value] * 4 * _ROWS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, apart, weight_address, number, target, target_apart = arguments
        rows = [first]
        for _ in range(_ROWS - 1):
            rows.append(builder.add(rows[-1], apart))
        total = cgutils.alloca_once_value(builder, splat(_HALF))
        with cgutils.for_range(builder, number) as loop:
            at, weight_at = (builder.mul(loop.index, ir.Constant(loop.index.type, step)) for step in (3, 4))
            pixels = ir.Constant(four_words, ir.Undefined)
            for lane, row in enumerate(rows):
                pixel = builder.load(builder.inttoptr(builder.add(row, at), word.as_pointer()), align=1)
                pixels = builder.insert_element(pixels, pixel, ir.Constant(word, lane))
            weight = builder.load(builder.inttoptr(builder.add(weight_address, weight_at), word.as_pointer()))
            weight = builder.insert_element(ir.Constant(values, ir.Undefined), weight, ir.Constant(word, 0))
            weight = builder.shuffle_vector(weight, ir.Constant(values, ir.Undefined), splat(0))
            product = builder.mul(builder.zext(builder.bitcast(pixels, levels), values), weight)
            builder.store(builder.add(builder.load(total), product), total)
        value = builder.ashr(builder.load(total), splat(_PRECISION_BITS))
        for limit, outside in ((splat(0), "<"), (splat(255), ">")):
            value = builder.select(builder.icmp_signed(outside, value, limit), limit, value)
        value = builder.trunc(value, levels)
        for lane in range(0, 4 * _ROWS, 4):  # the fourth value of each row belongs to another pixel
            two = builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(word, 2), [lane, lane + 1]))
            third = builder.extract_element(value, ir.Constant(word, lane + 2))
            builder.store(two, builder.inttoptr(target, two.type.as_pointer()), align=1)
            behind = builder.add(target, ir.Constant(target.type, 2))
            builder.store(third, builder.inttoptr(behind, byte.as_pointer()))
            target = builder.add(target, target_apart)
        return context.get_dummy_value()

    wide = types.int64
    return types.void(wide, wide, wide, wide, wide, wide), generate


@cached
def _resample_rows(source: int, pitch: int, num_rows: int, starts: Any, weights: Any, out: int, out_pitch: int) -> None:
    """Resizes horizontally: reads ``num_rows`` rows at the address ``source``, and writes them to the address ``out``.

    ``num_rows`` must be a multiple of four. ``pitch`` and ``out_pitch`` are the distances between rows in bytes, in the
    source and in the output.
    """
    for row in range(0, num_rows, _ROWS):
        for x in range(starts.shape[0]):
            _four_rows(
                source + row * pitch + 3 * np.int64(starts[x, 0]),
                pitch,
                weights[x].ctypes.data,
                np.int64(starts[x, 1]),
                out + row * out_pitch + 3 * x,
                out_pitch,
            )


@cached
def resample_columns(rows: Any, starts: Any, weights: Any, out: Any) -> None:
    """Resizes each column of ``rows``, (height, N) uint8, and writes the result to ``out``, (target, N)."""
    sums = np.empty(rows.shape[1], np.int32)
    for y in range(starts.shape[0]):
        sums[:] = _HALF
        for i in range(starts[y, 1]):
            weight, row = weights[y, i], rows[starts[y, 0] + i]
            for x in range(sums.shape[0]):
                sums[x] += np.int32(row[x]) * weight
        for x in range(sums.shape[0]):
            out[y, x] = min(max(sums[x] >> _PRECISION_BITS, 0), 255)
