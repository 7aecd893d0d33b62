"""The counts of memory behind ``bench memory``, its fitted lines and ratios, and its messages about wrong arguments."""

import json

import pytest
import torch

from bench.__main__ import main
from bench.harness.harness import Ratio
from bench.harness.schemas import check_result
from bench.memory import fit, memory_ratios
from bench.methods.training_step import step_config
from glass.memory.counts import KeptStorages, LiveStorages
from glass.train.counted_step import Step
from shards.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_look")

FLOAT = 4


def test_live_storages_are_counted_as_they_come_and_go():
    known = torch.zeros(100)
    with LiveStorages([known]) as live:
        a = torch.ones(1000)
        view = a[10:]
        del a  # the view keeps it
        b = view + 1
        assert live.bytes == FLOAT * (100 + 1000 + 990)
        del view, b
        assert live.bytes == FLOAT * 100
        known.add_(1)
    assert live.peak_bytes == FLOAT * (100 + 1000 + 990)
    assert sum(live.at_peak.values()) == live.peak_bytes


def test_kept_storages_are_those_that_the_backward_pass_needs():
    weight = torch.ones(50, 50, requires_grad=True)
    x = torch.ones(8, 50)
    kept = KeptStorages()
    with kept.watching():
        hidden = (x @ weight).relu()  # x for the weight's gradient, relu's result for its own
        (hidden + 1).sum()  # nothing
    assert kept.bytes_beside([]) == FLOAT * (8 * 50 + 8 * 50)
    assert kept.bytes_beside([x.untyped_storage()._cdata]) == FLOAT * 8 * 50


@pytest.mark.parametrize("chunk", [pytest.param(None, marks=pytest.mark.slow), 1])
def test_the_counts_agree(monkeypatch, chunk):
    """The bytes that are alive after the forward pass equal those that autograd keeps, within 5 %. The parts of the
    peak add up to the peak."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    options = {"preset": "glass_tiny", "batch_size": "4", "precision": "float32"}
    found = Step(step_config({**options, "crop_chunk": str(chunk)}, 4, 1)).count_by_storages()
    kept, live = found["kept_by_autograd_bytes"], found["activations_after_forward_bytes"]
    assert kept == pytest.approx(live, rel=0.05)
    parts = ("weights", "gradients", "optimiser", "activations", "input")
    assert sum(found[f"{part}_bytes"] for part in parts) == found["peak_bytes"]
    assert found["peak_bytes"] >= kept + found["weights_bytes"] + found["optimiser_bytes"]
    assert found["optimiser_bytes"] == pytest.approx(2 * found["weights_bytes"], rel=0.02)


def row(method: str, crops: int, peak: float) -> dict:
    return {
        "preset": "p",
        "method": method,
        "num_crops": crops,
        "peak_bytes": peak,
        "kept_by_autograd_bytes": 98.0,
        "activations_after_forward_bytes": 100.0,
        "process_peak_bytes": 1.1 * peak,
    }


def test_lines_and_ratios():
    rows = [row("plain", n, 1000 + 200 * n) for n in (1, 2, 4)]
    rows += [row("chunked", n, 1200 + 4 * n) for n in (1, 2, 4)]
    fits = fit(rows)
    plain, chunked = fits
    assert (plain["intercept_bytes"], plain["slope_bytes_per_crop"]) == pytest.approx((1000, 200))
    assert plain["r_squared"] == pytest.approx(1)
    assert chunked["crops"] == [1, 2, 4]
    ratios, ranges = memory_ratios(rows, fits, {"p@8crops": Ratio(1.3, 1.2, 1.4)})
    assert ratios["slope_chunked_over_plain"] == pytest.approx(0.02)
    assert ratios["step_time_chunked_over_plain"] == 1.3
    assert ranges["step_time_chunked_over_plain"] == [1.2, 1.4]
    assert ratios["kept_by_autograd_over_live_storages"] == pytest.approx(0.98)
    assert ratios["process_peak_over_live_storages"] == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--presets", "glass_huge"], "'glass_huge' is unknown: choose from"),
        (["--presets", "single_view_tiny"], "this preset sees no crops"),
        (["--crop-chunk", "0"], "--crop-chunk 0: must be at least 1"),
        (["--batch-size", "-1"], "--batch-size -1: must be at least 1"),
        (["--crops", "0"], "--crops 0: all must be above 0"),
        (["--rounds", "-1"], "--rounds -1: must be at least 0"),
        (["--output", __file__], "is a file: give a folder"),
        (["--set", "loader.num_crops=4"], "--set loader.num_crops: this command sets loader.num_crops itself: give"),
        (["--set", "train.ema=0.9"], "because the moving average is not measured"),
    ],
)
def test_mistakes_get_one_sentence(arguments, message):
    with pytest.raises(InputError) as caught:
        main(["memory", *arguments])
    assert message in str(caught.value)


@pytest.mark.slow
def test_the_bench_measures_both_ways_in_turn(tmp_path, capsys):
    arguments = ["--presets", "glass_tiny", "--crops", "1,4", "--time-crops", "4", "--rounds", "2"]
    assert main(["memory", *arguments, "--output", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    check_result("memory", document)
    assert document["failed"] == {}
    assert [(r["method"], r["num_crops"]) for r in document["rows"]] == [
        ("plain", 1),
        ("chunked", 1),
        ("plain", 4),
        ("chunked", 4),
    ]
    assert document["ratios"]["slope_chunked_over_plain"] < 0.5
    assert 0.5 < document["ratios"]["step_time_chunked_over_plain"] < 5
    assert {path.name for path in tmp_path.iterdir()} == {"memory.json", "memory.png", "memory.svg"}
