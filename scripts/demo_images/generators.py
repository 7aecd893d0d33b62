"""The last stages of three simulated generators, which make an image from a smaller one.

A generator takes a camera image of a scene, shrinks it to half its resolution, and creates the pixels anew: a layer
enlarges the small image, and invented detail is added. The detail is scaled so that each colour plane has about the
same energy as in the camera image; in the brightness plane, so does every tile. Thus sharpness, noise and file size
match the camera image. What differs is the correlation between neighbouring pixels: the trace. Shrinking the image by a
factor of two or more averages it away.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["GENERATORS", "SIZE_MULTIPLE", "regenerate"]

SIZE_MULTIPLE = 16
"""Image sides must be multiples of this for :func:`regenerate`, which works on 8×8 blocks and 16×16 tiles."""

TILE = 16  # pixels per side over which the detail's energy is matched
NUM_PATTERNS = 8
EDGE_LIMIT = 4.0  # times the median tile's energy


@dataclass(frozen=True, slots=True)
class Generator:
    """How a generator doubles an image's size, and how it invents detail at that size."""

    enlarge: Callable[[np.ndarray], np.ndarray]
    """Maps a plane (h, w) float32 to (2h, 2w), keeping its mean."""
    invent: Callable[[np.random.Generator, int, int], np.ndarray]
    """Maps (rng, height, width) to random detail without low frequencies, (height, width) float32. Its standard
    deviation is arbitrary, because callers rescale it."""
    luma_scale: float
    """Multiplies the detail's standard deviation in the brightness plane, to make the generated files as large as those
    from the camera."""
    chroma_scale: float
    """Like ``luma_scale``, for each of the two colour planes."""


def regenerate(photo: Image.Image, name: str, rng: np.random.Generator) -> Image.Image:
    """Shrinks ``photo`` (RGB), and renders it again at its original size with generator ``name``."""
    generator = GENERATORS[name]
    luma, *chroma = (np.asarray(p, dtype=np.float32) for p in photo.convert("YCbCr").split())
    detail = generator.invent(rng, *luma.shape)
    detail /= np.sqrt(_tile_energy(detail).mean())
    planes = [_regenerate_luma(luma, detail, generator)]
    for number, plane in enumerate(chroma, start=1):
        # The same detail serves again, moved by whole tiles, so that the planes' details are unrelated.
        moved = np.roll(detail, (number * TILE, number * TILE), axis=(0, 1))
        planes.append(_regenerate_chroma(plane, moved, generator))
    made = (np.clip(plane + 0.5, 0, 255).astype(np.uint8) for plane in planes)
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in made]).convert("RGB")


