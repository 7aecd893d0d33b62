"""Metrics: values calculated by hand, properties that must always hold, and the fast metrics compared with
scikit-learn's."""

import json
import time

import numpy as np
import pytest

from glass.measure.bootstrap import bootstrap_intervals, paired_difference
from glass.measure.generators import UNNAMED, per_generator
from glass.measure.metrics import binary_metrics, reliability_bins, roc_points
from glass.measure.weighted_metrics import METRIC_NAMES, weighted_metrics


def noisy_sample(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes and probabilities that overlap and have many ties."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(count) % 2)
    return label, np.clip(0.3 * label + 0.7 * rng.random(count), 0, 1).round(2)


def test_values_worked_out_by_hand() -> None:
    # Descending: 0.9 g, 0.8 g, 0.7 r, 0.6 g, 0.4 r, 0.3 r, 0.2 g, 0.1 r
    label = np.array([1, 1, 0, 1, 0, 0, 1, 0])
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])
    metrics = binary_metrics(label, probability)
    expected = {
        "accuracy": 6 / 8,
        "balanced_accuracy": 6 / 8,
        "accuracy_real": 3 / 4,
        "accuracy_generated": 3 / 4,
        "precision": 3 / 4,
        "recall": 3 / 4,
        "weighted_f1": 3 / 4,
        "auroc": (4 + 4 + 3 + 1) / 16,  # real images below each generated one
        "ap": (1 / 1 + 2 / 2 + 3 / 4 + 4 / 7) / 4,
        "eer": 1 / 4,
        "tpr_at_fpr_1": 2 / 4,
        "tpr_at_fpr_5": 2 / 4,
        "tpr_at_fpr_10": 2 / 4,  # the next threshold lets 25 % of the real images through
        "brier": (0.01 + 0.04 + 0.49 + 0.16 + 0.16 + 0.09 + 0.64 + 0.01) / 8,
        "nll": -np.log([0.9, 0.8, 0.3, 0.6, 0.6, 0.7, 0.2, 0.9]).mean(),
        "mean_confidence": (0.9 + 0.8 + 0.7 + 0.6 + 0.6 + 0.7 + 0.8 + 0.9) / 8,
        "mean_confidence_correct": (0.9 + 0.8 + 0.6 + 0.6 + 0.7 + 0.9) / 6,
        "mean_confidence_wrong": (0.7 + 0.8) / 2,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # Confidences 0.97, 0.97, 0.97 (bin 14: two right), 0.62 (bin 9: right), 1.0 (bin 14: wrong).
    label = np.array([1, 1, 0, 0, 0])
    probability = np.array([0.97, 0.97, 0.97, 0.38, 1.0])
    gap_14 = abs(2 / 4 - (3 * 0.97 + 1.0) / 4)
    assert binary_metrics(label, probability)["ece"] == pytest.approx(4 / 5 * gap_14 + 1 / 5 * (1 - 0.62))


def test_confidence_one_counts_in_the_calibration_error() -> None:
    """The reference study made this mistake: if the last bin excludes 1, the most confident errors are not counted."""
    assert binary_metrics(np.array([0, 0]), np.array([1.0, 1.0]))["ece"] == pytest.approx(1.0)


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    rng = np.random.default_rng(3)
    probability = rng.random(100_000)
    label = (rng.random(100_000) < probability).astype(int)
    metrics = binary_metrics(label, probability)
    assert metrics["ece"] == pytest.approx(0, abs=0.005)
    assert metrics["brier"] == pytest.approx(1 / 6, abs=0.005)  # ∫ p (1 - p) dp
    overconfident = binary_metrics(label[:10_000], np.clip(2 * probability[:10_000] - 0.5, 0, 1))
    assert overconfident["ece"] > 0.1


def test_perfect_and_inverted_classifiers() -> None:
    label = np.array([0, 0, 0, 1, 1])
    perfect = binary_metrics(label, np.array([0.1, 0.2, 0.3, 0.8, 0.9]))
    inverted = binary_metrics(label, np.array([0.9, 0.8, 0.7, 0.2, 0.1]))
    for name in ("auroc", "ap", "accuracy", "balanced_accuracy", "weighted_f1", "tpr_at_fpr_1"):
        assert perfect[name] == 1
    assert perfect["eer"] == 0
    assert perfect["mean_confidence_wrong"] is None
    assert (inverted["auroc"], inverted["accuracy"], inverted["eer"]) == (0, 0, 1)
    assert inverted["mean_confidence_correct"] is None


def test_equal_scores_say_nothing() -> None:
    label = np.array([0, 1] * 10)
    metrics = binary_metrics(label, np.full(20, 0.5))
    assert metrics["auroc"] == 0.5
    assert metrics["eer"] == pytest.approx(0.5)
    assert metrics["tpr_at_fpr_10"] == 0  # the only threshold that detects flags every real image


def test_ranking_metrics_ignore_monotone_maps() -> None:
    label, probability = noisy_sample(300)
    before, after = (binary_metrics(label, p) for p in (probability, probability**3))
    names = ("auroc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10")
    assert {n: before[n] for n in names} == pytest.approx({n: after[n] for n in names})
    assert before["accuracy"] != after["accuracy"]


def test_swapping_the_classes_mirrors_the_metrics() -> None:
    label, probability = noisy_sample(301)
    probability = np.clip(probability, 0.001, 0.999) + 1e-4  # none on the threshold
    ours, mirrored = binary_metrics(label, probability), binary_metrics(1 - label, 1 - probability)
    for name in ("auroc", "eer", "accuracy", "brier", "nll", "ece", "weighted_f1"):
        assert ours[name] == pytest.approx(mirrored[name]), name
    assert ours["accuracy_real"] == pytest.approx(mirrored["accuracy_generated"])


@pytest.mark.parametrize("limit", [1, 5, 10])
def test_a_promised_false_positive_rate_is_kept(limit: int) -> None:
    label, probability = noisy_sample(400, seed=limit)
    promised = binary_metrics(label, probability)[f"tpr_at_fpr_{limit}"]
    rates = [
        ((probability[label == 1] >= t).mean(), (probability[label == 0] >= t).mean())
        for t in [*np.unique(probability), 2.0]
    ]
    assert promised == max(tpr for tpr, fpr in rates if fpr <= limit / 100)


@pytest.mark.parametrize(
    ("label", "undefined"), [([0, 0, 0], {"accuracy_generated", "recall"}), ([1, 1, 1], {"accuracy_real"})]
)
def test_one_class_leaves_the_rest_undefined_not_nan(
    label: list[int], undefined: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glass.measure.bootstrap.LEAST_SCENES", 1)
    probability = np.array([0.2, 0.6, 0.7])
    metrics = binary_metrics(np.array(label), probability)
    ranking = {"auroc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10"}
    missing = {name for name, value in metrics.items() if value is None}
    assert missing == ranking | undefined | {"balanced_accuracy"}
    json.dumps(metrics, allow_nan=False)
    intervals = bootstrap_intervals(np.array(label), probability, draws=20)
    assert intervals["auroc"] is None
    assert intervals["accuracy"] is not None
    json.dumps(intervals, allow_nan=False)


def test_no_samples_and_nothing_flagged() -> None:
    empty = binary_metrics(np.array([], int), np.array([]))
    assert tuple(empty) == METRIC_NAMES
    assert set(empty.values()) == {None}
    assert bootstrap_intervals(np.array([], int), np.array([])) == {}
    assert binary_metrics(np.array([0, 1]), np.array([0.1, 0.2]))["precision"] is None


@pytest.mark.parametrize(
    ("label", "probability"), [([0, 2], [0.1, 0.2]), ([0, 1], [0.1, 1.2]), ([0, 1], [0.1, np.nan]), ([0], [0.1, 0.2])]
)
def test_what_is_no_label_or_probability_is_refused(label: list, probability: list) -> None:
    for measure in (binary_metrics, bootstrap_intervals):
        with pytest.raises(ValueError, match="must be"):
            measure(np.array(label), np.array(probability))


@pytest.mark.parametrize("threshold", [0.5, pytest.param(0.3, marks=pytest.mark.slow), 0.0])
def test_fast_weighted_metrics_equal_the_reference_on_repeated_samples(threshold: float) -> None:
    """For every metric, a weight of k must have the same effect as k copies of the sample."""
    from tests.runs.metrics_oracle import metrics_by_scikit_learn  # takes seconds, which other tests need not spend

    label, probability = noisy_sample(120, seed=5)
    weights = np.random.default_rng(1).integers(0, 4, (3, 120))
    fast = weighted_metrics(label, probability, weights, threshold)
    assert tuple(sorted(fast)) == tuple(sorted(METRIC_NAMES))
    for row in range(3):
        repeated = np.repeat(label, weights[row]), np.repeat(probability, weights[row])
        slow = metrics_by_scikit_learn(*repeated, threshold)
        for name in METRIC_NAMES:
            value = slow[name] if slow[name] is not None else np.nan
            assert fast[name][row] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.0])
