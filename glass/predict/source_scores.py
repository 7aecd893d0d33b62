"""Scores images that are decoded whole: files, bytes, pixels, and, if the options require whole images, manifest
rows.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from glass.measure.trained_model import TrainedModel
from glass.predict.harmless_changes import CHANGES
from glass.predict.image_scores import ImageScores
from glass.predict.image_sources import ImageSource
from glass.predict.options import PredictOptions
from glass.predict.preparation import PreparedImage, prepare
from loaders import LoaderConfig
from loaders.decode.pixel_batch import ImageViews, stack_views
from shards.images.pixels import RejectedImage

__all__ = ["score_covering_row", "scores_of_sources"]

COVERING_STEP = 8
"""With ``coverage="all"``, each model input's crop count is padded to a multiple of this, which limits the number of
distinct input shapes."""

Attention = npt.NDArray[np.float32] | None
Scored = tuple[ImageSource, ImageScores | RejectedImage]


def scores_of_sources(
    trained: TrainedModel, sources: Iterable[ImageSource], config: LoaderConfig, options: PredictOptions
) -> Iterator[Scored]:
    """Yields each source, in order, with its scores or with the reason why it cannot be read.

    The images are processed in chunks that fill whole batches. While one chunk is scored, the next is decoded.
    """
    remaining = iter(sources)
    rows_per_image = options.draws * (1 + len(CHANGES) if options.stability else 1)
    batch_size = 1 if options.coverage == "all" else config.global_batch_size
    whole = batch_size // math.gcd(batch_size, rows_per_image)  # images that fill batches
    # If a batch holds few images, a chunk of several batches keeps all threads busy with decoding.
    step = whole * -(-2 * options.num_threads // whole)
    waiting: deque[list[tuple[ImageSource, Future[PreparedImage | RejectedImage]]]] = deque()
    with ThreadPoolExecutor(options.num_threads, thread_name_prefix="predict") as pool:
        try:
            while True:
                chunk = list(islice(remaining, step))
                if chunk:
                    waiting.append([(source, pool.submit(prepare, source, config, options)) for source in chunk])
                if len(waiting) > 1 or (waiting and not chunk):
                    done = [(source, future.result()) for source, future in waiting.popleft()]
                    yield from _scored_chunk(trained, done, config, options)
                elif not chunk:
                    return
        finally:
            pool.shutdown(cancel_futures=True)


def _scored_chunk(
    trained: TrainedModel,
    chunk: Sequence[tuple[ImageSource, PreparedImage | RejectedImage]],
    config: LoaderConfig,
    options: PredictOptions,
) -> Iterator[Scored]:
    rows = [row for _, image in chunk if isinstance(image, PreparedImage) for row in image.rows]
    if options.coverage == "all":
        scored = iter([score_covering_row(trained, row) for row in rows])
    else:
        scored = iter(_score_rows(trained, rows, config.global_batch_size))
    for source, image in chunk:
        if isinstance(image, RejectedImage):
            yield source, image
            continue
        own = list(islice(scored, len(image.rows)))
        margins = np.array([margin for margin, _ in own])
        draws, *changed = margins.reshape(-1, options.draws)
        first, attention = image.rows[0], own[0][1]
        shown = first.mask & trained.sees_crops
        changes = {name: float(np.mean(part)) for name, part in zip(image.changes, changed, strict=True)}
        yield (
            source,
            ImageScores(
                margins=draws,
                windows=first.windows[shown],
                attention=None if attention is None else attention[shown],
                size=image.size,
                content_id=image.content_id,
                changes=changes,
            ),
        )


def _score_rows(trained: TrainedModel, rows: Sequence[ImageViews], size: int) -> list[tuple[float, Attention]]:
    """Scores model inputs and returns (margin, attention weights) for each; the weights are (N,), or None for a model
    without attention.

    Each row holds the views from one draw, and all must have the same number N of crops. They are scored in batches of
    ``size``, all with the same shape.
    """
    if not rows:
        return []
    parts = (rows[start : start + size] for start in range(0, len(rows), size))
    found = trained.score(stack_views(part, trained.device, batch_size=size) for part in parts)
    weights = found.attention_weights
    return list(zip(found.margin.tolist(), [None] * len(rows) if weights is None else weights, strict=True))


def score_covering_row(trained: TrainedModel, row: ImageViews) -> tuple[float, Attention]:
    """Scores one model input with any number N of crops, for example from windows that cover the whole image.

    Returns (margin, attention weights); the weights are (N,), or None for a model without attention. The input is
    scored alone, so the batch shape depends only on this image.
    """
    count = len(row.crops)
    padded = -(-count // COVERING_STEP) * COVERING_STEP
    found = trained.score([stack_views([row], trained.device, num_crops=padded)])
    weights = found.attention_weights
    return float(found.margin[0]), None if weights is None else weights[0][:count]
