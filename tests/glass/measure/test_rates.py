"""Intervals of rates: their width is never zero, they widen if scenes have several images, and they hold for fresh
images."""

import numpy as np
import pyarrow as pa
import pytest

from glass.measure.bootstrap import bootstrap_intervals
from glass.measure.evaluation import evaluate_table
from glass.measure.generators import per_generator
from glass.measure.metrics import binary_metrics
from glass.measure.predictions import PREDICTION_SCHEMA
from glass.measure.rates import clopper_pearson, expected_counts, metric_intervals, rate_interval
from glass.measure.real_slices import _thirds, real_slices
from glass.report.tables import NO_INTERVAL, interval_text
from shards.manifest.dataset import ShardDataset


def test_no_alarm_is_not_never() -> None:
    """The rule of three: 0 of 300 alarms still allows a rate of 1.2 %, and 0 of 10 allows almost a third."""
    assert rate_interval(np.zeros(300, bool)) == pytest.approx([0, 0.0122], abs=1e-4)
    assert rate_interval(np.zeros(10, bool)) == pytest.approx([0, 0.3085], abs=1e-4)
    assert rate_interval(np.ones(10, bool)) == pytest.approx([1 - 0.3085, 1], abs=1e-4)
    assert rate_interval(np.zeros(0, bool)) is None


@pytest.mark.parametrize(("count", "total"), [(1, 10), (7, 50), (299, 300)])
def test_beyond_either_end_of_an_interval_lies_a_fortieth(count: int, total: int) -> None:
    """The definition of Clopper and Pearson: at either end, a count as extreme as the observed one has a probability of
    2.5 %."""
    from scipy.stats import binom  # takes a second, which other tests need not spend

    low, high = clopper_pearson(count, total)
    assert binom.sf(count - 1, total, low) == pytest.approx(0.025)
    assert binom.cdf(count, total, high) == pytest.approx(0.025)


@pytest.mark.parametrize("count", [0, 1, 7, 50])
def test_images_that_stand_alone_are_counted(count: int) -> None:
    hit = np.arange(50) < count
    assert rate_interval(hit) == pytest.approx(clopper_pearson(count, 50), abs=1e-9)
    assert rate_interval(hit, [""] * 50) == pytest.approx(clopper_pearson(count, 50), abs=1e-9)


def test_a_scene_whose_images_err_together_counts_once() -> None:
    hit = np.arange(40) < 6
    copies, scenes = np.repeat(hit, 5), np.repeat([f"scene {n}" for n in range(40)], 5)
    assert rate_interval(copies, scenes) == pytest.approx(clopper_pearson(6, 40), abs=1e-6)
    nothing = rate_interval(np.zeros(200, bool), scenes)
    assert nothing == pytest.approx(clopper_pearson(0, 40))
    # Images that have nothing in common but a name are as good as alone, and never more than that.
    mixed = rate_interval(hit, [f"scene {n % 20}" for n in range(40)])
    assert mixed is not None
    assert mixed[0] <= clopper_pearson(6, 40)[0] + 1e-9


def test_few_scenes_do_not_make_a_narrow_interval() -> None:
    """Each of two scenes has as many errors as the other, because those of the classes cancel, or by chance. Neither
    says that scenes hardly differ."""
    label, scene = np.repeat([0, 1], 40), np.arange(80) % 2
    cancelling, by_chance, none = label == scene, np.arange(80) % 4 < 2, np.ones(80, bool)
    for right, real in ((cancelling, (1, 2)), (by_chance, (1, 2)), (none, (2, 2))):
        columns: dict[str, list] = {name: [None] * 80 for name in PREDICTION_SCHEMA.names}
        columns |= {"label": label.tolist(), "probability": np.where(right == label, 0.9, 0.1).tolist()}
        columns |= {"group": [f"scene {n}" for n in scene], "generator": [""] * 40 + ["a"] * 40}
        results = evaluate_table(pa.table(columns, schema=PREDICTION_SCHEMA), draws=20)
        intervals, rows = results["intervals"], results["per_generator"]
        expected = pytest.approx(list(clopper_pearson(*real)))
        assert intervals["accuracy_real"] == intervals["accuracy_generated"] == expected
        assert rows["generators"]["a"]["intervals"]["recall"] == expected
        for name in ("accuracy", "precision", "weighted_f1", "balanced_accuracy", "brier", "tpr_at_fpr_5"):
            assert interval_text(results["metrics"][name], intervals[name]) == NO_INTERVAL, name


def test_metrics_that_are_shares_take_it_and_others_the_bootstrap() -> None:
    label = np.arange(60) % 2
    probability = np.where(label == 1, 0.9, 0.1) - np.arange(60) / 1000
    intervals = metric_intervals(label, probability, 50, 0, None, 0.5)
    resampled = bootstrap_intervals(label, probability, 50, 0)
    assert resampled["accuracy_real"] == [1, 1]
    assert intervals["accuracy_real"] == pytest.approx(list(clopper_pearson(30, 30)))
    assert intervals["recall"] == intervals["accuracy_generated"] == intervals["accuracy_real"]
    assert intervals["accuracy"] == pytest.approx(list(clopper_pearson(60, 60)))
    for name in ("auroc", "brier", "eer"):
        assert intervals[name] == resampled[name]
    # Of these the bootstrap says nothing where all draws agree at an end.
    for name in ("precision", "tpr_at_fpr_1"):
        assert resampled[name] == [1, 1]
        assert intervals[name] == pytest.approx(list(clopper_pearson(30, 30)))


