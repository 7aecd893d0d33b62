"""Builds the corpora for a bench from ``--photos`` and ``--megapixels``."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpora.corpus import Corpus, build_corpus, corpus_digest
from bench.corpora.photographs import find_photographs
from bench.corpora.synthetic import synthetic_photographs
from bench.harness.arguments import numbers, progress
from bench.harness.harness import Ratio
from shards.cli.command import CommandParser
from shards.errors import InputError

__all__ = [
    "PHOTOGRAPHS",
    "SYNTHETIC",
    "ImageSet",
    "add_images",
    "build_image_sets",
    "entry_point_ratios",
    "reference_set",
    "spread",
]

PHOTOGRAPHS, SYNTHETIC = "photographs", "synthetic"
DEFAULT_SYNTHETIC_IMAGES = 4
REFERENCE_MEGAPIXELS = 6


@dataclass(frozen=True)
class ImageSet:
    """A corpus of one kind of image: photographs in their original sizes, or images of one requested size."""

    kind: str
    """``photographs``, ``synthetic``, or the format in which the photographs were re-encoded."""
    corpus: Corpus
    skipped: dict[str, int]
    """Maps each reason for leaving out files of ``--photos`` to the number of such files."""
    asked_megapixels: float | None = None
    """Requested size of the synthetic images or rescaled photographs in megapixels; None if the photographs keep their
    original sizes."""

    @property
    def suffix(self) -> str:
        """Suffix for ratio names, such as ``@12mp`` or ``@photographs``."""
        if self.asked_megapixels is None:
            return f"@{PHOTOGRAPHS}"
        return f"@{self.asked_megapixels:g}mp"

    @property
    def row_fields(self) -> dict[str, str]:
        """The fields shared by all rows measured on these images."""
        return {"images": self.kind, "data": corpus_digest(self.corpus)}

    def describe(self) -> dict[str, Any]:
        """Describes the set as plain values for the JSON document."""
        return {
            "images": self.kind,
            "number": len(self.corpus),
            "megapixels": round(self.corpus.megapixels, 2),
            "bits_per_pixel": round(self.corpus.bits_per_pixel, 2),
            "window_sets_per_image": self.corpus.copies,
            "skipped": {**self.skipped, **self.corpus.dropped},
        }


def add_images(parser: CommandParser) -> None:
    """Adds the arguments that select the images."""
    group = parser.add_argument_group("images (give --photos, --megapixels or both)")
    group.add_argument("--photos", type=Path, metavar="DIR", help="measure on the JPEGs below this folder")
    group.add_argument(
        "--megapixels",
        metavar="M,…",
        help="measure on synthetic photographs of these sizes in megapixels, such as 3,12,48",
    )
    group.add_argument(
        "--images",
        type=int,
        metavar="K",
        help="at most this many photographs, spread over the folder, and this many synthetic images per size "
        f"(default: all photographs, and {DEFAULT_SYNTHETIC_IMAGES})",
    )
    group.add_argument("--min-megapixels", type=float, default=1.0, metavar="M", help="leave out smaller photographs")
    group.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep the synthetic photographs in this folder, for later runs"
    )


def build_image_sets(options: argparse.Namespace, folder: Path, crop_counts: Sequence[int]) -> list[ImageSet]:
    """Builds the image sets in ``folder``: one for the photographs, if there are any, and one per size of synthetic
    images. Raises ``InputError`` naming the argument at fault."""
    if options.photos is None and options.megapixels is None:
        raise InputError("nothing to measure on: give --photos DIR, --megapixels 3,12 or both")
    if options.images is not None and options.images < 2:
        raise InputError(f"--images {options.images}: must be at least 2")
    sizes = [] if options.megapixels is None else numbers("--megapixels", options.megapixels)
    if sizes and not 0.1 <= min(sizes) <= max(sizes) <= 200:
        raise InputError(f"--megapixels {options.megapixels}: must be from 0.1 to 200")
    sets = []
    if options.photos is not None:
        found = find_photographs(options.photos, options.min_megapixels)
        paths = spread(found.paths, options.images)
        progress(f"building shards of {len(paths)} photographs")
        corpus = build_corpus(folder / PHOTOGRAPHS, paths, crop_counts)
        sets.append(ImageSet(PHOTOGRAPHS, corpus, found.skipped))
    for size in sizes:
        number = options.images or DEFAULT_SYNTHETIC_IMAGES
        progress(f"drawing {number} photographs of {size:g} megapixels and building shards of them")
        paths = synthetic_photographs(options.cache or folder / SYNTHETIC, size, number, seed=0)
        corpus = build_corpus(folder / f"{SYNTHETIC}-{size:g}", paths, crop_counts)
        sets.append(ImageSet(SYNTHETIC, corpus, {}, size))
    return sets


def reference_set(sets: Sequence[ImageSet]) -> ImageSet:
    """Returns the image set whose ratios are reported without a suffix. This is the set of photographs, if there is
    one. Otherwise, it is the smallest synthetic size of at least 6 megapixels, or the largest size if all are
    smaller."""
    for image_set in sets:
        if image_set.kind == PHOTOGRAPHS:
            return image_set
    by_size = sorted(sets, key=lambda image_set: image_set.corpus.megapixels)
    large = [s for s in by_size if s.corpus.megapixels >= REFERENCE_MEGAPIXELS]
    return (large or by_size[-1:])[0]


def entry_point_ratios(image_set: ImageSet) -> dict[str, Ratio]:
    """Returns the median and maximum of entry-point size ÷ JPEG size over all images."""
    shares = image_set.corpus.entry_point_shares
    if not shares:
        return {}
    median, worst = float(np.median(shares)), max(shares)
    return {
        "entry_points_share_median": Ratio(median, min(shares), worst),
        "entry_points_share_worst": Ratio(worst, worst, worst),
    }


def spread(paths: list[Path], limit: int | None) -> list[Path]:
    """Returns at most ``limit`` of ``paths``, evenly spaced over the list."""
    if limit is None or limit >= len(paths):
        return paths
    return [paths[place * len(paths) // limit] for place in range(limit)]
