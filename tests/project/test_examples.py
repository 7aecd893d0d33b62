"""The examples in docs/examples run unchanged on small data."""

import importlib.util
import os
import re
import runpy
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.data import DataLoader

from glass.predict.detector import Detector
from loaders import LoaderConfig, build_loader
from tests.runs.short_runs import PATIENCE_S, ROOT, SETTINGS, curve

EXAMPLES = ROOT / "docs/examples"
SMALL = LoaderConfig(global_batch_size=5, num_crops=2, crop_size=48, global_size=64)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_on_the_page() -> None:
    page = (ROOT / "docs/examples.md").read_text(encoding="utf-8")
    files = [path.name for path in EXAMPLES.iterdir() if path.is_file()]
    assert [name for name in files if f"](examples/{name})" not in page] == []


@pytest.mark.slow  # pandas comes with the extra of the slow tests
def test_a_frame_keeps_its_rows_and_gets_the_verdicts_of_predict(unbroken, synthetic_images, tmp_path) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra [dev-slow] is not installed")
    photos = sorted(map(str, synthetic_images.rglob("*.jpg")))[:3]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    frame = pandas.DataFrame({"path": [photos[0], str(broken), *photos[1:]], "who": list("abcd")}, index=[7, 3, 9, 3])
    detector = Detector.from_pretrained(unbroken)
    scored = example("score_frame").score(frame, detector)
    assert list(scored.index) == [7, 3, 9, 3]
    assert scored[["path", "who"]].equals(frame)
    verdicts = detector.predict(frame["path"].tolist())
    assert verdicts[1].reason is not None
    for name in ("verdict", "score", "unstable", "reason"):
        found = [None if pandas.isna(value) else value for value in scored[name]]
        assert found == [getattr(verdict, name) for verdict in verdicts], name


@pytest.mark.slow  # as above
def test_the_frame_as_a_program_replaces_no_file(unbroken, synthetic_images, tmp_path, monkeypatch, capsys) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra [dev-slow] is not installed")
    photos = sorted(map(str, synthetic_images.rglob("*.jpg")))[:2]
    table, out = tmp_path / "table.csv", tmp_path / "scored.csv"
    pandas.DataFrame({"path": photos, "who": ["a", "b"]}).to_csv(table, index=False)
    program = str(EXAMPLES / "score_frame.py")
    monkeypatch.setattr("sys.argv", [program, str(unbroken), str(table), str(out)])
    runpy.run_path(program, run_name="__main__")
    written = out.read_bytes()
    scored = pandas.read_csv(out)
    assert scored["path"].tolist() == photos
    assert scored["verdict"].isin(["real", "generated", "uncertain"]).all()
    assert scored["verdict"].iloc[0] in capsys.readouterr().out
    with pytest.raises(FileExistsError):
        runpy.run_path(program, run_name="__main__")
    assert out.read_bytes() == written


def test_a_data_loader_gives_the_batches_of_the_loader(synthetic_shards) -> None:
    batches = example("torch_data_loader").Batches(synthetic_shards, "train", SMALL)
    for epoch in range(2):
        batches.loader.set_epoch(epoch)
        with build_loader(synthetic_shards, "train", SMALL) as plain:
            plain.set_epoch(epoch)
            expected, found = list(plain), list(DataLoader(batches, batch_size=None))
        assert len(found) == len(batches) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            assert one["sample_key"] == other["sample_key"]
            tensors = [name for name in other if name != "sample_key"]
            assert all(torch.equal(one[name], other[name]) for name in tensors)


def test_a_worker_of_a_data_loader_is_refused(synthetic_shards, monkeypatch) -> None:
    module = example("torch_data_loader")
    batches = module.Batches(synthetic_shards, "train", SMALL)
    monkeypatch.setattr(module, "get_worker_info", object)
    with pytest.raises(RuntimeError, match="num_workers must be 0"):
        next(iter(batches))


