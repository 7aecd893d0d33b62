"""Builds the gallery: test images with the windows that the model saw, tinted by attention.

Each image is shown as a small JPEG with an SVG on top. The SVG's coordinates are source pixels, so windows appear in
the right place at any display size. Crops are cut from the fully decoded image, unscaled.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glass.measure.calibration import verdict_of
from glass.measure.generators import UNNAMED
from glass.report.embed import encoder, shrink
from glass.report.selection import choose_samples
from shards.errors import InputError, require_sound_machine
from shards.files.regular_file import open_regular
from shards.images.pixels import RejectedImage, decode_rgb
from shards.images.rejection import explained

if TYPE_CHECKING:
    from glass.report.run_data import RunData
    from shards.manifest.dataset import ShardDataset

__all__ = ["Card", "Gallery", "Window", "attention_colour", "build_gallery", "drawn_windows"]

DISPLAY_SIDE = 560
IMAGE_BUDGET_BYTES = 900_000
CROP_BUDGET_BYTES = 2_100_000
"""Maximum total size of all crops, in bytes, before base64 adds a third. ``IMAGE_BUDGET_BYTES`` is the limit for all
images. Together with the plots, the page stays below 5 MB."""

NO_ATTENTION_COLOUR = "rgb(90, 160, 240)"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """One window, in source pixels, as drawn on the page."""

    number: int
    top: int
    left: int
    height: int
    width: int
    weight: float | None
    """Attention weight, 0 … 1; None if the model has no attention."""
    colour: str
    crop: str
    """Data URI of the window's pixels, unscaled; empty if they are not shown."""


@dataclass(frozen=True)
class Card:
    """One image in the gallery."""

    source_path: str
    label: str
    generator: str
    reason: str
    width: int
    height: int
    image: str
    """The image, scaled down for display, as a data URI."""
    windows: list[Window]
    """The windows, by decreasing attention."""
    verdicts: list[dict[str, Any]]
    """One dict per run: ``run``, ``probability``, ``verdict``, and ``right`` (whether the verdict is right; None if it
    is uncertain). If the run has no score for the image, the verdict is "not scored", and ``probability`` and ``right``
    are None."""


@dataclass(frozen=True)
class Gallery:
    """The gallery's cards, and the run whose windows they show."""

    run: str
    has_attention: bool
    crop_format: str
    """Format in which the page stores the crops, such as "PNG" or "JPEG 88"."""
    cards: list[Card]


@dataclass(frozen=True)
class _Sample:
    """The parts of a decoded image that the gallery keeps, so that only one full-size image is in memory at a time."""

    height: int
    width: int
    small: Pixels
    places: list[tuple[int, list[int]]]
    """(number, [top, left, height, width]) for each window that the model used. Numbers start at 1 and also count the
    image's unused windows."""
    crops: list[Pixels]


def build_gallery(runs: "Sequence[RunData]", dataset: "ShardDataset") -> Gallery:
    """Builds the gallery for the first run whose model has attention, or for the first run if there is no such run.

    That run decides which images and windows are shown; each image is shown with the verdicts from all runs. Raises
    ``InputError`` if a shard cannot be read.
    """
    shown = next((run for run in runs if _has_attention(run)), runs[0])
    picks = choose_samples(shown.predictions, *_edges(shown))
    rows = shown.predictions.take(pa.array([p.row for p in picks], pa.int64())).to_pylist()
    samples = [_sample(image, row) for row, image in zip(rows, _images(dataset, rows), strict=True)]
    as_image, _ = encoder([s.small for s in samples], IMAGE_BUDGET_BYTES, lossless=False)
    crops = [crop for sample in samples for crop in sample.crops]
    as_crop, crop_format = encoder(crops, CROP_BUDGET_BYTES, lossless=True)
    cards = [
        Card(
            source_path=row["source_path"],
            label=_label(row),
            generator=(row["generator"] or UNNAMED) if row["label"] else "",
            reason=pick.reason,
            width=sample.width,
            height=sample.height,
            image=as_image(sample.small),
            windows=_windows(sample, row["attention_weights"], as_crop),
            verdicts=[_verdict(run, row) for run in runs],
        )
        for pick, row, sample in zip(picks, rows, samples, strict=True)
    ]
    return Gallery(shown.name, _has_attention(shown), crop_format, cards)


