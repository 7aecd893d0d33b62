"""The audit of a data set as a separate page, with pictures that come twice, and as the section on top of a report."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from glass.auditing.document import Audit, AuditSummary
from glass.auditing.duplicates import Duplicates
from glass.auditing.metadata_findings import BELOW_GUESSING, below_guessing
from glass.report.embed import encoder
from glass.report.template import render
from shards.manifest.dataset import ShardDataset
from shards.manifest.stored_views import StoredViews

__all__ = ["MOST_PAIRS", "audit_sentence", "pair_pictures", "render_audit_html"]

MOST_PAIRS = 40
"""Pairs that are shown, the worst ones."""
LONGEST_SIDE = 192
SHORTEST_SIDE = 24
BUDGET_BYTES = 900_000
"""Of all thumbnails together, before base64, which adds a third."""

_SENTENCES = {
    "serious": "Serious: results on this data set would mislead.",
    "warning": "Something to look at before results are trusted.",
    "info": "Nothing that should stop you.",
}


def audit_sentence(document: AuditSummary) -> str:
    """The meaning of the worst finding."""
    return _SENTENCES[document["severity"]]


def render_audit_html(document: Audit, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The page for ``glass.auditing.audit.audit_dataset``, see :func:`glass.report.template.render`, with the
    :func:`pair_pictures` of the first pairs."""
    return render(
        "audit.html.j2",
        document=document,
        sentence=audit_sentence(document),
        below_guessing=_below_guessing(document),
        pictures=[tuple(map(Markup, pair)) for pair in pictures],
    )


def _below_guessing(document: Audit) -> str:
    """Why an AUROC lies below 0.5, where one does."""
    metadata = document["metadata"]
    if metadata is None:
        return ""
    aurocs = [metadata["auroc"], *(feature["auroc"] for feature in metadata["features"])]
    return BELOW_GUESSING if below_guessing(aurocs) else ""


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
