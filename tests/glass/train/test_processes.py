"""``train.py`` in several processes gives the same result as in one."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

import train
from glass.train.run import train as train_run
from tests.runs.short_runs import PATIENCE_S, ROOT, arguments, curve, settings, start

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def torchrun(data: Path, output: Path, *overrides: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node=2", "train.py", *arguments(data, output, *overrides)]


def assert_close_runs(first: Path, second: Path, tolerance: float = 1e-5) -> None:
    """Requires nearly equal curves. Global batches are the same but summed in another order, so losses differ by 1e-7
    at first and by more after many steps."""
    for one, other in zip(curve(first), curve(second), strict=True):
        for name in ("train_loss", "valid_loss"):
            assert one[name] == pytest.approx(other[name], rel=tolerance)
        assert (one["step"], one["train_images"]) == (other["step"], other["train_images"])


@pytest.mark.slow
def test_two_processes_do_what_one_does(synthetic_shards, tmp_path):
    """Each step has two micro-steps, but the last step of an epoch has only one."""
    overrides = ["model.dropout=0", "grad_accum_steps=2"]
    two = start(torchrun(synthetic_shards, tmp_path / "two", *overrides))
    output, errors = two.communicate(timeout=PATIENCE_S)
    assert two.returncode == 0, errors
    assert output.count("finished: best epoch") == 1  # one process speaks
    assert "2 processes over gloo" in errors
    record = json.loads((tmp_path / "two/run.json").read_text())
    assert record["environment"]["world_size"] == 2
    assert train_run(synthetic_shards, settings(*overrides), tmp_path / "one")
    assert_close_runs(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_one(synthetic_shards, tmp_path):
    """The launcher gets SIGTERM, as from a cluster. The curves are those of a run without interruption."""
    overrides = ["model.dropout=0", "epochs=20", "loader.global_batch_size=2", "optim.lr=1e-4"]
    two = start(torchrun(synthetic_shards, tmp_path / "two", *overrides))
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "two/metrics.jsonl").exists():
        assert two.poll() is None, two.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    two.send_signal(signal.SIGTERM)
    two.communicate(timeout=PATIENCE_S)
    done = curve(tmp_path / "two")
    assert 0 < len(done) < 20
    assert train_run(synthetic_shards, settings(*overrides), tmp_path / "two")
    assert train_run(synthetic_shards, settings(*overrides), tmp_path / "one")
    assert_close_runs(tmp_path / "one", tmp_path / "two", tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("config_file", [True, False])
def test_accelerate_launch_with_and_without_our_file(unbroken, synthetic_shards, tmp_path, config_file):
    """``accelerate launch`` gives the same run with our unedited configuration file and without one, in the preset's
    precision."""
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--quiet"]
    flag = ["--config_file", "accelerate_config.yaml"] if config_file else []
    command = [*launcher, *flag, "train.py", *arguments(synthetic_shards, tmp_path)]
    process = start(command)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "float32" in errors
    assert_close_runs(unbroken, tmp_path)


@pytest.mark.slow
def test_a_process_that_ends_before_the_main_one_needs_no_outcome(synthetic_shards, tmp_path, monkeypatch):
    """The main process writes the outcome. Another process may end earlier; an error in it would end both."""
    monkeypatch.setattr("scripts.train.RANK", 1)
    monkeypatch.setattr("glass.train.run.train", lambda *_, **__: True)
    arguments = ["--data", str(synthetic_shards), "--preset", "glass_tiny", "--output", str(tmp_path / "run")]
    assert train.main(arguments) == 0


@pytest.mark.slow
def test_a_mistake_is_reported_once_by_two_processes(synthetic_shards, tmp_path):
    process = start(torchrun(synthetic_shards, tmp_path / "run", "loader.global_size=96"))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert errors.count("error: loader.global_size=96") == 1
    assert 'File "train.py"' not in errors
    assert f'File "{ROOT}/glass' not in errors
