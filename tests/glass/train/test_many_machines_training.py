"""Training on several machines, which are imitated by one launcher each on loopback."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from glass.train.processes import lost_process
from tests.runs.short_runs import PATIENCE_S, arguments, curve, start

SMALL = ["model.dropout=0", "epochs=2", "loader.global_batch_size=4"]
ENDLESS = ["epochs=500", "loader.global_batch_size=6", "process_timeout_s=60"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(data: Path, output: Path, machines: int, overrides: list[str]) -> list[subprocess.Popen]:
    """Starts one launcher per machine with one process each, as described in docs/remote.md."""
    port = free_port()
    return [
        start(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                f"--nnodes={machines}",
                f"--node-rank={rank}",
                "--nproc-per-node=1",
                "--master-addr=127.0.0.1",
                f"--master-port={port}",
                "train.py",
                *arguments(data, output, *overrides),
            ]
        )
        for rank in range(machines)
    ]


def wait_for_an_epoch(output: Path, processes: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (output / "metrics.jsonl").exists():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker_of(launcher: subprocess.Popen) -> psutil.Process:
    """The training process that the launcher has started."""
    (worker,) = (
        child for child in psutil.Process(launcher.pid).children(recursive=True) if "train.py" in child.cmdline()
    )
    return worker


def kill_all(processes: list[subprocess.Popen]) -> None:
    """Kills the processes and their children and closes their pipes, whatever has happened."""
    for process in processes:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        process.wait()


def end(processes: list[subprocess.Popen]) -> list[str]:
    """Waits until all processes have ended. Returns the standard error of each."""
    try:
        return [process.communicate(timeout=PATIENCE_S)[1] for process in processes]
    finally:
        kill_all(processes)


@pytest.mark.slow
def test_four_machines_do_what_one_does(synthetic_shards: Path, tmp_path: Path) -> None:
    """With 12 training images in batches of 8, two machines have only fillers in the last batch. One machine is
    suspended for a second, and the others wait for it."""
    overrides = [*SMALL, "loader.global_batch_size=8"]
    processes = launch(synthetic_shards, tmp_path / "four", 4, overrides)
    while not (tmp_path / "four/run.json").exists() and processes[0].poll() is None:
        time.sleep(0.05)
    slow = worker_of(processes[2])
    slow.suspend()
    time.sleep(1)
    slow.resume()
    errors = end(processes)
    assert [process.returncode for process in processes] == [0] * 4, errors
    record = json.loads((tmp_path / "four/run.json").read_text())
    assert record["environment"]["world_size"] == 4
    end(launch(synthetic_shards, tmp_path / "one", 1, overrides))
    for first, second in zip(curve(tmp_path / "one"), curve(tmp_path / "four"), strict=True):
        for name in ("train_loss", "valid_loss"):
            assert first[name] == pytest.approx(second[name], rel=1e-5)
        assert first["train_images"] == second["train_images"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "standing still"])
def test_the_others_stop_when_a_machine_is_lost(synthetic_shards: Path, tmp_path: Path, how: str) -> None:
    """The other processes end with one sentence and exit code 75, at once or after ``process_timeout_s``. Checkpoints
    are left from which the run can continue."""
    processes = launch(synthetic_shards, tmp_path, 3, ENDLESS)
    try:
        wait_for_an_epoch(tmp_path, processes)
        lost = worker_of(processes[2])
        processes[2].send_signal(signal.SIGSTOP)  # a machine that is gone takes its launcher along
        lost.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        errors = [process.communicate(timeout=PATIENCE_S)[1] for process in processes[:2]]
    finally:
        kill_all(processes)
    for rank, text in enumerate(errors):
        assert f"error: process {rank}: another process of this run ended, or did not" in text
        assert "exitcode  : 75" in text
    assert len(curve(tmp_path)) >= 1  # and checkpoints, from which the next run goes on


def test_only_errors_of_the_exchange_mean_a_lost_process() -> None:
    told = lost_process(RuntimeError("[gloo/tcp/pair.cc:534] Connection closed by peer"), 600)
    assert told is not None
    assert "process_timeout_s=600" in told
    assert lost_process(RuntimeError("shapes do not match"), 600) is None
    assert lost_process(ValueError("Connection closed by peer"), 600) is None
