"""Scores the images in given manifest rows. They are read through the loader, which decodes only an image's windows if
that is cheaper than decoding the whole image.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from glass.measure.trained_model import TrainedModel
from glass.predict.image_scores import ImageScores
from loaders import LoaderConfig, build_loader
from loaders.batch import Batch
from shards.cli.command import printable
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["scores_of_rows"]

logger = logging.getLogger(__name__)

SCORED_BATCHES = 8
"""How many batches are scored before their first verdict is yielded, so that the program does not wait for the device
after every batch."""


def scores_of_rows(
    trained: TrainedModel, dataset: ShardDataset, rows: Sequence[int], config: LoaderConfig
) -> Iterator[tuple[int, ImageScores]]:
    """Yields (position in ``rows``, scores) in ascending order of position; rows that could not be read are left out.

    Ends early if a whole shard cannot be read, because the loader then stops.
    """
    places = np.array(rows, np.int64)
    keys = dataset.table.column("sample_key").take(places).to_pylist()
    height, width = (dataset.column(name)[places].tolist() for name in ("height", "width"))
    batches, place = _batches(dataset, places, config), -1
    for first in batches:
        scored = trained.score(chain([first], islice(batches, SCORED_BATCHES - 1)))
        for number, key in enumerate(scored.sample_key):
            place = keys.index(key, place + 1)
            shown = scored.crop_mask[number] & trained.sees_crops
            weights = scored.attention_weights
            yield (
                place,
                ImageScores(
                    margins=scored.margin[number : number + 1],
                    windows=scored.crop_windows[number][shown],
                    attention=None if weights is None else weights[number][shown],
                    size=(height[place], width[place]),
                    content_id=int(scored.content_id[number]),
                ),
            )


def _batches(dataset: ShardDataset, rows: npt.NDArray[np.int64], config: LoaderConfig) -> Iterator[Batch]:
    try:
        with build_loader(dataset.with_splits({"chosen": rows}), "chosen", config) as loader:
            yield from loader
    except InputError as error:
        logger.warning("reading the shards image by image, without the loader: %s", printable(str(error)))
