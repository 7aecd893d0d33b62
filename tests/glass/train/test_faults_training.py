"""Training on damaged shards: what is recorded, when a run stops, and how it continues."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glass.config.overrides import apply_overrides
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.presets import load_preset
from glass.train.bad_samples import BadSampleLedger, allowed_bad_samples
from glass.train.run import train
from loaders.bad_samples import BadSample
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = [  # of a model without crops, which takes half the time
    "model.global_backbone=test_vit",
    "loader.global_batch_size=12",
    "epochs=2",
    "tensorboard=false",
    "cpu_threads=1",
]


pytestmark = pytest.mark.usefixtures("on_the_cpu")


def settings(*overrides: str):
    return apply_overrides(load_preset("single_view_tiny"), [*SETTINGS, *overrides])


def damage(folder: Path, split: str, places: list[int]) -> list[str]:
    """Flips a bit in the images at these positions of a split. Returns their keys."""
    dataset = ShardDataset.open(folder)
    keys = []
    for row in dataset.split_rows(split)[places]:
        offset, length = (int(dataset.column(f"image_{w}")[row]) for w in ("offset", "length"))
        with dataset.shard_path(dataset.column("shard")[row]).open("r+b") as tar:
            tar.seek(offset + length // 2)
            (byte,) = tar.read(1)
            tar.seek(-1, os.SEEK_CUR)
            tar.write(bytes([byte ^ 4]))
        keys.append(str(dataset.column("sample_key")[row]))
    return keys


@pytest.fixture
def damaged(synthetic_shards, tmp_path) -> Path:
    return shutil.copytree(synthetic_shards, tmp_path / "data")


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "bad_samples.jsonl").read_text().splitlines()]


def test_one_bad_image_ends_no_run_and_is_written_down(damaged, tmp_path):
    (key,) = damage(damaged, "train", [3])
    assert train(damaged, settings(), tmp_path / "run")
    (row,) = lines(tmp_path / "run")
    assert (row["split"], row["sample_key"], row["reason"]) == ("train", key, "checksum")
    assert row["epoch"] == 0
    assert row["shard"].startswith("train-")
    curve = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    samples = len(ShardDataset.open(damaged).split_rows("train"))
    assert [json.loads(line)["train_images"] for line in curve] == [samples - 1] * 2


def test_too_many_bad_samples_stop_the_run_and_mending_lets_it_go_on(synthetic_shards, damaged, tmp_path):
    keys = damage(damaged, "train", [1, 4, 7])
    with pytest.raises(InputError, match=r"3 of 12 samples of train .*3 checksum.*=0\.001"):
        train(damaged, settings(), tmp_path / "run")
    assert sorted(row["sample_key"] for row in lines(tmp_path / "run")) == sorted(keys)
    with pytest.raises(InputError, match=r"3 of 12 samples of train .*3 checksum.*=0\.001"):
        train(damaged, settings(), tmp_path / "run")  # nothing is mended by trying again
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is None
    for tar in synthetic_shards.glob("*.tar"):
        shutil.copy(tar, damaged / tar.name)
    assert train(damaged, settings(), tmp_path / "run")
    assert len(lines(tmp_path / "run")) == 3  # what was met stays on record
    curve = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["train_images"] for line in curve] == [12, 12]


@pytest.mark.slow  # five trainings; that too many bad samples stop a run is tested above
@pytest.mark.parametrize("checkpoint_every", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_too_many_in_the_last_epoch_finish_nothing(damaged, tmp_path, checkpoint_every):
    """The shards are damaged after the first of two epochs, so the last epoch fails and the run must not count as
    finished."""
    run, how = tmp_path / "run", {"checkpoint_every": checkpoint_every}
    assert not train(damaged, settings(), run, on_epoch=lambda line: False, **how)
    damage(damaged, "valid", [0, 1])
    for _ in range(2):
        with pytest.raises(InputError, match="samples of valid"):
            train(damaged, settings(), run, **how)
    assert json.loads((run / "run.json").read_text())["finished"] is None
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1
    assert train(damaged, settings("max_bad_samples=1"), run, **how)


@pytest.mark.slow  # the last line of the test before does it, too
def test_the_limit_may_be_raised_without_a_new_run(damaged, tmp_path):
    damage(damaged, "valid", [0, 1])
    with pytest.raises(InputError, match="samples of valid"):
        train(damaged, settings(), tmp_path / "run")
    assert train(damaged, settings("max_bad_samples=0.5"), tmp_path / "run")


def test_evaluation_lists_what_is_missing(damaged, untrained_run):
    (key,) = damage(damaged, "test", [2])
    document, table = evaluate_run(
        untrained_run, ShardDataset.open(damaged), "test", EvaluationOptions(device="cpu", draws=5)
    )
    assert document["samples"]["undecodable"] == 1
    (missing,) = document["missing"]
    assert (missing["sample_key"], missing["reason"]) == (key, "checksum")
    assert key not in table["sample_key"].to_pylist()


@pytest.mark.slow
def test_two_processes_keep_one_record_and_sum_their_counts(damaged, tmp_path):
    """With the lower limit, two bad samples are allowed; each process alone meets hardly more."""
    keys = damage(damaged, "train", [1, 4, 7])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node=2", "train.py", "--preset", "single_view_tiny"]
    command += ["--data", str(damaged), "--output", str(tmp_path / "run")]
    command += [word for setting in SETTINGS for word in ("--set", setting)]
    for share, ends_well in (("0.2", False), ("0.5", True)):
        done = subprocess.run(
            [*command, "--set", f"max_bad_samples={share}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode == 0) == ends_well, done.stderr[-3000:]
        told = done.stderr.count("3 of 12 samples of train cannot be read (3 checksum)")
        assert told == (0 if ends_well else 1)
        assert sorted(row["sample_key"] for row in lines(tmp_path / "run")) == sorted(keys)
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    curve = [json.loads(line) for line in text.splitlines()]
    assert [(line["step"], line["train_images"]) for line in curve] == [(1, 9), (2, 9)]


@pytest.mark.parametrize(
    ("share", "samples", "allowed"), [(0.001, 10, 1), (0.001, 10_000, 10), (0, 10_000, 0), (1, 5, 5), (0.001, 2999, 2)]
)
def test_how_many_are_allowed(share, samples, allowed):
    assert allowed_bad_samples(share, samples) == allowed


class OneProcess:
    num_processes, is_main_process, device = 1, True, "cpu"


class Loader:
    num_samples = 1000

    def __init__(self) -> None:
        self.found: list[BadSample] = []

    def bad_samples(self, since: int = 0) -> list[BadSample]:
        return self.found[since:]


def test_the_record_survives_a_restart_and_does_not_depend_on_the_order(tmp_path):
    bad = [BadSample("train-000000.tar", f"{n:012d}", "checksum", "x" * 999, n % 2) for n in range(9)]
    texts = []
    for name, order in (("a", range(9)), ("b", np.random.default_rng(0).permutation(9))):
        path, loader = tmp_path / name, Loader()
        for number in order:
            ledger = BadSampleLedger(path, OneProcess(), 0.5)  # as if killed after each
            ledger.load_earlier()
            loader.found = [bad[number]]
            assert ledger.collect("train", loader) is None
            assert ledger.collect("train", loader) is None
        texts.append(path.read_text())
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == 9
    assert max(len(line) for line in texts[0].splitlines()) < 500


def test_a_damaged_line_of_the_record_is_left_out(tmp_path, caplog):
    path = tmp_path / "bad_samples.jsonl"
    path.write_text('{"split": "train"}\n[[[\n' + "[" * 100_000 + "\n")
    ledger = BadSampleLedger(path, OneProcess(), 0.5)
    ledger.load_earlier()
    assert caplog.text.count("ignoring a damaged line of") == 3
