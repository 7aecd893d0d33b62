"""The study's commands as processes: killed, run by two workers at once, and run again when finished."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import psutil
import pytest

import scripts.tune
from glass.train.run import TrainingStopped

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("loader.crop_size=32", "loader.decode=full", "cpu_threads=1")
SPACE = ("batch=4", "num_crops=1,2", "lr_local=1e-4..1e-2")


def command(name: str, data: Path, output: Path, *words: str) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return [
        sys.executable,
        "-m",
        f"scripts.{name}",
        "--data",
        str(data),
        "--preset",
        "glass_tiny",
        "--output",
        str(output),
        *sets,
        *words,
    ]


def tune(data: Path, output: Path, *words: str) -> list[str]:
    space = [word for change in SPACE for word in ("--search", change)]
    return command("tune", data, output, "--trials", "4", "--epochs", "3", "--min-epochs", "1", *space, *words)


def run(words: list[str]) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def kill_once_it_trains(words: list[str], lines: Path, at_least: int) -> None:
    """Sends SIGKILL as soon as the files below ``lines`` contain ``at_least`` epochs, which must be before the process
    ends."""
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while sum(f.read_text().count("\n") for f in lines.rglob("metrics.jsonl")) < at_least:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def hold_until_another_works(process: subprocess.Popen, folder: Path) -> None:
    """Suspends the process during its first trial until one of its children works on the second trial. It is suspended
    for a few seconds at a time, so that it does not hold a lock of the storage for long."""
    first, second = (str(folder / f"trials/trial-000{number}.lock") for number in (0, 1))
    parent, deadline = psutil.Process(process.pid), time.monotonic() + 240
    while not has_open(parent, first):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    while True:
        parent.suspend()
        try:
            for _ in range(40):
                children = [c for c in parent.children() if c.status() != psutil.STATUS_ZOMBIE]
                assert children, "the other worker died"
                if any(has_open(child, second) for child in children):
                    return
                time.sleep(0.1)
        finally:
            parent.resume()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_open(process: psutil.Process, path: str) -> bool:
    """Whether the process is alive and has the file open."""
    try:
        return path in [file.path for file in process.open_files()]
    except psutil.NoSuchProcess:
        return False


def trials(output: Path) -> list[dict]:
    return json.loads((output / "tuning.json").read_text())["trials"]


@pytest.mark.slow
def test_a_search_that_was_killed_twice_ends_the_same(synthetic_shards, tmp_path):
    run(tune(synthetic_shards, tmp_path / "whole"))
    words = tune(synthetic_shards, tmp_path / "killed")
    for epochs in (2, 6):
        kill_once_it_trains(words, tmp_path / "killed", epochs)
    run(words)
    assert trials(tmp_path / "killed") == trials(tmp_path / "whole")
    assert (tmp_path / "killed/best.json").read_text() == (tmp_path / "whole/best.json").read_text()
    assert (tmp_path / "killed/history.svg").stat().st_size > 1000
    assert "is finished: " in run(words)


SAVING_WORKER = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1], "checkpoint").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path(sys.argv[1], "works").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("in_training", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_stopped_search_waits_for_the_checkpoints_of_its_workers(tmp_path, monkeypatch, in_training):
    """A cluster ends a job's other processes together with the first one. That one may just wait for the others."""

    class StoppedSearch:
        def work(self, *_) -> None:
            while not (tmp_path / "works").exists():
                time.sleep(0.01)
            if in_training:
                raise TrainingStopped
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()

    def unnoticed(*_) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, unnoticed)  # else the signal could end the tests

    worker = [sys.executable, "-c", SAVING_WORKER, str(tmp_path)]
    monkeypatch.setattr(scripts.tune, "_start_worker", lambda *_: subprocess.Popen(worker))
    options = scripts.tune.parse(["--data", "d", "--preset", "glass_tiny", "--workers", "2"])
    try:
        with pytest.raises(TrainingStopped):
            scripts.tune._work_with_others(StoppedSearch(), options, [])
        assert signal.getsignal(signal.SIGTERM) is unnoticed
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "checkpoint").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_workers_share_a_study(synthetic_shards, tmp_path, kind):
    storage = f"{kind}:///{tmp_path}/storage"
    out = tmp_path / "out"
    words = tune(synthetic_shards, out, "--workers", "2", "--storage", storage)
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(words, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        try:
            hold_until_another_works(process, out)
            code = process.wait(300)
        finally:
            process.kill()
            process.wait()
    said = (tmp_path / "said").read_text()
    assert code == 0, said[-3000:]
    assert "ended with exit code" not in said  # the words by which a failed worker is reported
    rows = trials(out)
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    if kind == "sqlite":
        found = optuna.load_study(study_name="glass_tiny", storage=storage).trials
        assert len(found) == 4


@pytest.mark.slow
def test_final_runs_that_were_killed_end_the_same(synthetic_shards, tmp_path):
    words = ("--seeds", "1,2", "--epochs", "2", "--hold-out", "0.25")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(command("final_runs", synthetic_shards, whole, *words))
    kill_once_it_trains(command("final_runs", synthetic_shards, killed, *words), killed, 3)
    run(command("final_runs", synthetic_shards, killed, *words))
    found = [json.loads((f / "final_runs.json").read_text()) for f in (whole, killed)]
    for document in found:
        for row in document["seeds"]:
            del row["train_time_s"]
    assert found[0] == found[1]
    again = run(command("final_runs", synthetic_shards, killed, *words))
    assert "is finished" in again


@pytest.mark.slow
def test_a_crop_study_that_was_killed_ends_the_same(synthetic_shards, tmp_path):
    words = ("--crops", "1,2", "--epochs", "2", "--batch", "4")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(command("crop_study", synthetic_shards, whole, *words))
    kill_once_it_trains(command("crop_study", synthetic_shards, killed, *words), killed, 1)
    run(command("crop_study", synthetic_shards, killed, *words))
    found = [json.loads((f / "crop_study.json").read_text()) for f in (whole, killed)]
    accuracy = [[row["accuracy"] for row in document["training"]] for document in found]
    curves = [[row["metrics"] for row in document["inference"]["rows"]] for document in found]
    tensors = [[r["memory"].get("tensor_bytes") for r in d["training"]] for d in found]
    assert (accuracy[0], curves[0], tensors[0]) == (accuracy[1], curves[1], tensors[1])
    assert "is finished" in run(command("crop_study", synthetic_shards, killed, *words))


@pytest.mark.slow  # two processes, one of them killed
def test_a_worker_stops_when_its_main_process_is_killed():
    """It used to train the rest of the search unseen."""
    worker = (
        "import os, time\n"
        "from scripts import tune\n"
        "def search(*_): print('searching', os.getpid(), flush=True); time.sleep(600)\n"
        "tune.require_one_process = search\n"
        "tune.main(['--data', 'd', '--preset', 'glass_tiny', '--as-worker'])\n"
    )
    main = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    with subprocess.Popen([sys.executable, "-c", main], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        searching, number = process.stdout.readline().split()
        assert searching == "searching"
        found = psutil.Process(int(number))
        process.kill()
    try:
        psutil.wait_procs([found], timeout=60)
        assert not found.is_running() or found.status() == psutil.STATUS_ZOMBIE
    finally:
        if found.is_running():
            found.kill()
