"""Draws scenes of gradients, shapes, strokes that look like writing, and textures with 1/f spectra.

A scene depends only on its random stream and can be drawn at any size, so the same scene can be photographed and
generated several times, in files of different sizes.
"""

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["draw_scene", "octave_noise"]

Colour = tuple[int, int, int]

SUPERSAMPLING = 2  # shapes are drawn this much larger and shrunk, so that their edges are smooth
TEXTURE_SIZE = 512  # pixels per side of the texture that is stretched over the image
NUM_SHAPES = (12, 40)
NUM_WORDS = (0, 12)


def draw_scene(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draws a random scene. Returns (3, height, width) float32 in 0…1, as display values rather than linear light, and
    without noise.
    """
    palette = _palette(rng)
    large = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    canvas = _background(rng, palette, (width, height)).resize(large, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(*NUM_SHAPES))):
        _draw_shape(rng, draw, palette, large)
    for _ in range(int(rng.integers(*NUM_WORDS))):
        _draw_word(rng, draw, palette, large)
    return _textured(rng, np.asarray(canvas.reduce(SUPERSAMPLING)))


def octave_noise(rng: np.random.Generator, size: int, slope: float) -> np.ndarray:
    """(size, size) float32 noise with standard deviation 1. Each octave has 2**-slope times the amplitude of the next
    coarser one.

    ``size`` is a power of two ≥ 4. Slope 0 gives the 1/f² power spectrum of photographs; larger
    slopes are smoother.
    """
    field = np.zeros((1, 1), dtype=np.float32)
    side, amplitude = 4, 1.0
    while side <= size:
        field = _resized(field, side, side)
        field += np.float32(amplitude) * rng.standard_normal((side, side), dtype=np.float32)
        side, amplitude = side * 2, amplitude * 2.0**-slope
    return field / np.float32(field.std())


def _resized(field: np.ndarray, width: int, height: int) -> np.ndarray:
    image = Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(image, dtype=np.float32)


def _palette(rng: np.random.Generator) -> np.ndarray:
    """(8, 3) uint8: similar colours around one base colour, with different lightness."""
    base = rng.uniform(0.25, 0.75) + rng.normal(0, 0.12, 3)
    colours = base + rng.normal(0, 0.10, (8, 3)) + rng.normal(0, 0.22, (8, 1))
    return (np.clip(colours, 0.06, 0.94) * 255).astype(np.uint8)


def _colour(rng: np.random.Generator, palette: np.ndarray) -> Colour:
    red, green, blue = palette[rng.integers(len(palette))].tolist()
    return red, green, blue


def _background(rng: np.random.Generator, palette: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A gradient from one colour to another, in a random direction, disturbed by clouds."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = x * np.cos(angle) + y * np.sin(angle) + 0.5 * octave_noise(rng, 64, slope=1.0)
    share = (1 / (1 + np.exp(-2 * ramp)))[..., None]
    first, second = palette[0].astype(np.float64), palette[1].astype(np.float64)
    blend = np.rint(first * share + second * (1 - share)).astype(np.uint8)
    return Image.fromarray(blend).resize(size, Image.Resampling.BICUBIC)


def _draw_shape(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, palette: np.ndarray, size: tuple[int, int]
) -> None:
    """Draws a polygon, ellipse, box or bundle of lines. Its radius is 1 to 40 % of the geometric mean of the image
    sides.
    """
    centre = rng.random(2) * size
    radius = np.exp(rng.uniform(np.log(0.01), np.log(0.4))) * np.sqrt(size[0] * size[1])
    colour = _colour(rng, palette)
    kind = rng.integers(4)
    if kind == 0:
        corners = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        spokes = radius * rng.uniform(0.5, 1.0, corners)
        points = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * spokes[:, None]
        draw.polygon([tuple(point) for point in points.tolist()], fill=colour)
    elif kind < 3:
        half = radius * rng.uniform(0.3, 1.0, 2)
        box = [*(centre - half).tolist(), *(centre + half).tolist()]
        (draw.ellipse if kind == 1 else draw.rectangle)(box, fill=colour)
    else:
        _draw_lines(rng, draw, centre, radius, colour)


def _draw_lines(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: Colour
) -> None:
    """Draws parallel lines, as in a fence or a façade."""
    angle = rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)]) * radius
    across = np.array([-np.sin(angle), np.cos(angle)]) * radius
    thickness = int(rng.integers(2, 9))
    for position in np.linspace(-1, 1, int(rng.integers(3, 12))):
        start, end = centre + position * across - along, centre + position * across + along
        draw.line([*start.tolist(), *end.tolist()], fill=colour, width=thickness)


def _draw_word(rng: np.random.Generator, draw: ImageDraw.ImageDraw, palette: np.ndarray, size: tuple[int, int]) -> None:
    """Draws a row of short strokes that looks like writing."""
    letter = np.exp(rng.uniform(np.log(0.01), np.log(0.05))) * np.sqrt(size[0] * size[1])
    x, y = (rng.random(2) * size).tolist()
    colour = _colour(rng, palette)
    thickness = max(2, int(letter * 0.12))
    for _ in range(int(rng.integers(3, 11))):
        strokes = rng.random((int(rng.integers(3, 6)), 2)) * (letter * 0.7, letter) + (x, y)
        draw.line([tuple(p) for p in strokes.tolist()], fill=colour, width=thickness, joint="curve")
        x += letter


def _textured(rng: np.random.Generator, flat: np.ndarray) -> np.ndarray:
    """Adds a texture of lighter and darker spots to ``flat`` (uint8), strong in some regions and absent in others.
    Returns (3, height, width) float32 in 0…1.
    """
    height, width = flat.shape[:2]
    texture = octave_noise(rng, TEXTURE_SIZE, slope=rng.uniform(0.0, 0.5))
    where = np.clip(octave_noise(rng, 64, slope=0.6) + rng.uniform(-0.5, 0.8), 0, 1.5)
    strength = rng.uniform(0.04, 0.16) * where
    texture *= _resized(strength.astype(np.float32), TEXTURE_SIZE, TEXTURE_SIZE)
    stretched = _resized(texture, width, height)
    scene = np.empty((3, height, width), dtype=np.float32)
    for channel, tint in enumerate(rng.uniform(0.8, 1.2, 3).tolist()):
        # flat / 255 × (1 + tint × texture)
        np.multiply(stretched, np.float32(tint / 255), out=scene[channel])
        scene[channel] += np.float32(1 / 255)
        scene[channel] *= flat[..., channel]
    return np.clip(scene, 0, 1, out=scene)