@pytest.mark.parametrize("label", [[0, 1], [1, 0, 0], [1, 1], [0], [0, 1, 1, 0, 1, 0, 1]])
def test_metrics_equal_the_reference(label: list[int], threshold: float) -> None:
    """Tests all metrics, also on samples so small that many metrics are undefined."""
    from tests.runs.metrics_oracle import metrics_by_scikit_learn  # as above

    probability = np.array([0.5, 0.9, 0.5, 0.2, 1.0, 0.0, 0.3][: len(label)])
    expected = metrics_by_scikit_learn(np.array(label), probability, threshold)
    found = binary_metrics(np.array(label), probability, threshold)
    assert tuple(found) == METRIC_NAMES
    for name in METRIC_NAMES:
        assert (found[name] is None) == (expected[name] is None), name
        assert found[name] == pytest.approx(expected[name], abs=1e-12), name


def test_the_roc_curve_is_scikit_learns() -> None:
    from sklearn import metrics as sk  # as above

    for count, digits in ((2, 1), (3, 1), (60, 1), (300, 3)):
        label, probability = noisy_sample(count)
        probability = probability.round(digits)
        fpr, tpr, threshold = sk.roc_curve(label, probability)
        curve = roc_points(label, probability)
        assert (curve["fpr"], curve["tpr"]) == (fpr.tolist(), tpr.tolist())
        assert curve["threshold"] == [1 + probability.max(), *threshold[1:]]