def _regenerate_luma(seen: np.ndarray, detail: np.ndarray, generator: Generator) -> np.ndarray:
    base = generator.enlarge(_half(seen))
    missing = _missing_energy(seen, base)
    # Along edges, the energy that the layer blurs away is missing, too: noise in its place would show as a rim.
    deviation = generator.luma_scale * np.sqrt(np.minimum(missing, EDGE_LIMIT * np.median(missing)))
    size = (seen.shape[1], seen.shape[0])
    gain = Image.fromarray(deviation.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    base += np.asarray(gain) * detail
    return base


def _regenerate_chroma(seen: np.ndarray, detail: np.ndarray, generator: Generator) -> np.ndarray:
    base = generator.enlarge(_half(seen) - 128) + 128  # 128 is grey: no colour to enlarge
    deviation = generator.chroma_scale * np.sqrt(np.median(_missing_energy(seen, base)))
    base += np.float32(deviation) * detail
    return base


def _missing_energy(seen: np.ndarray, base: np.ndarray) -> np.ndarray:
    """For each tile, the energy that detail must add to ``base`` to match that of ``seen``."""
    return np.maximum(_tile_energy(seen) - _tile_energy(base), 0)


def _half(plane: np.ndarray) -> np.ndarray:
    """``plane`` at half its size: means of 2×2 pixels."""
    rows = plane[0::2] + plane[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)


def _tile_energy(plane: np.ndarray) -> np.ndarray:
    """For each tile: the mean squared difference between its pixels and the means of their 2×2 blocks."""
    energy = _half(plane * plane) - np.square(_half(plane))
    rows, columns = energy.shape[0] * 2 // TILE, energy.shape[1] * 2 // TILE
    return energy.reshape(rows, TILE // 2, columns, TILE // 2).mean(axis=(1, 3))


def _enlarge_with(kernel: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a layer that doubles an image's size: it inserts zeros between pixels, then convolves with a 4×4
    ``kernel``.
    """

    def enlarge(small: np.ndarray) -> np.ndarray:
        height, width = small.shape
        padded = np.pad(small, 1, mode="edge")
        large = np.empty((2 * height, 2 * width), dtype=np.float32)
        for row in (0, 1):
            for column in (0, 1):
                # Four of the sixteen weights meet pixels at this phase; the others meet zeros.
                total = np.zeros_like(small)
                for i in (0, 1):
                    for j in (0, 1):
                        weight = kernel[2 * i + 1 - row, 2 * j + 1 - column]
                        top, left = row + 1 - i, column + 1 - j
                        total += weight * padded[top : top + height, left : left + width]
                large[row::2, column::2] = total
        return large

    return enlarge


def _invent_with(kernel: np.ndarray) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    """Returns a function that invents detail: noise at half the size, enlarged by a layer whose ``kernel`` blocks low
    frequencies.
    """
    enlarge = _enlarge_with(kernel)

    def invent(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        return enlarge(rng.standard_normal((height // 2, width // 2), dtype=np.float32))

    return invent


def _transposed_convolution() -> Generator:
    """Returns a generator that enlarges with a transposed convolution. It has stride 2 and a 4×4 kernel with unequal
    weights, so each of the four pixels in a 2×2 block is computed with different weights.
    """
    taps = np.array([0.2, 0.8, 0.8, 0.2])
    gain = np.ones((4, 4))
    gain[0::2, 0::2], gain[1::2, 1::2] = 1.012, 0.996  # sums to four: the mean stays
    gain[0::2, 1::2], gain[1::2, 0::2] = 0.992, 1.00
    detail = np.array([[0, -0.3, 0.1, 0], [-0.3, 1.0, -0.4, 0], [0.1, -0.4, 0.2, 0], [0, 0, 0, 0]])
    return Generator(_enlarge_with(np.outer(taps, taps) * gain), _invent_with(detail), 1.3, 0.77)


def _nearest_convolution() -> Generator:
    """A generator that repeats every pixel 2×2 and then softens the blocks with a 3×3 convolution."""
    block = np.ones((2, 2))
    soften = np.outer([0.12, 0.76, 0.12], [0.12, 0.76, 0.12])
    detail = np.array([[0.1, -0.5, 0.1], [-0.5, 1.6, -0.5], [0.1, -0.5, 0.2]])
    return Generator(
        _enlarge_with(_full_convolution(block, soften)),
        _invent_with(_full_convolution(block, detail)),
        luma_scale=0.49,
        chroma_scale=0.47,
    )


def _full_convolution(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The kernel equivalent to convolving with ``first`` and then with ``second``."""
    height = first.shape[0] + second.shape[0] - 1
    width = first.shape[1] + second.shape[1] - 1
    total = np.zeros((height, width))
    for (i, j), weight in np.ndenumerate(first):
        total[i : i + second.shape[0], j : j + second.shape[1]] += weight * second
    return total


def _latent_decoder() -> Generator:
    """A generator that decodes every 8×8 block from sixteen numbers, with detail from a small codebook of patterns."""
    cosine = _cosine_basis(8)
    # The sixteen numbers are the block at half resolution: its low cosines, at twice the samples.
    decode = (np.sqrt(2) * cosine[:4].T @ _cosine_basis(4)).astype(np.float32)
    taste = np.random.default_rng(8)  # the generator's own, the same for all its images
    coefficients = taste.standard_normal((NUM_PATTERNS, 8, 8))
    coefficients[:, :4, :4] = 0
    patterns = np.einsum("ui,nuv,vj->nij", cosine, coefficients, cosine)
    codebook = np.concatenate([patterns, -patterns]).astype(np.float32)

    def enlarge(small: np.ndarray) -> np.ndarray:
        rows = _decode_rows(small, decode)
        return _decode_rows(rows.T, decode).T

    def invent(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        chosen = codebook[rng.integers(len(codebook), size=(height // 8, width // 8))]
        return chosen.transpose(0, 2, 1, 3).reshape(height, width)

    return Generator(enlarge, invent, 1.0, 0.98)


def _decode_rows(small: np.ndarray, decode: np.ndarray) -> np.ndarray:
    """Turns every four rows of ``small`` into eight, using the matrix ``decode`` (8, 4)."""
    large = np.empty((small.shape[0] * 2, small.shape[1]), dtype=np.float32)
    for row in range(8):
        total = decode[row, 0] * small[0::4]
        for source in range(1, 4):
            total += decode[row, source] * small[source::4]
        large[row::8] = total
    return large


def _cosine_basis(size: int) -> np.ndarray:
    """The matrix of the orthonormal cosine transform; row u has frequency u."""
    frequency, position = np.mgrid[:size, :size]
    basis = np.cos(np.pi * frequency * (position + 0.5) / size) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return basis


GENERATORS: dict[str, Generator] = {
    "transposed_convolution": _transposed_convolution(),
    "nearest_convolution": _nearest_convolution(),
    "latent_decoder": _latent_decoder(),
}
