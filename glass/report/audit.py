"""Renders a data set's audit as a page with pairs of duplicate images, and as a sentence for other reports."""

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
"""At most this many pairs are shown, worst first."""
LONGEST_SIDE = 192
SHORTEST_SIDE = 24
BUDGET_BYTES = 900_000
"""Maximum total size of all thumbnails, in bytes, before base64 encoding adds a third."""

_SENTENCES = {
    "serious": "Serious: results on this data set would be misleading.",
    "warning": "Check the findings before you trust results on this data set.",
    "info": "No finding is a reason to distrust results on this data set.",
}


def audit_sentence(document: AuditSummary) -> str:
    """States in one sentence what the worst finding means for results on the data set."""
    return _SENTENCES[document["severity"]]


def render_audit_html(document: Audit, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Renders the page for a result of :func:`glass.auditing.audit.audit_dataset`. ``pictures`` shows its duplicates,
    as returned by :func:`pair_pictures`.
    """
    return render(
        "audit.html.j2",
        document=document,
        sentence=audit_sentence(document),
        below_guessing=_below_guessing(document),
        pictures=[tuple(map(Markup, pair)) for pair in pictures],
    )


def _below_guessing(document: Audit) -> str:
    """Explains AUROCs below 0.5; returns an empty string if no AUROC is clearly below 0.5."""
    metadata = document["metadata"]
    if metadata is None:
        return ""
    aurocs = [metadata["auroc"], *(feature["auroc"] for feature in metadata["features"])]
    return BELOW_GUESSING if below_guessing(aurocs) else ""


def pair_pictures(dataset: ShardDataset, duplicates: Duplicates) -> list[tuple[str, str]]:
    """Returns the data URIs of both images in each of the first ``MOST_PAIRS`` pairs.

    They show the stored global views, rescaled to the images' aspect ratios. Raises ``InputError`` if a shard cannot be
    read.
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
    """Scales the global view (S, S, 3) uint8 of a ``width`` × ``height`` image to that image's aspect ratio.

    Returns (h, w, 3) uint8. If the image is very elongated, the short side is at least ``SHORTEST_SIDE``.
    """
    scale = min(LONGEST_SIDE, max(view.shape[:2])) / max(width, height)
    size = (max(SHORTEST_SIDE, round(width * scale)), max(SHORTEST_SIDE, round(height * scale)))
    return np.asarray(Image.fromarray(view).resize(size, Image.Resampling.BOX))
