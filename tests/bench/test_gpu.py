"""``bench gpu`` without a GPU: the order of its parts, its time limits, and its message on a machine without a GPU."""

import json
import sys
import time

import pytest

from bench.gpu import command as gpu
from bench.gpu import worker
from bench.gpu.part import Cell, CutOff, Part, Setting, Skipped
from bench.gpu.parts import PARTS
from bench.harness.schemas import check_result
from shards.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_look")

HANGS = """
import json, sys, time
sys.stdin.readline()
say = lambda document: print(json.dumps(document), flush=True)
say({"ready": True})
for line in sys.stdin:
    part = json.loads(line)["part"]
    say({"cells": ["first", "second", "third"]})
    say({"part": part, "cell": "first", "state": "done", "words": "", "time_s": 1.0, "figures": {}})
    if part == "crashes":
        sys.exit(3)
    if part == "hangs":
        time.sleep(60)
    for cell in ("second", "third"):
        say({"part": part, "cell": cell, "state": "done", "words": "", "time_s": 1.0, "figures": {}})
    say({"end": part})
"""


def setting(**changes):
    return Setting(**({"device": "cpu", "data": None, "scratch": "nowhere", "threads": 2} | changes))


def refuse(left):
    raise Skipped("not here")


def end_early(left):
    raise CutOff({"tests": 1}, "one ended")


def break_down(left):
    raise RuntimeError("two\nlines")


def test_a_cell_that_fails_costs_no_other():
    """A cell that fails does not stop the others. Cells that come after the end of the time get a row, too, which says
    so."""
    cells = [
        Cell("good", lambda left: ({"rate": 1.0}, "one")),
        Cell("refused", refuse),
        Cell("bad", break_down),
        Cell("early", end_early),
        Cell("slow", lambda left: time.sleep(left) or ({}, "slept")),
        Cell("late", lambda left: ({}, "never")),
    ]
    part = Part("part", 1.0, lambda _: cells, lambda rows: "")
    names, *rows = worker._measured(part, setting(), time.monotonic() + 0.2)
    assert names == {"cells": [cell.name for cell in cells]}
    assert [(row["cell"], row["state"], row["words"]) for row in rows] == [
        ("good", "done", "one"),
        ("refused", "skipped", "not here"),
        ("bad", "failed", "RuntimeError: two lines"),
        ("early", "cut off", "one ended"),
        ("slow", "done", "slept"),
        ("late", "cut off", "its time limit was reached"),
    ]
    assert rows[3]["figures"] == {"tests": 1}


def test_parts_without_data_say_so():
    for part in PARTS.values():
        if part.needs_data:
            (_, row) = worker._measured(part, setting(), time.monotonic() + 1)
            assert (row["state"], row["words"]) == ("skipped", "there are no shards to load: give --data SHARDS")


def test_every_part_has_cells_for_every_device_and_a_verdict_on_nothing():
    for part in PARTS.values():
        assert part.cells(setting(device="cuda", data="here"))
        assert part.cells(setting())
        assert part.verdict([])
    assert sum(part.share for part in PARTS.values()) == pytest.approx(1)


def test_a_part_that_hangs_or_crashes_keeps_its_rows(monkeypatch):
    """If a part hangs or crashes, its finished rows are kept and the next part begins in a new process."""
    monkeypatch.setattr(gpu, "WORKER", [sys.executable, "-c", HANGS])
    monkeypatch.setattr(gpu, "GRACE_S", 0.5)
    runner = gpu._Runner({})
    runner.start(10)
    states = {}
    for part in ("fine", "hangs", "crashes", "fine again"):
        begun = time.monotonic()
        states[part] = [row["state"] for row in runner.rows(part, 1.0, begun + 30)]
        assert time.monotonic() - begun < 10
    runner.end()
    assert states == {
        "fine": ["done"] * 3,
        "hangs": ["done", "cut off", "cut off"],
        "crashes": ["done", "failed", "cut off"],
        "fine again": ["done"] * 3,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes 0: must be from 0.1 to 600"),
        (["--data", "nowhere"], "--data nowhere is not an existing folder"),
        (["--out", "nowhere/gpu.json"], "the folder nowhere does not exist"),
    ],
)
def test_mistakes_get_one_sentence(arguments, message):
    with pytest.raises(InputError) as caught:
        gpu.main(arguments)
    assert message in str(caught.value)


def test_a_file_of_somebody_is_left_alone(tmp_path):
    (tmp_path / "gpu.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match="give another --out"):
        gpu.main(["--out", str(tmp_path / "gpu.json")])
    assert (tmp_path / "gpu.json").read_text() == '{"mine": 1}'


@pytest.mark.slow
@pytest.mark.parametrize("minutes", ["0.5", "4"])
def test_a_rehearsal_on_a_cpu_writes_a_row_of_every_part(synthetic_shards, tmp_path, capsys, minutes):
    """With half a minute, there is no time for most measurements, but the run still ends in time with a row for every
    part."""
    out = tmp_path / "gpu.json"
    begun = time.monotonic()
    arguments = ["--device", "cpu", "--minutes", minutes, "--data", str(synthetic_shards), "--out", str(out)]
    assert gpu.main(arguments) == 0
    assert time.monotonic() - begun < 60 * float(minutes) + 15
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    check_result("gpu", document)
    assert json.loads(out.read_text()) == document
    assert {row["part"] for row in document["rows"]} == set(PARTS) == set(document["verdicts"])
    assert {row["state"] for row in document["rows"]} <= {"done", "cut off", "skipped"}
    if minutes == "4":
        measured = {row["part"] for row in document["rows"] if row["state"] == "done"}
        assert measured >= {"machine", "pixels", "loader"}  # tests take more than their share on a busy machine
        pixels = [row["figures"] for row in document["rows"] if row["part"] == "pixels" and row["state"] == "done"]
        assert {figures["largest"] for figures in pixels} == {0}


@pytest.mark.slow
def test_without_a_gpu_a_sentence_says_so(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(InputError, match="no CUDA device is available: give --device cpu"):
        gpu.main(["--out", str(tmp_path / "gpu.json")])