def test_nothing_of_sixteen_is_not_nothing_at_all() -> None:
    """At 1 % and 5 % false alarms, 0 of 16 generated images are detected, because a real image has the highest
    score."""
    label, probability = np.array([0] * 16 + [1] * 16), np.linspace(0.9, 0.1, 32)
    for name in ("tpr_at_fpr_1", "tpr_at_fpr_5"):
        interval = metric_intervals(label, probability, 50, 0, None, 0.5)[name]
        assert interval == pytest.approx(list(clopper_pearson(0, 16)))


def test_rows_of_generators_and_of_real_images_take_it() -> None:
    label = np.array([0] * 20 + [1] * 8)
    table = per_generator(label, label * 0.9, [""] * 20 + ["a"] * 8, draws=20)
    assert table["real"]["intervals"]["false_positive_rate"] == pytest.approx(list(clopper_pearson(0, 20)))
    assert table["generators"]["a"]["intervals"]["recall"] == pytest.approx(list(clopper_pearson(8, 8)))


def test_a_slice_of_ten_images_does_not_promise_never(synthetic_dataset: ShardDataset) -> None:
    keys = synthetic_dataset.table["sample_key"].to_pylist()
    columns = {name: [None] * 24 for name in PREDICTION_SCHEMA.names}
    columns |= {"sample_key": keys, "label": [0] * 24, "group": [""] * 24}
    table = pa.table(columns | {"probability": [0.1] * 24}, schema=PREDICTION_SCHEMA)
    slices = real_slices(table, synthetic_dataset, 0.5)
    assert slices
    for row in slices:
        assert row["false_positive_rate"] == 0
        assert row["interval"] == pytest.approx(list(clopper_pearson(0, row["images"])))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((12.0, 12.193, 12.485), ["below 12.2", "12.2 to 12.5", "from 12.5"]),
        ((50.0, 102.4, 151.0), ["below 102", "102 to 151", "from 151"]),
        ((0.2, 1.25, 8.3), ["below 1.2", "1.2 to 8.3", "from 8.3"]),
    ],
)
def test_the_ends_of_slices_differ(sizes: tuple[float, ...], words: list[str]) -> None:
    """Most phones take photographs of 12.0, 12.2 or 12.5 megapixels."""
    values = np.repeat(sizes, 10)
    slices = _thirds("megapixels", values, np.ones(30, bool))
    assert [name for name, _ in slices] == [f"megapixels {word}" for word in words]
    assert [keep.sum() for _, keep in slices] == [10, 10, 10]


def test_images_of_a_folder_are_a_kind(synthetic_dataset: ShardDataset) -> None:
    """All false alarms are in one of the folders, and the row of this folder shows it."""
    folders = [path.rpartition("/")[0] for path in synthetic_dataset.column("source_path")]
    columns = {name: [None] * 24 for name in PREDICTION_SCHEMA.names}
    columns |= {"sample_key": synthetic_dataset.table["sample_key"].to_pylist(), "label": [0] * 24, "group": [""] * 24}
    columns["probability"] = [0.9 if folder == "real" else 0.1 for folder in folders]
    slices = real_slices(pa.table(columns, schema=PREDICTION_SCHEMA), synthetic_dataset, 0.5)
    rows = {row["slice"]: row for row in slices if row["slice"].startswith("in ")}
    assert set(rows) == {"in real"}, "the others hold too few images"
    assert (rows["in real"]["images"], rows["in real"]["false_positive_rate"]) == (folders.count("real"), 1)


def test_confidence_is_of_the_likelier_class_at_any_threshold() -> None:
    """A threshold of 0.9 changes the verdicts, but not how well the probabilities are calibrated."""
    rng = np.random.default_rng(0)
    probability = rng.random(2000)
    label = (rng.random(2000) < probability).astype(int)
    names = ("ece", "mean_confidence", "mean_confidence_correct", "mean_confidence_wrong")
    low, high = (binary_metrics(label, probability, t) for t in (0.5, 0.9))
    assert low["accuracy"] != high["accuracy"]
    assert [low[name] for name in names] == [high[name] for name in names]
    assert low["ece"] < 0.05
    one, other = (bootstrap_intervals(label, probability, 20, threshold=t) for t in (0.5, 0.9))
    assert [one[name] for name in names] == [other[name] for name in names]


@pytest.mark.parametrize("total", [60, 312])
@pytest.mark.parametrize("allowed", [0, 3])
def test_fresh_images_stay_within_what_was_expected(total: int, allowed: int) -> None:
    """Simulates 2,000 times a threshold between the (k + 1)-th and the k-th highest of n uniform scores. In at least 95
    % of the cases, up to sampling error, the count of fresh scores above it is within the expected range, wherever in
    the gap the threshold is."""
    rng, new = np.random.default_rng(1), 520
    low, high = expected_counts(allowed, total, new)
    for place in (0.0, 0.5, 1.0):
        inside = 0
        for _ in range(2000):
            scores = np.sort(rng.random(total))[::-1]
            below, above = scores[allowed], scores[allowed - 1] if allowed else 1.0
            rate = 1 - (below + place * (above - below))
            inside += low <= rng.binomial(new, rate) <= high
        assert inside / 2000 > 0.94


def test_what_is_expected_has_ends() -> None:
    assert expected_counts(0, 50, 20)[0] == 0
    assert expected_counts(50, 50, 20) == (expected_counts(50, 50, 20)[0], 20)
    assert expected_counts(3, 300, 0) == (0, 0)
    # A larger test set narrows it, as a rate, to the interval of the rate itself.
    low, high = expected_counts(3, 312, 10**5)
    assert (low / 10**5, high / 10**5) == pytest.approx(clopper_pearson(3, 312), abs=2e-4)
