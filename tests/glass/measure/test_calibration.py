"""Calibration: the temperature, the rule for the threshold, and a file that belongs to certain weights."""

import json

import numpy as np
import pytest

from glass.measure.calibration import Calibration, ViewSettings, read_calibration, sigmoid, write_calibration
from glass.measure.fit_calibration import fit_calibration
from glass.measure.metrics import binary_metrics
from shards.errors import InputError

VIEWS = ViewSettings(4, "stratified_grid")


def drawn(number, temperature, seed=0):
    """Margins whose calibrated probability is sigmoid(margin / temperature), and labels drawn
    from it."""
    random = np.random.default_rng(seed)
    margin = random.normal(0, 3, number)
    return margin * temperature, (random.random(number) < sigmoid(margin)).astype(int)


@pytest.mark.parametrize("temperature", [pytest.param(0.2, marks=pytest.mark.slow), 1.0, 4.0])
def test_the_temperature_is_found_again(temperature):
    margin, label = drawn(20_000, temperature)
    calibration = fit_calibration(margin, label, VIEWS, "w")
    assert calibration.temperature == pytest.approx(temperature, rel=0.05)
    probability = calibration.probability(drawn(20_000, temperature, seed=1)[0])
    label = drawn(20_000, temperature, seed=1)[1]
    assert binary_metrics(label, probability)["ece"] < 0.02
    if temperature != 1.0:
        assert calibration.before["nll"] > calibration.after["nll"]


def test_false_alarms_keep_the_rule_and_detections_are_the_most_possible():
    margin, label = drawn(3000, 1.0)
    calibration = fit_calibration(margin, label, VIEWS, "w", max_fpr=0.02)
    probability = calibration.probability(margin)
    alarms = (probability[label == 0] >= calibration.threshold).mean()
    assert alarms == calibration.false_alarms["rate"] <= 0.02
    # The next lower threshold that detects more breaks the rule.
    detected = probability[(label == 1) & (probability < calibration.threshold)].max()
    assert (probability[label == 0] >= detected).mean() > 0.02
    low, high = calibration.false_alarms["low"], calibration.false_alarms["high"]
    assert low < alarms < high


def test_fresh_images_keep_the_promise():
    """In at least 17 of 20 calibrations, the true rate of false alarms is within the 95 % interval."""
    kept = 0
    pool_margin, pool_label = drawn(50_000, 1.0, seed=99)
    for seed in range(20):
        calibration = fit_calibration(*drawn(1200, 1.0, seed), VIEWS, "w")
        real = calibration.probability(pool_margin[pool_label == 0])
        rate = (real >= calibration.threshold).mean()
        kept += calibration.false_alarms["low"] <= rate <= calibration.false_alarms["high"]
    assert kept >= 17


def test_separated_classes_stay_finite_and_meet_in_the_middle():
    margin = np.concatenate([np.linspace(-3, -1, 200), np.linspace(5, 9, 200)])
    label = np.repeat([0, 1], 200)
    calibration = fit_calibration(margin, label, VIEWS, "w")
    assert 0.1 < calibration.temperature < 1.0
    assert calibration.threshold == pytest.approx(sigmoid(2.0 / calibration.temperature))
    assert calibration.false_alarms["rate"] == calibration.called_real["rate"] == 0.0
    assert calibration.real_below == calibration.threshold  # no doubt between them


def test_verdicts_and_the_band_of_doubt():
    margin, label = drawn(3000, 1.0)
    calibration = fit_calibration(margin, label, VIEWS, "w")
    assert calibration.real_below < calibration.threshold
    middle = (calibration.real_below + calibration.threshold) / 2
    verdicts = [calibration.verdict(p) for p in (0.0, middle, calibration.threshold, 1.0)]
    assert verdicts == ["real", "uncertain", "generated", "generated"]
    below = calibration.probability(margin[label == 1]) < calibration.real_below
    assert below.mean() == calibration.called_real["rate"] <= 0.05


def test_a_model_that_detects_nothing_calls_nothing_generated():
    margin = np.concatenate([np.linspace(0, 1, 50), np.linspace(-2, -1, 50)])
    calibration = fit_calibration(margin, np.repeat([0, 1], 50), VIEWS, "w")
    assert (calibration.probability(margin) < calibration.threshold).all()


@pytest.mark.parametrize(
    ("margin", "label", "words"), [([1.0, 2.0], [1, 1], "real and generated"), ([np.nan, 2.0], [0, 1], "not finite")]
)
def test_what_cannot_be_calibrated(margin, label, words):
    with pytest.raises(InputError, match=words):
        fit_calibration(np.array(margin), np.array(label), VIEWS, "w")


class TestFile:
    @pytest.fixture
    def calibration(self):
        return fit_calibration(*drawn(500, 2.0), VIEWS, "weights")

    def test_comes_back_as_it_was(self, tmp_path, calibration):
        write_calibration(tmp_path, calibration)
        read = read_calibration(tmp_path, "weights")
        assert read == calibration
        assert isinstance(read, Calibration)
        assert isinstance(read.views, ViewSettings)

    def test_earlier_versions_did_not_count_scenes(self, tmp_path, calibration):
        write_calibration(tmp_path, calibration)
        path = tmp_path / "calibration.json"
        document = json.loads(path.read_text())
        del document["data"]["real_scenes"]
        path.write_text(json.dumps(document))
        assert read_calibration(tmp_path, "weights").false_alarms == calibration.false_alarms

    def test_none_is_none(self, tmp_path):
        assert read_calibration(tmp_path, "weights") is None

    def test_other_weights(self, tmp_path, calibration):
        write_calibration(tmp_path, calibration)
        with pytest.raises(InputError, match="weights other than"):
            read_calibration(tmp_path, "others")

    @pytest.mark.parametrize(
        "change",
        [
            {"temperature": 0},
            {"temperature": "x"},
            {"threshold": 2},
            {"real_below": 1.0},
            {"views": {}},
            {"threshold": None},
            {"data": {}},
            {"data": {"real": 0}},
            {"false_alarms": {}},
            {"false_alarms": {"rate": 2, "low": 0, "high": 1}},
            {"called_real": {"rate": "x"}},
            {"max_fpr": None},
        ],
    )
    def test_damaged(self, tmp_path, calibration, change):
        write_calibration(tmp_path, calibration)
        path = tmp_path / "calibration.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(InputError, match="damaged"):
            read_calibration(tmp_path, "weights")

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', "\x00"])
    def test_rubbish(self, tmp_path, text):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(InputError, match="damaged"):
            read_calibration(tmp_path, "weights")

    def test_another_version(self, tmp_path):
        (tmp_path / "calibration.json").write_text('{"format_version": 9}')
        with pytest.raises(InputError, match="format_version 9"):
            read_calibration(tmp_path, "weights")