def test_intervals_hold_the_value_and_repeat_with_the_seed() -> None:
    label, probability = noisy_sample(400)
    metrics = binary_metrics(label, probability)
    intervals = bootstrap_intervals(label, probability, draws=100, seed=1)
    assert set(intervals) == set(METRIC_NAMES)
    for name in ("auroc", "accuracy", "brier", "ap", "mean_confidence"):
        low, high = intervals[name]
        assert low < metrics[name] < high
    assert intervals == bootstrap_intervals(label, probability, draws=100, seed=1)
    assert intervals != bootstrap_intervals(label, probability, draws=100, seed=2)


def test_interval_of_accuracy_has_the_binomial_width() -> None:
    """The expected value comes from theory: ±1.96 √(p q / n) within each class."""
    label = np.arange(1000) % 2
    probability = np.where(np.arange(1000) < 800, label * 1.0, 1.0 - label)  # 80 % right
    low, high = bootstrap_intervals(label, probability, draws=1000)["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 1000), rel=0.1)


def test_scenes_are_drawn_whole() -> None:
    """100 scenes with 4 equal renditions each contain as much information as 100 samples, not as 400."""
    label, probability = noisy_sample(100)
    scenes = [f"scene {n}" for n in range(100)]
    single = bootstrap_intervals(label, probability, draws=500)
    copies = np.repeat(label, 4), np.repeat(probability, 4)
    grouped = bootstrap_intervals(*copies, draws=500, groups=np.repeat(scenes, 4))
    alone = bootstrap_intervals(*copies, draws=500, groups=[""] * 400)

    def width(intervals: dict) -> float:
        return intervals["auroc"][1] - intervals["auroc"][0]

    assert width(grouped) == pytest.approx(width(single), rel=0.15)
    assert width(alone) == pytest.approx(width(single) / np.sqrt(4), rel=0.2)


def test_fewer_than_six_scenes_in_a_class_have_no_interval_unless_all_draws_agree() -> None:
    label, probability = noisy_sample(120)
    place = np.empty(120, int)
    for kind in (0, 1):
        place[label == kind] = np.arange(60)
    two, five, six = ([f"{kind} {n % scenes}" for n, kind in zip(place, label, strict=True)] for scenes in (2, 5, 6))
    for groups in (two, five):
        found = bootstrap_intervals(label, probability, draws=50, groups=groups)
        assert found["auroc"] is None
        baseline = np.roll(probability, 3)
        assert paired_difference(label, probability, baseline, draws=50, groups=groups)["interval"] is None
        assert bootstrap_intervals(label, label * 1.0, draws=50, groups=groups)["auroc"] == [1, 1]
    assert bootstrap_intervals(label, probability, draws=50, groups=six)["auroc"] is not None
    few = np.append(np.flatnonzero(label == 1), np.flatnonzero(label == 0)[:6])  # six images, each its own scene
    assert bootstrap_intervals(label[few], probability[few], draws=50)["auroc"] is not None
    assert bootstrap_intervals(label[few[:-1]], probability[few[:-1]], draws=50)["auroc"] is None


def test_draws_that_miss_a_class_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one real image among 30. A third of the draws miss it and say nothing about real images."""
    monkeypatch.setattr("glass.measure.bootstrap.LEAST_SCENES", 1)
    label = np.array([0] + [1] * 29)
    intervals = bootstrap_intervals(label, np.linspace(0, 1, 30), draws=200)
    assert intervals["accuracy_real"] == [1.0, 1.0]
    assert intervals["auroc"] == [1.0, 1.0]
    assert intervals["recall"][0] < intervals["recall"][1]


def test_a_class_of_few_scenes_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two generated images is detected. One is in a scene with a real image, and the other is alone in its
    scene."""
    monkeypatch.setattr("glass.measure.bootstrap.LEAST_SCENES", 1)
    label = np.array([1, 1, 0, 0, 0, 0])
    groups = ["a", "b", "a", "c", "d", "e"]
    probability = np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.6])
    assert bootstrap_intervals(label, probability, 300, groups=groups)["recall"] == [0, 1]


