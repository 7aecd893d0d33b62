"""Where a detector looked: the image with its windows tinted by attention, or a dense map of it."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw

from glass.predict.source_scores import score_covering_row
from glass.predict.verdicts import ImageVerdict
from glass.report.windows import NO_ATTENTION_COLOUR, attention_colour
from loaders.decode.pixel_batch import ImageViews, cut_windows
from shards.images.pixels import global_view

if TYPE_CHECKING:
    from glass.predict.detector import Detector

__all__ = ["dense_attention", "dense_windows", "draw_dense", "draw_windows"]

Pixels = npt.NDArray[np.uint8]

LONGEST_SIDE = 1600
TINT = 0.45
MAX_DENSE_WINDOWS = 1024
CHUNK = 64


def draw_windows(pixels: Pixels, verdict: ImageVerdict) -> Image.Image:
    """The image, at most 1600 pixels long, with its windows: pale for little attention, red for
    twice an equal share or more, blue for a model without attention."""
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
    brush = ImageDraw.Draw(image)
    for corners, colour in boxes:
        brush.rectangle(corners, outline=ImageColor.getrgb(colour), width=2)
    return image


def dense_windows(height: int, width: int, crop_size: int) -> npt.NDArray[np.int32]:
    """(n, 4) windows that cover the whole image, half overlapping, the last ones at its edges.

    Where that would be more than 1024 they overlap less, and on the largest images leave gaps.
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


def dense_attention(detector: "Detector", pixels: Pixels) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """:func:`dense_windows` and the attention of each, as multiples of an equal share.

    The windows go through the network in chunks that all begin with the first window, whose weight
    ties the chunks together: within a chunk, weights are in proportion to exp(attention score).
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
        assert weights is not None, "a model without attention has no map of it"
        tied = weights.astype(np.float64) / max(float(weights[0]), 1e-30)
        relative[start : start + CHUNK - 1] = tied[1:]
    return windows, relative / relative.mean()


def draw_dense(pixels: Pixels, windows: npt.NDArray[np.int32], attention: npt.NDArray[np.float64]) -> Image.Image:
    """The image tinted by the mean attention of the windows over each pixel, colours as in
    :func:`draw_windows`."""
    image, scale = _shrunken(pixels)
    total, count = np.zeros((2, image.height, image.width))
    for (top, left, height, width), value in zip(windows.tolist(), attention, strict=True):
        rows = slice(int(top * scale), max(int((top + height) * scale), int(top * scale) + 1))
        columns = slice(int(left * scale), max(int((left + width) * scale), int(left * scale) + 1))
        total[rows, columns] += value
        count[rows, columns] += 1
    mean = total / np.maximum(count, 1)
    steps = np.array([ImageColor.getrgb(attention_colour(k / 32, 1)) for k in range(65)], np.uint8)
    tint = Image.fromarray(steps[np.clip(mean * 32, 0, 64).astype(int)])
    return Image.blend(image, tint, TINT)


def _shrunken(pixels: Pixels) -> tuple[Image.Image, float]:
    image = Image.fromarray(pixels)
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    if scale < 1:
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(size, Image.Resampling.BOX)
    return image, scale
