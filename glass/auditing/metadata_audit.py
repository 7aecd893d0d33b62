"""How well do size, format and compression alone tell the classes apart?

A detector trained on such a set may learn the file instead of the picture. A small gradient-boosted
model gets nothing but the manifest's facts; its cross-validated AUROC says what there is to learn,
and 0.5 is nothing. Scenes stay together in a fold, as they do in a split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glass.bootstrap import bootstrap_intervals

if TYPE_CHECKING:
    from shards.dataset import ShardDataset

__all__ = ["FEATURES", "FeatureAudit", "MetadataAudit", "audit_metadata", "metadata_features"]

Array = npt.NDArray[Any]

FEATURES = {
    "format": "file format",
    "jpeg_quality": "JPEG quality",
    "subsampling": "chroma subsampling",
    "width": "width",
    "height": "height",
    "megapixels": "size in megapixels",
    "aspect": "aspect ratio",
    "bits_per_pixel": "number of bits per pixel",
    "progressive": "progressive JPEG",
    "restart_interval": "restart markers",
    "mode": "colour mode",
    "bit_depth": "bits per channel",
    "has_exif": "presence of EXIF",
    "exif_orientation": "EXIF orientation",
    "has_icc": "presence of a colour profile",
    "num_frames": "number of frames",
}
"""Feature → its name for people. Of two that say the same, the first gives its name."""

_NAMES = ("format", "subsampling", "mode")
_MAX_SAMPLES = 50_000  # more would only narrow an interval of ±0.005
_MIN_SCENES = 20  # of each class; with fewer there is nothing to validate on
_FOLDS = 5
_DRAWS = 500
_MAX_CATEGORIES = 100  # the rarest share one; scikit-learn takes 255


@dataclass(frozen=True)
class FeatureAudit:
    """What one feature tells."""

    feature: str
    """Key of ``FEATURES``."""
    auroc: float
    """Cross-validated, of a model that knows this feature alone."""
    importance: float
    """By how much the AUROC of the whole model falls when the feature is shuffled. Of features
    that say the same, none may be important: look at ``auroc`` too."""
    real: str
    """What is typical of real images, in words."""
    generated: str


@dataclass(frozen=True)
class MetadataAudit:
    """What metadata tell of the class."""

    auroc: float
    interval: tuple[float, float]
    """95 %, by resampling scenes."""
    noise: float
    """Standard deviation of the AUROC of a guesser, given so many scenes."""
    images: int
    """That were used: all, or a random part of a large set."""
    features: tuple[FeatureAudit, ...]
    """By falling AUROC. Features that never vary are left out."""
    generators: dict[str, tuple[float, float]]
    """Generator → AUROC of the whole model, its images against all real ones, and its noise."""


def metadata_features(dataset: "ShardDataset", rows: Array) -> dict[str, Array]:
    """Feature → (n,) float64 for ``rows``; names as numbers, NaN where a fact is missing.

    Of a sample stored as a re-encoding of the source, the facts are those of the re-encoding.
    """
    numbers = {
        name: dataset.column(name)[rows].astype(np.float64)
        for name in FEATURES
        if name not in (*_NAMES, "megapixels", "aspect", "bits_per_pixel")
    }
    numbers["jpeg_quality"][numbers["jpeg_quality"] < 0] = np.nan
    pixels = numbers["width"] * numbers["height"]
    numbers["megapixels"], numbers["aspect"] = pixels / 1e6, numbers["width"] / numbers["height"]
    encoded = np.where(
        dataset.column("stored_as")[rows] == "recompressed",
        dataset.column("image_length")[rows],
        dataset.column("source_bytes")[rows],
    )
    numbers["bits_per_pixel"] = 8 * encoded / pixels
    for name in _NAMES:
        codes = dataset.codes(name)[0][rows]
        counts = np.bincount(codes)
        rank = np.empty(len(counts), np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        numbers[name] = np.minimum(rank[codes], _MAX_CATEGORIES - 1).astype(np.float64)
    return {name: numbers[name] for name in FEATURES}


def audit_metadata(dataset: "ShardDataset", seed: int = 0) -> MetadataAudit | None:
    """The audit of all splits together; None for fewer than 20 scenes of a class.

    A function of the data set and ``seed``, whatever the number of threads.
    """
    from threadpoolctl import threadpool_limits

    rows = np.arange(len(dataset))
    if len(rows) > _MAX_SAMPLES:
        stream = np.random.Generator(np.random.Philox(seed))
        rows = np.sort(stream.choice(len(rows), _MAX_SAMPLES, replace=False))
    label = dataset.column("label")[rows].astype(np.int64)
    scenes = _scenes(dataset.column("group")[rows])
    counts = [len(np.unique(scenes[label == kind])) for kind in (0, 1)]
    if min(counts) < _MIN_SCENES:
        return None
    values = metadata_features(dataset, rows)
    varying = [name for name, column in values.items() if len(np.unique(column)) > 1]
    if not varying:
        return MetadataAudit(0.5, (0.5, 0.5), _noise(counts), len(rows), (), {})
    table = np.stack([values[name] for name in varying], axis=1)
    folds = _folds(label, scenes, seed)
    # One thread: on small tables more cost more than they do, and sums stay the same.
    with threadpool_limits(1, user_api="openmp"):
        scores, importance = _cross_validate(table, label, folds, varying, seed, shuffled=True)
        alone = [
            _cross_validate(table[:, [place]], label, folds, [name], seed)[0]
            for place, name in enumerate(varying)
        ]
    interval = bootstrap_intervals(label, scores, _DRAWS, seed, scenes.astype(str))["auroc"]
    features = [
        FeatureAudit(
            name, _auroc(label, by_itself), float(lost),
            *(_typical(dataset, name, rows, values, label == kind) for kind in (0, 1)),
        )
        for name, by_itself, lost in zip(varying, alone, importance, strict=True)
    ]  # fmt: skip
    auroc = _auroc(label, scores)
    low, high = interval or (auroc, auroc)
    return MetadataAudit(
        auroc, (low, high), _noise(counts), len(rows),
        tuple(sorted(features, key=lambda f: -round(f.auroc, 3))),
        _by_generator(dataset.column("generator")[rows], label, scores),
    )  # fmt: skip


def _scenes(groups: Array) -> Array:
    """A number per sample, equal within a group; samples without a group are alone."""
    _, numbers = np.unique(groups.astype(str), return_inverse=True)
    alone = groups == ""
    numbers[alone] = len(groups) + np.arange(int(alone.sum()))
    return numbers


def _noise(counts: Sequence[int]) -> float:
    """Standard deviation of the rank-sum statistic under chance (Mann and Whitney)."""
    real, generated = counts
    return float(np.sqrt((real + generated + 1) / (12 * real * generated)))


def _folds(label: Array, scenes: Array, seed: int) -> list[tuple[Array, Array]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(label), 1)), label, scenes))


def _cross_validate(
    table: Array, label: Array, folds: Sequence[tuple[Array, Array]], names: Sequence[str],
    seed: int, shuffled: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Scores (n,) in [0, 1] of each sample by a model that has not seen its scene, and with
    ``shuffled`` the mean loss of AUROC when each feature is shuffled among the unseen."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    scores, loss = np.empty(len(label)), np.zeros(table.shape[1])
    stream = np.random.Generator(np.random.Philox(seed))
    for train, test in folds:
        model = HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.1, max_leaf_nodes=8, l2_regularization=1.0,
            min_samples_leaf=min(20, max(2, len(train) // 20)), early_stopping=False,
            categorical_features=[name in _NAMES for name in names], random_state=seed,
        )  # fmt: skip
        model.fit(table[train], label[train])
        scores[test] = model.predict_proba(table[test])[:, 1]
        for place in range(table.shape[1]) if shuffled else ():
            mixed = table[test].copy()
            mixed[:, place] = mixed[stream.permutation(len(test)), place]
            after = model.predict_proba(mixed)[:, 1]
            loss[place] += _auroc(label[test], scores[test]) - _auroc(label[test], after)
    return scores, loss / len(folds)


def _auroc(label: Array, scores: Array) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, scores)) if len(np.unique(label)) == 2 else 0.5


def _by_generator(generator: Array, label: Array, scores: Array) -> dict[str, tuple[float, float]]:
    real, result = label == 0, {}
    for name in sorted(set(generator[~real].tolist())):
        theirs = (generator == name) & ~real
        keep = real | theirs
        noise = _noise((int(real.sum()), int(theirs.sum())))
        result[str(name)] = (_auroc(label[keep], scores[keep]), noise)
    return result


def _typical(
    dataset: "ShardDataset", name: str, rows: Array, values: dict[str, Array], keep: Array
) -> str:
    """The three most frequent names with their shares, or the middle 90 % of numbers."""
    if name in _NAMES:
        found, counts = np.unique(dataset.column(name)[rows][keep].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:3]
        parts = [f"{found[i] or 'none'} {100 * counts[i] / keep.sum():.0f} %" for i in order]
        return ", ".join(parts) + (" …" if len(found) > 3 else "")
    column = values[name][keep]
    if name in ("progressive", "has_exif", "has_icc"):
        return f"{100 * column.mean():.0f} %"
    column = column[~np.isnan(column)]
    if not len(column):
        return "none"
    low, middle, high = (f"{v:.4g}" for v in np.percentile(column, [5, 50, 95]))
    return low if low == high else f"{middle} ({low} to {high})"
