"""What a test shows about the promise of a calibration, and which images the calibration leaves undecided."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from glass.config.dataset_digest import dataset_json_sha256
from glass.measure.applied_calibration import FEWER, KEPT, NOT_KEPT, calibrated_results, chosen_here, decision_threshold
from glass.measure.calibration import Calibration, ViewSettings, sigmoid
from glass.measure.evaluation import evaluate_table
from glass.measure.predictions import PREDICTION_SCHEMA
from glass.measure.rates import clopper_pearson
from glass.report.sentences import IN_SAMPLE_WARNING, calibration_sentences
from glass.report.tables import verdict_counts

VIEWS = ViewSettings(4, "stratified_grid")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "dataset.json").write_text("{}")
    return tmp_path


@pytest.fixture
def calibration(data: Path) -> Calibration:
    """A calibration on 312 real images with 3 false alarms. Its band of doubt is from 0.3 to 0.6."""
    rates = {"rate": 3 / 312, "low": 0.002, "high": 0.028}
    source = {"real": 312, "generated": 312, "split": "calibration", "dataset_json_sha256": dataset_json_sha256(data)}
    return Calibration(2.0, 0.6, 0.3, VIEWS, "w", 0.01, 0.05, source, rates, rates)


def table(real: list[float], generated: list[float], temperature: float = 2.0) -> pa.Table:
    """A table of predictions with these calibrated probabilities."""
    probability = np.array(real + generated)
    margin = temperature * np.log(probability / (1 - probability))
    assert sigmoid(margin / temperature) == pytest.approx(probability)
    columns = {name: [None] * len(probability) for name in PREDICTION_SCHEMA.names}
    columns |= {
        "label": [0] * len(real) + [1] * len(generated),
        "probability": probability.tolist(),
        "logits": [[-m / 2, m / 2] for m in margin],
        "group": [""] * len(probability),
    }
    return pa.table(columns, schema=PREDICTION_SCHEMA)


@pytest.mark.parametrize(
    ("alarms", "images", "verdict"),
    [(0, 520, KEPT), (5, 520, KEPT), (16, 520, KEPT), (18, 520, NOT_KEPT), (0, 5000, FEWER), (9, 9, NOT_KEPT)],
)
def test_a_promise_is_held_against_as_many_images_as_there_are(
    alarms: int, images: int, verdict: str, calibration: Calibration, data: Path
) -> None:
    scored = table([0.7] * alarms + [0.1] * (images - alarms), [0.9])
    results = calibrated_results(calibration, scored, data, "test")
    promise = results["promise"]
    assert promise["verdict"] == verdict
    assert promise["rate"] == alarms / images
    assert promise["interval"] == pytest.approx(list(clopper_pearson(alarms, images)))
    assert promise["calibrated_on"] == {"images": 312, "false_alarms": 3}
    (first, _) = calibration_sentences(results)
    assert "at most 1.0 % false alarms (3 of 312" in first
    assert f"{alarms} of {images} real images" in first
    words = {
        KEPT: "the promise may hold",
        FEWER: "false alarms are rarer than promised",
        NOT_KEPT: "the promise is not kept",
    }
    assert first.endswith(f", so {words[verdict]}.")


def test_what_is_under_the_promised_rate_keeps_it_whatever_was_to_be_expected(
    calibration: Calibration, data: Path
) -> None:
    """The calibration saw no false alarm among 3,000 images, so fewer than the promised 1 % are expected. Even so, only
    a rate above 1 % breaks the promise."""
    source = calibration.data | {"real": 3000}
    none = replace(calibration, data=source, false_alarms=calibration.false_alarms | {"rate": 0.0})
    for alarms, verdict in ((40, KEPT), (60, NOT_KEPT)):
        scored = table([0.7] * alarms + [0.1] * (5000 - alarms), [])
        promise = calibrated_results(none, scored, data, "test")["promise"]
        assert promise["expected"][1] < 40
        assert promise["verdict"] == verdict


def test_shares_in_doubt_and_accuracy_on_the_decided(calibration: Calibration, data: Path) -> None:
    scored = table(2 * [0.1, 0.2, 0.4, 0.7], 2 * [0.2, 0.5, 0.59, 0.6, 0.9])
    results = calibrated_results(calibration, scored, data, "test")
    assert results["uncertain"] == {"real": 1 / 4, "generated": 2 / 5}
    assert results["decided"]["images"] == 12
    assert results["decided"]["accuracy"] == pytest.approx(4 / 6)
    assert results["decided"]["interval"] == pytest.approx(list(clopper_pearson(8, 12)))
    text = " ".join(calibration_sentences(results))
    assert "Uncertain: 25.0 % of the real and 40.0 % of the generated" in text
    assert "on the 12 images with a decided verdict: 0.667" in text
    assert results["before"]["ece"] != results["after"]["ece"]
    few = calibrated_results(calibration, table([0.1] * 5, [0.9] * 60), data, "test")  # five scenes of a class
    assert few["decided"] == {"images": 65, "accuracy": 1.0, "interval": None}


def test_a_table_of_verdicts_counts_the_uncertain(calibration: Calibration, data: Path) -> None:
    """There are three verdicts with a band of doubt and two without one. Every image is counted in exactly one of
    them."""
    scored = table([0.1, 0.2, 0.4, 0.7], [0.2, 0.5, 0.59, 0.6, 0.9])
    measured = evaluate_table(scored, calibration.threshold, "", draws=10)
    results = {**measured, "calibration": calibrated_results(calibration, scored, data, "test")}
    heads, (generated, real) = verdict_counts(results)
    assert heads == ["called generated", "uncertain", "called real"]
    assert (generated, real) == (["generated images", "2", "2", "1"], ["real images", "1", "1", "2"])
    narrow = replace(calibration, real_below=calibration.threshold)
    for applied in (None, calibrated_results(narrow, scored, data, "test")):
        heads, (generated, real) = verdict_counts(results | {"calibration": applied})
        assert heads == ["called generated", "called real"]
        assert (generated[1:], real[1:]) == (["2", "3"], ["1", "3"])


def test_one_class_has_no_promise(calibration: Calibration, data: Path) -> None:
    results = calibrated_results(calibration, table([], [0.4, 0.9]), data, "test")
    assert results["promise"] is None
    assert results["uncertain"] == {"real": None, "generated": 0.5}
    assert "–" in calibration_sentences(results)[0]


def test_images_that_chose_the_threshold_are_known_by_data_set_and_split(calibration: Calibration, data: Path) -> None:
    joined = replace(calibration, data=calibration.data | {"split": "calibration+test"})
    for split, one, other in (
        ("calibration", True, True),
        ("test", False, True),
        ("valid+test", False, True),
        ("valid", False, False),
    ):
        assert chosen_here(calibration, data, split) == one
        assert chosen_here(joined, data, split) == other
        value, source = decision_threshold(joined, VIEWS, data, split)
        assert value == 0.6
        assert source.startswith("chosen on these very images") == other
    (data / "dataset.json").write_text('{"another": 1}')
    assert not chosen_here(calibration, data, "calibration")
    results = calibrated_results(joined, table([0.1], [0.9]), data, "test")
    assert results["in_sample"] is False


def test_nothing_is_promised_on_the_images_that_chose_the_threshold(calibration: Calibration, data: Path) -> None:
    results = calibrated_results(calibration, table([0.1], [0.9]), data, "calibration")
    assert results["in_sample"] is True
    assert results["promise"] is None
    assert calibration_sentences(results) == [IN_SAMPLE_WARNING]


def test_documents_of_before_have_no_sentences() -> None:
    assert calibration_sentences(None) == []
    assert calibration_sentences({"temperature": 2, "before": {}, "after": {}}) == []
