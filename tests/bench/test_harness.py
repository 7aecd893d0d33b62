"""Methods take turns, processes are pinned to cores, crashes do not stop other methods, and ratios are taken round by
round."""

import json
import os
import textwrap
import time

import pytest

from bench.harness import process_usage
from bench.harness.harness import Measurement, alternate, ratio
from bench.harness.pinning import choose_cores, thread_environment
from bench.harness.result import GOALS, method_ratios, reference_crops, thread_ratios
from bench.harness.task import Task
from shards.errors import InputError

FAKES = '''
"""Methods that write down when they run and what they see."""
import json, os, threading, time


class Fake:
    def __init__(self, task):
        self.task = task
        if task.options.get("missing"):
            raise ImportError("no such library here")

    def note(self, what):
        with open(self.task.data, "a") as file:
            file.write(f"{what} {self.task.method}\\n")

    def warm_up(self):
        print("libraries print what they like")
        self.note("warm")
        return 0.01

    def prepare(self, passes):
        self.passes = passes

    def run(self):
        self.note("run")
        if self.task.options.get("crash") and open(self.task.data).read().count("run") > 3:
            raise ZeroDivisionError("a defect")
        if self.task.options.get("reads_ahead"):
            threading.Thread(target=self.read_ahead).start()
        ballast = bytearray(self.task.num_crops << 20)
        deadline = time.process_time() + float(self.task.options.get("computes", 0))
        while time.process_time() < deadline:
            pass
        return 10 * self.passes

    def read_ahead(self):
        start = time.thread_time()
        while time.thread_time() < start + 0.2:
            pass
        self.note("read ahead")

    def report(self):
        return {"bytes_read_per_image": 7, "cores": len(os.sched_getaffinity(0)),
                "openmp": int(os.environ["OMP_NUM_THREADS"])}

    def close(self):
        self.note("close")
'''


@pytest.fixture
def fake_task(tmp_path, monkeypatch):
    """Returns a function that makes tasks with a fake method, and the path of the log to which all of them write."""
    (tmp_path / "fakes.py").write_text(textwrap.dedent(FAKES))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def make(method: str, crops: int = 1, **options: str) -> Task:
        return Task(method, "fakes:Fake", str(tmp_path / "log"), crops, 1, choose_cores(1), 0.04, options)

    return make, tmp_path / "log"


def test_methods_take_turns(fake_task):
    make, log = fake_task
    outcome = alternate([make("a"), make("b")], rounds=2)
    lines = log.read_text().split("\n")
    assert lines[:2] == ["warm a", "warm b"]
    assert lines[2:6] == ["run a", "run b"] * 2
    assert [m.task.method for m in outcome.measurements] == ["a", "b"]
    assert not outcome.skipped
    assert not outcome.failed


@pytest.mark.slow  # two processes
def test_no_turn_begins_while_another_method_still_reads_ahead(fake_task):
    make, log = fake_task
    alternate([make("a", reads_ahead="yes"), make("b")], rounds=2)
    assert log.read_text().split("\n")[2:8] == ["run a", "read ahead a", "run b"] * 2


def test_a_turn_is_long_enough_and_counted_in_full_on_its_own_core(fake_task):
    """With 0.01 s per pass and 0.04 s per round, a turn has 4 passes of 10 images. All of its CPU time is counted, on
    one core."""
    make, _ = fake_task
    (measurement,) = alternate([make("a", computes="0.05")], rounds=2).measurements
    assert measurement.images == 2 * 4 * 10
    assert measurement.cpu_s >= 2 * 0.05
    assert max(measurement.images_per_s) <= 40 / 0.05
    assert measurement.report == measurement.report | {"bytes_read_per_image": 7, "cores": 1, "openmp": 1}


def test_asking_whether_a_process_is_idle_does_not_count_as_computing(monkeypatch):
    """The list of processes takes longer than an idle process may compute between two questions, as on a machine with
    many processes. ``wait_until_idle`` returns nevertheless, long before its time is up."""
    family, asked = process_usage._family, []

    def slow():
        asked.append(until := time.thread_time() + 0.01)
        while time.thread_time() < until:
            pass
        return family()

    monkeypatch.setattr(process_usage, "_family", slow)
    process_usage.wait_until_idle()
    assert len(asked) < 20  # without the rule 100


@pytest.mark.slow  # two processes
def test_peak_memory_is_the_method_s_own(fake_task):
    """The process that holds 200 MiB more reports 200 MiB more, although the other process runs beside it."""
    make, _ = fake_task
    small, large = alternate([make("a", 1), make("b", 201)], rounds=1).measurements
    assert large.peak_rss_mib - small.peak_rss_mib == pytest.approx(200, abs=20)


def test_what_cannot_run_is_skipped_and_what_crashes_named(fake_task):
    make, _ = fake_task
    tasks = [make("a", missing="yes"), make("b", crash="yes"), make("c")]
    outcome = alternate(tasks, rounds=3)
    assert outcome.skipped == {"a": "no such library here"}
    assert set(outcome.failed) == {"b"}
    assert "ZeroDivisionError: a defect" in outcome.failed["b"]
    assert [(m.task.method, len(m.images_per_s)) for m in outcome.measurements] == [("c", 3)]


def measured(method: str, rates: list[float], threads: int = 1) -> Measurement:
    task = Task(method, "x:y", "", 4, threads, [0], 1.0)
    return Measurement(task, images_per_s=rates)


def test_ratios_are_taken_round_by_round():
    """Ratios do not change if the machine slows down by half between rounds."""
    quotient = ratio(measured("a", [100, 50, 20]), measured("b", [10, 5, 2]))
    assert (quotient.median, quotient.low, quotient.high) == (10, 10, 10)
    quotient = ratio(measured("a", [8, 9, 30]), measured("b", [2, 3, 3]))
    assert (quotient.median, quotient.low, quotient.high) == (4, 3, 10)


def test_ratios_exist_for_what_was_measured():
    cell = [measured("window", [600.0]), measured("precut", [800.0]), measured("spdl", [20.0])]
    found = method_ratios(cell, ["spdl", "litdata"])
    assert {name: value.median for name, value in found.items()} == {"window_over_precut": 0.75, "window_over_spdl": 30}
    two = measured("window", [900.0], threads=2)
    assert thread_ratios([*cell, two], "window")["speedup_2_threads"].median == 1.5
    assert thread_ratios([two], "window") == {}


def test_ratios_are_computed_at_four_crops_where_there_are():
    assert reference_crops([1, 2, 4, 8]) == 4
    assert reference_crops([2, 8]) == 2


def test_goals_know_their_direction():
    assert GOALS["window_over_recipe"].met(200)
    assert not GOALS["window_over_recipe"].met(199)
    assert GOALS["entry_points_share_median"].met(0.029)
    assert not GOALS["entry_points_share_median"].met(0.031)


def test_more_threads_than_cpus_is_a_mistake():
    available = len(os.sched_getaffinity(0))
    assert len(set(choose_cores(available))) == available
    with pytest.raises(InputError, match=f"only {available} CPUs"):
        choose_cores(available + 1)


def test_a_task_survives_its_journey():
    task = Task("a", "m:C", "/data", 4, 2, [0, 1], 0.5, {"decode": "window"})
    line = task.to_json()
    assert "\n" not in line
    assert Task.from_json(line) == task
    assert json.loads(line)["cores"] == [0, 1]
    assert thread_environment(2)["OMP_NUM_THREADS"] == "1"
