"""Measures how well size, format and compression alone separate the classes.

If such file properties, called facts in the code, separate the classes, a detector may learn them instead of the
picture. A small gradient-boosted model is trained on only those properties that leave traces in the pixels; its
cross-validated AUROC measures how much they reveal (0.5 = nothing). All images of a scene are in the same fold, just as
they are in the same split. A second model is trained on the remaining properties, such as metadata, which a detector
that sees only pixels cannot learn. ``shards.build.class_differences`` tests each single property for a difference
between the classes; ``--equalise match`` uses the same test.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glass.auditing.dataset_facts import facts_table, raw_facts, typical
from glass.measure.bootstrap import bootstrap_intervals
from shards.build.class_differences import (
    FACT_NAMES,
    FILE_FACTS,
    GRADED,
    PIXEL_FACTS,
    Classes,
    compared_facts,
    scene_numbers,
)
from shards.manifest.schema import CLASS_NAMES

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = ["FEATURES", "FeatureAudit", "MetadataAudit", "OutsideAudit", "audit_metadata"]

Array = npt.NDArray[Any]

FEATURES = FACT_NAMES
"""Maps each feature (a file property) to its display name. Of several equivalent features, the first one is
reported."""

_MAX_SAMPLES = 50_000  # more would only narrow an interval of ±0.005
_MIN_SCENES = 20  # per class; fewer leave nothing to validate on
_FOLDS = 5
_DRAWS = 500


@dataclass(frozen=True)
class FeatureAudit:
    """How well one feature separates the classes."""

    feature: str
    """The feature: a key of ``FEATURES``."""
    auroc: float
    """Cross-validated AUROC of a model that knows this feature alone."""
    importance: float
    """Drop in AUROC when this feature is shuffled. If the feature leaves traces in the pixels, the model is trained on
    all features that do; otherwise, on all that do not. Equivalent features can replace each other, so all of them may
    seem unimportant: consider ``auroc``, too."""
    real: str
    """Typical values of real images, as readable text."""
    generated: str
    in_pixels: bool
    """Whether the feature leaves traces in the pixels."""
    differs: bool
    """Whether the classes differ in this feature by more than chance and by more than a negligible amount."""


@dataclass(frozen=True)
class OutsideAudit:
    """How well the file properties that leave no trace in the pixels separate the classes."""

    auroc: float
    interval: tuple[float, float]
    """95 % interval of ``auroc``, by resampling scenes."""


@dataclass(frozen=True)
class MetadataAudit:
    """How well the file properties that leave traces in the pixels separate the classes."""

    auroc: float
    interval: tuple[float, float]
    """95 % interval of ``auroc``, by resampling scenes."""
    noise: float
    """Standard deviation that the AUROC would have if the scores were random, given the number of scenes in each
    class."""
    images: int
    """Number of images used: all, or a random sample of a large data set."""
    features: tuple[FeatureAudit, ...]
    """All features that vary, including those that leave no trace in the pixels, sorted by decreasing AUROC."""
    generators: dict[str, tuple[float, float]]
    """Maps each generator to (AUROC of its images against all real images, standard deviation that this AUROC would
    have if the scores were random). The scores come from a model trained on all file properties that leave traces in
    the pixels."""
    not_in_pixels: OutsideAudit | None = None
    """Separation by the file properties that leave no trace in the pixels; None if none of them varies."""
    quant_tables: dict[str, int] = field(default_factory=dict)
    """Maps each class to the number of distinct JPEG quantisation table sets in its images."""


@dataclass(frozen=True)
class _Sampled:
    """The images that the models score: all, or a random sample of a large data set."""

    rows: Array
    label: Array
    scenes: Array
    folds: list[tuple[Array, Array]]
    seed: int

    def interval(self, scores: Array) -> tuple[float, tuple[float, float]]:
        """AUROC of ``scores`` and its 95 % interval."""
        auroc = _auroc(self.label, scores)
        scenes = self.scenes.astype(str)
        found = bootstrap_intervals(self.label, scores, _DRAWS, self.seed, scenes)["auroc"]
        low, high = found or (auroc, auroc)
        return auroc, (low, high)


def audit_metadata(dataset: "ShardDataset", seed: int = 0) -> MetadataAudit | None:
    """Audits the samples from all splits together. Returns None if a class has fewer than 20 scenes.

    The result depends only on the data set and ``seed``, not on the number of threads.
    """
    from threadpoolctl import threadpool_limits

    label = dataset.column("label").astype(np.int64)
    scenes = scene_numbers(dataset.column("group"))
    rows = np.arange(len(dataset))
    if len(rows) > _MAX_SAMPLES:
        stream = np.random.Generator(np.random.Philox(seed))
        rows = np.sort(stream.choice(len(rows), _MAX_SAMPLES, replace=False))
    counts = [len(np.unique(scenes[rows][label[rows] == kind])) for kind in (0, 1)]
    if min(counts) < _MIN_SCENES:
        return None
    folds = _folds(label[rows], scenes[rows], seed)
    sampled = _Sampled(rows, label[rows], scenes[rows], folds, seed)
    raw = raw_facts(dataset)
    facts = compared_facts(raw)
    # One thread: for small tables, more threads cost more than they gain, and they would change sums.
    with threadpool_limits(1, user_api="openmp"):
        scores, pixels = _examine(facts, PIXEL_FACTS, sampled)
        outside, files = _examine(facts, FILE_FACTS, sampled)
    classes = Classes(label, scenes)
    auroc, interval = (0.5, (0.5, 0.5)) if scores is None else sampled.interval(scores)
    features = []
    for name, (alone, lost) in {**pixels, **files}.items():
        real, generated = (typical(dataset, raw, facts, name, label == kind) for kind in (0, 1))
        differs = classes.difference(name, facts[name]).counts
        in_pixels = name in PIXEL_FACTS
        features.append(FeatureAudit(name, alone, lost, real, generated, in_pixels, differs))
    tables = dataset.codes("quant_digest")[0]
    return MetadataAudit(
        auroc,
        interval,
        _noise(counts),
        len(rows),
        tuple(sorted(features, key=lambda f: -round(f.auroc, 3))),
        {} if scores is None else _by_generator(dataset.column("generator")[rows], sampled.label, scores),
        None if outside is None else OutsideAudit(*sampled.interval(outside)),
        {
            kind: len(np.unique(tables[(label == place) & (raw["jpeg_quality"] > 0)]))
            for place, kind in enumerate(CLASS_NAMES)
        },
    )


def _examine(
    facts: Mapping[str, Array], names: Iterable[str], sampled: _Sampled
) -> tuple[Array | None, dict[str, tuple[float, float]]]:
    """Returns ``(scores, separations)``. ``separations`` maps each of the properties ``names`` to (its AUROC on its
    own, its importance).

    Properties whose value is the same for all images are left out. The scores (n,) come from one model that is given
    all remaining properties. If no property remains, the scores are None.
    """
    rows, label = sampled.rows, sampled.label
    varying = [name for name in names if len(np.unique(facts[name][rows])) > 1]
    if not varying:
        return None, {}
    table = facts_table(facts, varying, rows)
    scores, importance = _cross_validate(table, sampled, varying, shuffled=True)
    alone = [
        _auroc(label, _cross_validate(table[:, [place]], sampled, [name])[0]) for place, name in enumerate(varying)
    ]
    return scores, {
        name: (by_itself, float(lost)) for name, by_itself, lost in zip(varying, alone, importance, strict=True)
    }


def _noise(counts: Sequence[int]) -> float:
    """Returns the standard deviation of the AUROC for random scores, derived from the Mann-Whitney statistic's
    variance.

    ``counts`` holds the two class sizes, (real, generated).
    """
    real, generated = counts
    return float(np.sqrt((real + generated + 1) / (12 * real * generated)))


def _folds(label: Array, scenes: Array, seed: int) -> list[tuple[Array, Array]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(label), 1)), label, scenes))


def _cross_validate(
    table: Array, sampled: _Sampled, names: Sequence[str], shuffled: bool = False
) -> tuple[Array, Array]:
    """Cross-validates a model on the features in ``table`` (n, k) and returns (scores, loss).

    ``scores`` (n,) are in [0, 1]; each sample is scored by the model of the fold in which its scene was held out.
    ``loss`` (k,) is how much the AUROC drops when a feature is shuffled among the held-out samples, averaged over the
    folds. It is 0 unless ``shuffled`` is set.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    label, folds, seed = sampled.label, sampled.folds, sampled.seed
    scores, loss = np.empty(len(label)), np.zeros(table.shape[1])
    stream = np.random.Generator(np.random.Philox(seed))
    for train, test in folds:
        model = HistGradientBoostingClassifier(
            max_iter=60,
            learning_rate=0.1,
            max_leaf_nodes=8,
            l2_regularization=1.0,
            min_samples_leaf=min(20, max(2, len(train) // 20)),
            early_stopping=False,
            categorical_features=[name not in GRADED for name in names],
            random_state=seed,
        )
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
