"""Synthetic photographs, whose statistics match those of real ones in all respects that matter to a decoder.

Overlapping discs of many sizes ("dead leaves") give the edges and the power spectrum of natural scenes. Smooth shading
and texture add gradients to flat areas. Sensor noise gives the entropy of a real camera's file, 2–4 bits per pixel at
quality 90. The sizes of discs, texture and noise do not scale with the image. A window therefore takes as many bits in
a 48-megapixel image as in a 3-megapixel one, so differences between their results are due to size alone.
"""

import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from shards.files.atomic import write_bytes_atomic

__all__ = ["MIN_BITS_PER_PIXEL", "draw_photograph", "synthetic_photographs"]

MIN_BITS_PER_PIXEL = 2.0
VERSION = 1
"""Part of the file names. Increase it when the drawing code changes, so that old files in a cache folder are not
reused."""
QUALITY = 90
ASPECT = 3 / 2
SMALLEST_RADIUS, LARGEST_RADIUS = 6.0, 700.0
DISCS_PER_MEGAPIXEL = 1500
TEXTURE_OCTAVES = (2, 4, 8, 16, 64, 256)
NOISE_SIGMA = 5.0

Pixels = npt.NDArray[np.uint8]


def synthetic_photographs(folder: Path, megapixels: float, number: int, seed: int) -> list[Path]:
    """Draws ``number`` JPEGs of about ``megapixels`` megapixels into ``folder``. Reuses files that an earlier call drew
    there. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(number):
        path = folder / f"synthetic-v{VERSION}-{megapixels:g}mp-seed{seed}-{index:03d}.jpg"
        if not path.exists():
            rng = np.random.default_rng([seed, index, round(megapixels * 1000)])
            width = 16 * round(math.sqrt(megapixels * 1e6 * ASPECT) / 16)
            height = 16 * round(width / ASPECT / 16)
            write_bytes_atomic(path, _encode(draw_photograph(width, height, rng)))
        paths.append(path)
    return paths


def draw_photograph(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Draws a photograph, (height, width, 3) uint8."""
    pixels = np.asarray(_dead_leaves(width, height, rng), np.float32)
    pixels = pixels + _texture(width, height, rng)[..., None]
    # Half of a sensor's noise is common to the channels, since each pixel measures one colour.
    pixels += rng.standard_normal((height, width, 1), np.float32) * np.float32(NOISE_SIGMA)
    pixels += rng.standard_normal((height, width, 3), np.float32) * np.float32(NOISE_SIGMA / 2)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _dead_leaves(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draws opaque discs whose radii follow r⁻³, a distribution that looks the same at every scale."""
    image = Image.new("RGB", (width, height), tuple(rng.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(image)
    number = round(DISCS_PER_MEGAPIXEL * width * height / 1e6)
    low, high = SMALLEST_RADIUS**-2, LARGEST_RADIUS**-2
    radius = (low - rng.random(number) * (low - high)) ** -0.5
    x, y = rng.random(number) * width, rng.random(number) * height
    tone = rng.normal(120, 45, (number, 1)) + rng.normal(0, 22, (number, 3))
    boxes = np.stack([x - radius, y - radius, x + radius, y + radius], 1).tolist()
    for box, colour in zip(boxes, np.clip(tone, 5, 250).astype(int).tolist(), strict=True):
        draw.ellipse(box, fill=tuple(colour))
    return image


def _texture(width: int, height: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(height, width) float32: a sum of smooth random fields at several scales. Coarser fields have a larger
    amplitude."""
    total = np.zeros((height, width), np.float32)
    for scale in TEXTURE_OCTAVES:
        size = (width // scale + 2, height // scale + 2)
        field = rng.standard_normal((size[1], size[0]), np.float32)
        smooth = Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) * np.float32(1.5 * math.log2(2 * scale) ** 0.8)
    return total


def _encode(pixels: Pixels) -> bytes:
    """Encodes pixels as a JPEG with typical camera settings: 4:2:0, standard tables, no restart markers."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    data = buffer.getvalue()
    bits = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
    if bits < MIN_BITS_PER_PIXEL:
        raise RuntimeError(f"a synthetic photograph has {bits:.2f} bits per pixel, too few")
    return data