def attention_colour(weight: float, num_windows: int) -> str:
    """Returns an attention weight's colour as ``rgb(…)``: pale yellow for 0, orange for an equal share (1 /
    ``num_windows``), red for twice an equal share or more.
    """
    stops = np.array([(255, 237, 160), (253, 141, 60), (189, 0, 38)], float)
    place = min(weight * num_windows, 2.0)
    low = min(int(place), 1)
    red, green, blue = stops[low] + (place - low) * (stops[low + 1] - stops[low])
    return f"rgb({red:.0f}, {green:.0f}, {blue:.0f})"


def _has_attention(run: "RunData") -> bool:
    weights = run.predictions["attention_weights"]
    return len(weights) > 0 and weights.null_count == 0


def _sample(image: Pixels, row: dict[str, Any]) -> _Sample:
    """Cuts the windows out of ``image``. Empty windows (without area) are skipped."""
    places = [(n, w) for n, w in enumerate(row["crop_windows"], 1) if w[2] > 0 and w[3] > 0]
    crops = [image[t : t + h, left : left + w].copy() for _, (t, left, h, w) in places]
    height, width = image.shape[:2]
    return _Sample(height, width, shrink(image, DISPLAY_SIDE), places, crops)


def drawn_windows(
    places: Sequence[tuple[int, Sequence[int]]], weights: Sequence[float] | None, crops: Sequence[str]
) -> list[Window]:
    """Returns an image's windows, by decreasing attention.

    ``places`` has (number, [top, left, height, width]) for each window. ``weights`` are the attention weights, or None
    for a model without attention. ``crops`` are the pixels as data URIs, with empty strings for those not shown.
    """
    windows = []
    for place, (number, (top, left, height, width)) in enumerate(places):
        weight = None if weights is None else weights[place]
        colour = NO_ATTENTION_COLOUR if weight is None else attention_colour(weight, len(places))
        windows.append(Window(number, top, left, height, width, weight, colour, crops[place]))
    return sorted(windows, key=lambda window: -(window.weight or 0))


def _windows(sample: _Sample, weights: list[float] | None, as_crop: Callable[[Pixels], str]) -> list[Window]:
    own = None if weights is None else [weights[number - 1] for number, _ in sample.places]
    return drawn_windows(sample.places, own, [as_crop(crop) for crop in sample.crops])


def _verdict(run: "RunData", row: dict[str, Any]) -> dict[str, Any]:
    place = pc.index(run.predictions["sample_key"], row["sample_key"]).as_py()
    if place < 0:  # undecodable when that run was evaluated
        return {"run": run.name, "probability": None, "verdict": "not scored", "right": None}
    probability = run.predictions["probability"][place].as_py()
    verdict = verdict_of(probability, *_edges(run))
    right = None if verdict == "uncertain" else verdict == _label(row)
    return {"run": run.name, "probability": probability, "verdict": verdict, "right": right}


def _label(row: dict[str, Any]) -> str:
    return "generated" if row["label"] else "real"


def _edges(run: "RunData") -> tuple[float, float]:
    """Returns (threshold, probability below which the verdict is "real"); both are equal if there is no band of
    doubt.
    """
    threshold = run.evaluation["threshold"]["value"]
    calibration = run.evaluation.get("calibration")
    return threshold, threshold if calibration is None else calibration.get("real_below", threshold)


def _images(dataset: "ShardDataset", rows: list[dict[str, Any]]) -> Iterator[Pixels]:
    """Yields each row's decoded image, one at a time, because a single image may have 200 megapixels."""
    table = dataset.table.select(["sample_key", "shard", "image_offset", "image_length"])
    keys = pa.array([row["sample_key"] for row in rows], pa.string())
    places = pc.index_in(keys, value_set=table["sample_key"].combine_chunks())
    for member in table.take(places).to_pylist():
        path = dataset.shard_path(member["shard"])
        try:
            with open_regular(path) as file:
                file.seek(member["image_offset"])
                yield decode_rgb(file.read(member["image_length"]))
        except (OSError, RejectedImage) as error:
            require_sound_machine(error, path)
            raise InputError(
                f"sample {member['sample_key']} of {path} cannot be read ({explained(str(error))}): run glass verify "
                f"{dataset.root}"
            ) from error