@pytest.mark.slow  # torch waits five seconds for a process that failed
def test_workers_of_a_data_loader_are_refused(synthetic_shards) -> None:
    batches = example("torch_data_loader").Batches(synthetic_shards, "train", SMALL)
    with pytest.raises(RuntimeError, match="num_workers must be 0"):
        next(iter(DataLoader(batches, batch_size=None, num_workers=1, multiprocessing_context="fork")))


def test_masked_samples_have_no_part_in_the_loss(synthetic_shards) -> None:
    mean_loss = example("torch_data_loader").mean_loss
    logits = torch.tensor([[2.0, 0.0], [0.0, 9.0]])
    batch = {"label": torch.tensor([1, 0]), "is_valid": torch.tensor([True, False])}
    only = {"label": torch.tensor([1]), "is_valid": torch.tensor([True])}
    assert torch.equal(mean_loss(logits, batch), mean_loss(logits[:1], only))
    assert mean_loss(logits, batch | {"is_valid": torch.tensor([False, False])}) == 0


def test_the_loop_of_ones_own_learns(synthetic_shards) -> None:
    losses = example("torch_data_loader").train(str(synthetic_shards), SMALL, epochs=4)
    assert losses[-1] < losses[0]


def test_the_job_of_slurm_is_a_script_with_known_options() -> None:
    script = EXAMPLES / "train.slurm"
    assert subprocess.run(["bash", "-n", script], capture_output=True).returncode == 0
    head, _, body = script.read_text(encoding="utf-8").partition("set -euo pipefail")
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", head, re.MULTILINE))
    assert head.count("#SBATCH") == len(options)  # none malformed, none twice
    assert "#SBATCH" not in body  # Slurm reads none after the first command
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert options["signal"].startswith("USR1@")
    missing = subprocess.run(["bash", script, "data"], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


TWO_TASKS = """#!/usr/bin/env bash
# Stands for srun: two tasks on this machine; ends with the highest of their exit codes.
tasks=() worst=0
for number in 0 1; do SLURM_PROCID=$number SLURM_LOCALID=$number "$@" & tasks+=($!); done
echo "${tasks[@]}" >"$SLURM_STAND_IN/tasks"
for task in "${tasks[@]}"; do
  status=0; wait "$task" || status=$?
  [ "$status" -le "$worst" ] || worst="$status"
done
exit "$worst"
"""
CONTROL = """#!/usr/bin/env bash
# Stands for scontrol.
case "$1" in
  show) echo 127.0.0.1 ;;
  *) echo "$@" >>"$SLURM_STAND_IN/asked" ;;
esac
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Returns the environment of a Slurm job of two tasks. Its ``srun`` and ``scontrol`` are scripts in
    ``tmp_path``."""
    for name, text in (("srun", TWO_TASKS), ("scontrol", CONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "here", "SLURM_NTASKS": "2"}
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **job, "PATH": path, "SLURM_STAND_IN": str(tmp_path), "ACCELERATE_USE_CPU": "true"}


@pytest.mark.slow
def test_the_job_of_slurm_queues_again_after_its_signal_and_goes_on(slurm, synthetic_shards, tmp_path) -> None:
    sets = [word for setting in (*SETTINGS, "epochs=10") for word in ("--set", setting)]
    job = ["bash", EXAMPLES / "train.slurm", synthetic_shards, "glass_tiny", tmp_path / "run", *sets]
    first = subprocess.Popen(job, cwd=ROOT, env=slurm, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert first.stderr is not None
    said = list(takewhile(lambda line: "epoch 1/10" not in line, first.stderr))
    assert first.poll() is None, said
    for task in (tmp_path / "tasks").read_text().split():
        os.kill(int(task), signal.SIGUSR1)
    _, errors = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 75, errors
    assert any("2 processes over gloo" in line for line in said)
    assert (tmp_path / "asked").read_text() == f"requeue {os.getpid()}\n"
    assert 0 < len(curve(tmp_path / "run")) < 10
    second = subprocess.run(job, cwd=ROOT, env=slurm, text=True, capture_output=True, timeout=PATIENCE_S)
    assert second.returncode == 0, second.stderr
    assert [line["epoch"] for line in curve(tmp_path / "run")] == list(range(1, 11))
    assert (tmp_path / "asked").read_text().count("\n") == 1
