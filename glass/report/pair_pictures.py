"""Thumbnails of pictures that come twice, as an audit's page shows them."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from glass.auditing.duplicates import Duplicates
from glass.report.embed import encoder
from shards.manifest.dataset import ShardDataset
from shards.manifest.stored_views import StoredViews

__all__ = ["MOST_PAIRS", "pair_pictures"]

MOST_PAIRS = 40
"""Pairs that are shown, the worst ones."""
LONGEST_SIDE = 192
SHORTEST_SIDE = 24
BUDGET_BYTES = 900_000
"""Of all thumbnails together, before base64, which adds a third."""


def pair_pictures(dataset: ShardDataset, duplicates: Duplicates) -> list[tuple[str, str]]:
    """Data URIs of both pictures of each of the first ``MOST_PAIRS`` pairs.

    They are the stored global views in the proportions of their images. Raises ``InputError`` if
    a shard cannot be read.
    """
    pairs = duplicates.pairs[:MOST_PAIRS].tolist()
    widths, heights = dataset.column("width"), dataset.column("height")
    with StoredViews(dataset) as views:
        small = {
            row: _thumbnail(views[row], widths[row], heights[row]) for row in {row for pair in pairs for row in pair}
        }
    as_uri, _ = encoder(list(small.values()), BUDGET_BYTES, lossless=False)
    return [(as_uri(small[one]), as_uri(small[other])) for one, other in pairs]


def _thumbnail(view: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """(h, w, 3) uint8 from a (S, S, 3) uint8 view of an image of ``width`` × ``height`` pixels. Of a
    very long image, the short side is wider than its share."""
    scale = min(LONGEST_SIDE, max(view.shape[:2])) / max(width, height)
    size = (max(SHORTEST_SIDE, round(width * scale)), max(SHORTEST_SIDE, round(height * scale)))
    return np.asarray(Image.fromarray(view).resize(size, Image.Resampling.BOX))