def test_a_thousand_draws_of_a_thousand_samples_take_under_two_seconds() -> None:
    label, probability = noisy_sample(1000)
    start = time.perf_counter()
    bootstrap_intervals(label, probability)
    assert time.perf_counter() - start < 2


def test_blocks_of_draws_do_not_change_the_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    label, probability = noisy_sample(40)
    whole = bootstrap_intervals(label, probability, draws=64)
    monkeypatch.setattr("glass.measure.bootstrap.MAX_WEIGHTS_PER_BLOCK", 40 * 7)
    in_blocks = bootstrap_intervals(label, probability, draws=64)
    for name in METRIC_NAMES:
        assert in_blocks[name] == pytest.approx(whole[name], abs=1e-12), name


def test_paired_difference_is_narrower_than_either_interval() -> None:
    label, probability = noisy_sample(400)
    worse = np.clip(probability + np.random.default_rng(2).normal(0, 0.08, 400), 0, 1)
    result = paired_difference(label, probability, worse, draws=200)
    low, high = result["interval"]
    a, b = (bootstrap_intervals(label, p, draws=200)["auroc"] for p in (probability, worse))
    assert low < result["difference"] < high
    assert high - low < 0.7 * min(a[1] - a[0], b[1] - b[0])
    same = paired_difference(label, probability, probability, draws=50)
    assert same == {"difference": 0, "interval": [0, 0], "share_of_draws_above_zero": 0}


def test_paired_difference_ignores_the_order_of_samples_in_the_scores() -> None:
    """The table of each model is sorted by its own scores, but a draw must contain the same scenes for both models."""
    label, probability = noisy_sample(200)
    mapped = probability**2  # the same ranking: any difference would come from unequal draws
    assert paired_difference(label, probability, mapped, draws=50)["interval"] == [0, 0]


