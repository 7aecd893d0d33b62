"""A measurement becomes a row, and rates are checked before a document is printed."""

import copy
import json
import math

import pytest

from bench.harness.environment import environment
from bench.harness.harness import Measurement, Ratio
from bench.harness.result import ratio_fields, row_of
from bench.harness.schemas import ImageRow, check_result, print_result
from bench.harness.task import Task
from bench.methods import LABELS
from bench.plots import plot_rows

pytestmark = pytest.mark.usefixtures("quick_look")


def measurement(method: str = "window", crops: int = 4, rates=(90.0, 110.0, 100.0)) -> Measurement:
    return Measurement(
        Task(method, "x:y", "", crops, 1, [0], 1.0),
        images_per_s=list(rates),
        images=300,
        cpu_s=3.0,
        peak_rss_mib=123.456,
        report={"bytes_read_per_image": 1000.4, "splice_ms": 0.123456},
    )


@pytest.fixture
def document():
    return {
        "bench": "decode",
        "rows": [row_of("decode", measurement(), 6.912, images="photographs", data="0f", crop_size=224)],
        **ratio_fields({"window_over_precut": Ratio(0.7512345, 0.7, 0.8)}),
        "environment": environment([0]),
        "image_sets": [],
        "methods": {"window": "as it is"},
        "skipped": {},
        "failed": {},
    }


def test_a_row_holds_every_field(document):
    (row,) = document["rows"]
    assert ImageRow.__required_keys__ <= set(row)
    assert row == {
        "bench": "decode",
        "method": "window",
        "num_crops": 4,
        "megapixels": 6.91,
        "threads": 1,
        "images_per_s": 100.0,
        "spread": [90.0, 110.0],
        "bytes_read_per_image": 1000,
        "cpu_s_per_image": 0.01,
        "peak_rss_mib": 123.5,
        "rounds": 3,
        "images": "photographs",
        "splice_ms": 0.1235,
        "seconds_per_round": 1.0,
        "data": "0f",
        "crop_size": 224,
    }
    assert document["ratios"] == {"window_over_precut": 0.7512}
    assert document["ratio_ranges"] == {"window_over_precut": [0.7, 0.8]}


def test_the_environment_names_machine_versions_and_commit(document):
    found = document["environment"]
    assert {"cpu", "commit", "date", "python", "versions", "busy_cores"} <= set(found)
    assert {"numpy", "simplejpeg", "torch"} <= set(found["versions"])
    assert found["commit"]


def test_the_last_line_is_the_document(document, tmp_path, capsys):
    print_result(document, tmp_path / "new", "decode")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == document
    assert json.loads((tmp_path / "new/decode.json").read_text()) == document


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("rows", 0, "images_per_s"), math.nan),
        (("rows", 0, "threads"), "1"),
        (("rows", 0, "threads"), True),
        (("rows", 0, "peak_rss_mib"), -1),
        (("rows", 0, "spread"), [101.0, 110.0]),
        (("rows", 0, "spread"), [90.0]),
        (("ratios", "window_over_precut"), math.inf),
        (("ratios", "window_over_precut"), None),
        (("environment",), None),
    ],
)
def test_a_wrong_value_is_refused(document, where, value):
    broken = copy.deepcopy(document)
    *path, last = where
    place = broken
    for step in path:
        place = place[step]
    place[last] = value
    with pytest.raises(ValueError, match=str(where[-1])):
        check_result("decode", broken)


@pytest.mark.slow
def test_plots_show_what_has_two_values(tmp_path):
    """Rows of photographs with two numbers of crops give a plot against crops. Rows of synthetic images of two sizes
    give a plot against megapixels. A single row gives no plot."""
    photographs = [
        row_of("decode", measurement("window", crops, rates), 7.0, images="photographs")
        for crops, rates in ((1, (29e3, 31e3, 30e3)), (4, (90.0, 110.0, 100.0)))
    ]
    synthetic = [row_of("decode", measurement("precut"), size, images="synthetic") for size in (3.0, 48.0)]
    names = {path.name for path in plot_rows(photographs + synthetic, LABELS, tmp_path)}
    assert names == {
        f"decode-{axis}-1-threads.{kind}" for axis in ("num-crops", "megapixels") for kind in ("png", "svg")
    }
    assert all((tmp_path / name).stat().st_size > 5000 for name in names)
    drawn = (tmp_path / "decode-num-crops-1-threads.svg").read_text()
    assert all(words in drawn for words in ("this loader", "<!-- 10,000 -->"))
    assert plot_rows(photographs[:1], LABELS, tmp_path / "none") == []
