"""Draws heat maps, which show where a detector looked in an image.

Either the windows are tinted by their attention, or a dense attention map is laid over the whole image. Colours show
attention relative to an equal share, which is 1 / (number of windows).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from glass.predict.source_scores import score_covering_row
from glass.predict.verdicts import ImageVerdict
from glass.report.windows import NO_ATTENTION_COLOUR, attention_colour
from loaders.decode.pixel_batch import ImageViews, cut_windows
from shards.images.pixels import global_view

if TYPE_CHECKING:
    from glass.predict.detector import Detector

__all__ = [
    "ATTENTION_SCALE",
    "DenseMap",
    "dense_attention",
    "dense_overlay",
    "dense_windows",
    "draw_dense",
    "draw_windows",
    "write_heat_maps",
]

Pixels = npt.NDArray[np.uint8]
DenseMap = tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]
"""The result of :func:`dense_attention`: windows (n, 4) and their attention (n,)."""

STEM_BYTES = 100
"""A heat map's file name includes at most this many bytes of the image's name. File systems limit the length of file
names, some to only 143 bytes."""

LONGEST_SIDE = 1600
TINT = 0.45
NUMBER_SIZE = 14
"""Font size, in pixels, of the number written on each window."""
MAX_DENSE_WINDOWS = 1024
CHUNK = 64

RAMP_STEPS = 65
OPACITIES = np.linspace(0, 190, RAMP_STEPS).astype(np.uint8)
"""Opacity, 0 to 255, of each colour on a dense map's colour ramp, which runs from no attention to twice an equal share.
All values are below 255, so that the image remains visible."""
ATTENTION_SCALE = ("none", "an equal share", "twice and more")
"""Labels for the start, the middle and the end of the colour scale."""
LEGEND_WIDTH, LEGEND_HEIGHT, MARGIN, LINE = 320, 48, 8, 17
"""Legend dimensions in pixels: width and height of the colour scale including its labels, margin, and text line
height."""


def write_heat_maps(folder: Path, number: int, pixels: Pixels, verdict: ImageVerdict, dense: "DenseMap | None") -> None:
    """Writes a heat map of the image's windows into ``folder``, and a dense one if ``dense`` is given.

    ``pixels`` is (H, W, 3), and ``dense`` is the result of :func:`dense_attention`. The file names consist of
    ``number``, which is the image's position in the prediction, and the image's own name. Raises ``OSError`` if writing
    fails.
    """
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(verdict.path).stem)
    name = f"{number:06d}-{stem.encode()[:STEM_BYTES].decode(errors='ignore')}"
    draw_windows(pixels, verdict).save(folder / f"{name}.png")
    if dense is not None:
        draw_dense(pixels, verdict, *dense).save(folder / f"{name}-dense.png")


def draw_windows(pixels: Pixels, verdict: ImageVerdict) -> Image.Image:
    """Draws the image with its numbered windows and a legend below. The longer side is reduced to at most 1600 pixels.

    Windows with little attention are pale, and those with twice an equal share or more are red. If the model has no
    attention, all windows are blue. The legend explains the colours and states the verdict.
    """
    image, scale = _shrunken(pixels)
    tint = image.copy()
    brush, count = ImageDraw.Draw(tint), len(verdict.windows)
    boxes = []
    for number, (top, left, height, width) in enumerate(verdict.windows.tolist()):
        box = [left * scale, top * scale, (left + width) * scale - 1, (top + height) * scale - 1]
        colour = NO_ATTENTION_COLOUR
        if verdict.attention is not None:
            colour = attention_colour(float(verdict.attention[number]), count)
        boxes.append(([box[0], box[1], max(box[0], box[2]), max(box[1], box[3])], colour))
        brush.rectangle(boxes[-1][0], fill=ImageColor.getrgb(colour))
    image = Image.blend(image, tint, TINT)
    brush, font = ImageDraw.Draw(image), ImageFont.load_default(NUMBER_SIZE)
    for number, (corners, colour) in enumerate(boxes, start=1):
        left, top, right, bottom = corners
        brush.rectangle(corners, outline=ImageColor.getrgb(colour), width=2)
        has_room = min(right - left, bottom - top) > 2 * NUMBER_SIZE
        place = (left + 4, top + 2) if has_room else (right + 3, top)
        brush.text(place, str(number), "white", font, stroke_width=2, stroke_fill="black")
    return _with_legend(image, verdict, None if verdict.attention is None else np.full(RAMP_STEPS, 255, np.uint8))


def dense_windows(height: int, width: int, crop_size: int) -> npt.NDArray[np.int32]:
    """(n, 4) int32 windows (top, left, height, width) that cover the whole image; each overlaps the next by half.

    The last windows end at the image's edges. If this would take more than 1024 windows, they overlap less; on the
    largest images, they leave gaps.
    """
    stride = max(crop_size // 2, 1)
    while True:
        tops, lefts = (_starts(side, crop_size, stride) for side in (height, width))
        if len(tops) * len(lefts) <= MAX_DENSE_WINDOWS:
            break
        stride = stride * 5 // 4 + 1
    places = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
    sizes = np.broadcast_to([min(height, crop_size), min(width, crop_size)], places.shape)
    return np.concatenate([places, sizes], axis=1).astype(np.int32)


def _starts(side: int, crop_size: int, stride: int) -> npt.NDArray[np.int64]:
    room = max(side - crop_size, 0)
    return np.unique(np.append(np.arange(0, room + 1, stride), room))


def dense_attention(detector: "Detector", pixels: Pixels) -> DenseMap:
    """Returns :func:`dense_windows` and the attention of each window as a multiple of an equal share.

    The windows pass through the network in chunks, and the weights within a chunk are proportional to exp(attention
    score). To make chunks comparable, each also includes the image's first window, and its weights are divided by the
    weight of that window.
    """
    loader = detector.trained.config.loader
    windows = dense_windows(pixels.shape[0], pixels.shape[1], loader.crop_size)
    small = global_view(pixels, loader.global_size)
    relative = np.ones(len(windows))
    for start in range(1, len(windows), CHUNK - 1):
        chosen = np.concatenate([windows[:1], windows[start : start + CHUNK - 1]])
        crops = cut_windows(pixels, chosen, loader.crop_size)
        row = ImageViews(small, crops, chosen, np.ones(len(chosen), np.bool_), content_id=0)
        _, weights = score_covering_row(detector.trained, row)
        assert weights is not None, "a model without attention has no attention map"
        tied = weights.astype(np.float64) / max(float(weights[0]), 1e-30)
        relative[start : start + CHUNK - 1] = tied[1:]
    return windows, relative / relative.mean()


def dense_overlay(
    windows: npt.NDArray[np.int32], attention: npt.NDArray[np.float64], shape: tuple[int, int], size: tuple[int, int]
) -> Image.Image:
    """Renders the result of :func:`dense_attention` as an RGBA overlay for the image.

    ``shape`` is the image's (height, width), ``size`` is the overlay's (width, height). The map is transparent where
    there is no attention, and becomes more opaque as attention grows. Values are interpolated between window centres.
    If each pixel showed the mean of the windows that contain it, the values would jump at window edges and make the
    grid visible.
    """
    tops, lefts = np.unique(windows[:, 0]), np.unique(windows[:, 1])
    values = attention.reshape(len(tops), len(lefts))
    (height, width), (tall, wide) = shape, windows[0, 2:]
    rows = (np.arange(size[1]) + 0.5) * height / size[1]
    columns = (np.arange(size[0]) + 0.5) * width / size[0]
    values = np.stack([np.interp(rows, tops + tall / 2, line) for line in values.T], axis=1)
    values = np.stack([np.interp(columns, lefts + wide / 2, line) for line in values])
    colours = np.concatenate([_ramp(), OPACITIES[:, None]], axis=1)
    return Image.fromarray(colours[np.clip(values / 2 * (RAMP_STEPS - 1), 0, RAMP_STEPS - 1).astype(int)])


def draw_dense(
    pixels: Pixels, verdict: ImageVerdict, windows: npt.NDArray[np.int32], attention: npt.NDArray[np.float64]
) -> Image.Image:
    """Draws the image under its :func:`dense_overlay`, with the same colours and legend as :func:`draw_windows`."""
    image, _ = _shrunken(pixels)
    overlay = dense_overlay(windows, attention, pixels.shape[:2], image.size)
    return _with_legend(Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB"), verdict, OPACITIES)


def _ramp() -> npt.NDArray[np.uint8]:
    """(RAMP_STEPS, 3) uint8: the RGB colours from no attention to twice an equal share."""
    shares = np.linspace(0, 2, RAMP_STEPS)
    return np.array([ImageColor.getrgb(attention_colour(share, 1)) for share in shares], np.uint8)


def _with_legend(image: Image.Image, verdict: ImageVerdict, opacities: npt.NDArray[np.uint8] | None) -> Image.Image:
    """Returns ``image`` with a legend below it: the colour scale and the verdict.

    ``opacities`` is a uint8 array of shape (RAMP_STEPS,): the opacity of each colour on the scale. If None, the scale
    is left out.
    """
    top = image.height + MARGIN
    text_top = top if opacities is None else top + LEGEND_HEIGHT
    size = (max(image.width, LEGEND_WIDTH + 2 * MARGIN), text_top + LINE + MARGIN)
    canvas = Image.new("RGB", size, "white")
    canvas.paste(image)
    brush, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    if opacities is not None:
        scale = np.concatenate([_ramp(), opacities[:, None]], axis=1)[None]
        bar = Image.fromarray(scale).resize((LEGEND_WIDTH, 12), Image.Resampling.BILINEAR)
        canvas.paste(bar, (MARGIN, top), bar)
        for share, anchor, words in zip((0.0, 0.5, 1.0), ("la", "ma", "ra"), ATTENTION_SCALE, strict=True):
            brush.text((MARGIN + share * LEGEND_WIDTH, top + 15), words, "black", font, anchor=anchor)
        brush.text((MARGIN, top + 15 + LINE), "colour: attention", "black", font)
    value = f"raw score {verdict.score:.3f}"
    if verdict.probability is not None:
        value = f"probability of being generated {verdict.probability:.3f}"
    brush.text((MARGIN, text_top), f"{verdict.verdict}: {value}", "black", font)
    return canvas


def _shrunken(pixels: Pixels) -> tuple[Image.Image, float]:
    image = Image.fromarray(pixels)
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    if scale < 1:
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(size, Image.Resampling.BOX)
    return image, scale