def test_equal_areas_of_other_rankings_differ_by_exactly_nothing() -> None:
    """Equal areas must differ by exactly 0, because a rounding error in the last bit would count as "above zero" in the
    share of draws."""
    label = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])
    first = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9]) / 10
    second = np.array([3, 8, 1, 6, 5, 2, 9, 4, 7]) / 10  # other images, as many pairs in order
    assert paired_difference(label, first, second)["difference"] == 0


def test_one_class_has_no_difference() -> None:
    result = paired_difference(np.zeros(4, int), np.linspace(0, 1, 4), np.linspace(0, 1, 4))
    assert result == {"difference": None, "interval": None, "share_of_draws_above_zero": None}


def test_a_row_per_generator_against_all_real_images() -> None:
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    generator = np.array(["", "", "", "", "easy", "easy", "hard", "hard", ""])
    probability = np.array([0.1, 0.2, 0.3, 0.6, 0.9, 0.95, 0.15, 0.55, 0.99])
    table = per_generator(label, probability, generator, draws=50)
    assert list(table["generators"]) == [UNNAMED, "easy", "hard"]
    easy, hard = table["generators"]["easy"], table["generators"]["hard"]
    assert (easy["images"], easy["auroc"], easy["recall"]) == (2, 1, 1)
    assert (hard["images"], hard["auroc"], hard["recall"]) == (2, 4 / 8, 1 / 2)
    assert hard["tpr_at_fpr_10"] == 0
    assert table["real"]["images"] == 4
    assert table["real"]["false_positive_rate"] == 1 / 4
    assert table["mean"]["auroc"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert (table["minimum"]["auroc"], table["worst"]) == (0.5, "hard")
    low, high = table["real"]["intervals"]["false_positive_rate"]
    assert 0 <= low <= 1 / 4 <= high <= 1
    json.dumps(table, allow_nan=False)


def test_generators_without_real_images_and_real_images_without_generators() -> None:
    generated = per_generator(np.ones(3, int), np.array([0.4, 0.6, 0.8]), ["a"] * 3, draws=10)
    assert generated["generators"]["a"]["auroc"] is None
    assert generated["generators"]["a"]["recall"] == pytest.approx(2 / 3)
    assert generated["real"]["false_positive_rate"] is None
    assert generated["worst"] is None
    real = per_generator(np.zeros(3, int), np.array([0.4, 0.6, 0.8]), [""] * 3, draws=10)
    assert real["generators"] == {}
    assert real["mean"]["auroc"] is None


def test_roc_points_enclose_the_area() -> None:
    label, probability = noisy_sample(200)
    curve = roc_points(label, probability)
    assert curve is not None
    assert (curve["fpr"][0], curve["tpr"][0]) == (0, 0)
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1, 1)
    area = np.trapezoid(curve["tpr"], curve["fpr"])
    assert area == pytest.approx(binary_metrics(label, probability)["auroc"])
    json.dumps(curve, allow_nan=False)
    assert roc_points(np.ones(2, int), np.array([0.2, 0.3])) is None


def test_a_long_roc_curve_is_thinned_to_points_that_lie_on_it() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 20_000)
    probability = 0.3 * label + 0.7 * rng.random(20_000)
    whole, thin = (roc_points(label, probability, max_points=n) for n in (10**6, 101))
    assert whole is not None
    assert thin is not None
    assert len(whole["fpr"]) > 1000
    assert 50 < len(thin["fpr"]) <= 101
    points = set(zip(whole["fpr"], whole["tpr"], whole["threshold"], strict=True))
    assert set(zip(thin["fpr"], thin["tpr"], thin["threshold"], strict=True)) <= points
    assert np.trapezoid(thin["tpr"], thin["fpr"]) == pytest.approx(np.trapezoid(whole["tpr"], whole["fpr"]), abs=1e-3)


def test_reliability_bins_partition_the_samples() -> None:
    label = np.array([0, 1, 1, 0, 1])
    bins = reliability_bins(label, np.array([0.0, 0.01, 1.0, 0.5, 0.95]))
    assert sum(b["count"] for b in bins) == 5
    assert bins[0] == {"low": 0, "high": 1 / 15, "count": 2, "mean_probability": 0.005, "share_generated": 0.5}
    assert (bins[-1]["high"], bins[-1]["count"]) == (1, 2)  # 1.0 lies in the last bin
