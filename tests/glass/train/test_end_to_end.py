"""``train.py`` on real shards: it resumes exactly, whatever stopped it, and exports the best epoch."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import train
from glass.config.overrides import apply_overrides
from glass.export.model_folder import load_model
from glass.measure import scoring
from glass.measure.scoring import score
from glass.presets import load_preset
from glass.train.checkpoint import CheckpointStore
from glass.train.run import train as train_run
from glass.train.step import Engine
from loaders import build_loader
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.runs.short_runs import arguments, assert_same_run, curve, settings

pytestmark = pytest.mark.usefixtures("on_the_cpu")

SINGLE_VIEW = apply_overrides(
    load_preset("single_view_tiny"), ["model.global_backbone=test_vit", "loader.global_batch_size=4", "cpu_threads=1"]
)
"""Settings of a model without crops, whose steps and checkpoints take half the time."""


@pytest.fixture(scope="module")
def half_way(on_the_cpu, synthetic_shards, tmp_path_factory) -> Path:
    """A run with the settings ``SINGLE_VIEW`` that was stopped after two steps of its first epoch."""
    run = tmp_path_factory.mktemp("runs") / "half"
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert not train_run(synthetic_shards, SINGLE_VIEW, run)
    return run


class Interrupted(Exception):
    """Raised instead of a power cut: the training code neither catches it nor cleans up."""


def at_step(monkeypatch, number: int, act) -> None:
    """Calls ``act`` after optimiser step number ``number``."""
    step, taken = Engine.step, []

    def counted(self, batches, totals):
        step(self, batches, totals)
        taken.append(None)
        if len(taken) == number:
            act()

    monkeypatch.setattr(Engine, "step", counted)


def cut_the_power():
    raise Interrupted


def test_a_run_leaves_what_it_promises(unbroken, synthetic_shards, capsys):
    record = json.loads((unbroken / "run.json").read_text())
    assert record["environment"] == {"device": "cpu", "precision": "float32", "world_size": 1, "backend": None}
    lines = curve(unbroken)
    assert [(line["epoch"], line["step"], line["train_images"]) for line in lines] == [
        (1, 3, 12),
        (2, 6, 12),
        (3, 9, 12),
    ]
    assert {name for name in lines[0] if name.startswith("lr_")} == {
        "lr_global_backbone",
        "lr_local_backbone",
        "lr_attention_pool",
        "lr_head",
    }
    assert record["finished"]["best"] in [
        json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()
    ]
    best_accuracy = max(line["valid_accuracy"] for line in lines)
    assert record["finished"]["best"]["valid_accuracy"] == best_accuracy
    assert record["backbones"] == {
        "global_backbone": {"name": "test_vit", "weights_sha256": None},
        "local_backbone": {"name": "test_vit", "weights_sha256": None},
    }
    # A finished run says so, trains nothing, and exits 0.
    before = (unbroken / "run.json").stat().st_mtime_ns
    assert train.main(arguments(synthetic_shards, unbroken)) == 0
    assert "is finished: best epoch" in capsys.readouterr().out
    assert (unbroken / "run.json").stat().st_mtime_ns == before


def test_the_exported_model_is_the_best_epoch(unbroken, synthetic_shards):
    """Scoring the validation split again gives the recorded metrics."""
    model, config = load_model(unbroken / "model", "cpu")
    with build_loader(synthetic_shards, "valid", replace(config.loader, shuffle=False)) as loader:
        found = score(model, loader, "cpu", config.precision)
    best = json.loads((unbroken / "run.json").read_text())["finished"]["best"]
    assert len(found) == ShardDataset.open(synthetic_shards).split_rows("valid").size
    assert ((found.probability >= 0.5) == found.label).mean() == best["valid_accuracy"]
    own = torch.from_numpy(found.probability).double()
    label = torch.from_numpy(found.label).double()
    loss = torch.nn.functional.binary_cross_entropy(own, label).item()
    assert loss == pytest.approx(best["valid_loss"], rel=1e-6)


@pytest.mark.slow  # runs that are cut off and go on are held against one that was not, to the bit
def test_equal_seeds_give_equal_runs(unbroken, synthetic_shards, tmp_path):
    train.main(arguments(synthetic_shards, tmp_path / "again"))
    assert_same_run(unbroken, tmp_path / "again")


@pytest.mark.slow  # that --seed reaches the settings of a run is tested in test_run_file
def test_another_seed_gives_another_run(unbroken, synthetic_shards, tmp_path):
    train.main([*arguments(synthetic_shards, tmp_path / "other", "epochs=1"), "--seed", "1"])
    assert curve(tmp_path / "other")[0]["train_loss"] != curve(unbroken)[0]["train_loss"]


def test_a_run_that_is_cut_off_and_then_told_to_stop_ends_like_one_that_was_not(
    unbroken, synthetic_shards, tmp_path, monkeypatch, capsys
):
    """A power cut and a signal, both in the middle of an epoch, in the same run."""
    command = [*arguments(synthetic_shards, tmp_path), "--checkpoint-every", "1"]
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        at_step(patch, 2, cut_the_power)
        with pytest.raises(Interrupted):
            train.main(command)
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))  # counted from the last checkpoint
        assert train.main(command) == 75
    assert "run the same command to continue" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before
    assert (tmp_path / "checkpoints/step-00000004").is_dir()
    assert len(curve(tmp_path)) == 1
    assert train.main(command) == 0
    assert_same_run(unbroken, tmp_path)


@pytest.mark.slow  # the test above has both a power cut and a signal
@pytest.mark.parametrize("steps", [2, 1, 4, 5, 8])
def test_a_power_cut_after_any_step_changes_nothing(unbroken, synthetic_shards, tmp_path, monkeypatch, steps):
    """With a checkpoint after every step, the run continues in the middle of an epoch, with the same dropout and the
    same order of images."""
    with monkeypatch.context() as patch:
        at_step(patch, steps, cut_the_power)
        with pytest.raises(Interrupted):
            train_run(synthetic_shards, settings(), tmp_path, checkpoint_every=1)
    assert train_run(synthetic_shards, settings(), tmp_path)
    assert_same_run(unbroken, tmp_path)


@pytest.mark.slow
def test_a_power_cut_with_checkpoints_at_epochs_only(unbroken, synthetic_shards, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 5, cut_the_power)
        with pytest.raises(Interrupted):
            train_run(synthetic_shards, settings(), tmp_path)
    assert len(curve(tmp_path)) == 1
    assert train_run(synthetic_shards, settings(), tmp_path)
    assert_same_run(unbroken, tmp_path)


@pytest.mark.slow  # that the one before is taken is tested in test_checkpoint, that a run goes on from it here
def test_a_damaged_newest_checkpoint_costs_only_its_own_steps(unbroken, synthetic_shards, tmp_path, caplog):
    train_run(synthetic_shards, settings(), tmp_path, on_epoch=lambda line: line["epoch"] < 2)
    (tmp_path / "checkpoints/step-00000006/optimizer.pt").write_bytes(b"")
    assert train_run(synthetic_shards, settings(), tmp_path)
    assert "step-00000006 is damaged" in caplog.text
    assert_same_run(unbroken, tmp_path)


@pytest.mark.slow  # SIGTERM after a power cut is tested above
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_finishes_the_step_and_the_same_command_goes_on(
    unbroken, synthetic_shards, tmp_path, monkeypatch, capsys, number
):
    command = arguments(synthetic_shards, tmp_path)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: os.kill(os.getpid(), number))
        assert train.main(command) == 75
    assert "run the same command to continue" in capsys.readouterr().out
    assert signal.getsignal(number) == before
    assert (tmp_path / "checkpoints/step-00000004").is_dir()
    assert train.main(command) == 0
    assert_same_run(unbroken, tmp_path)


def test_the_second_ctrl_c_ends_at_once(synthetic_shards, tmp_path, monkeypatch):
    def press_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_step(monkeypatch, 1, press_twice)
    with pytest.raises(KeyboardInterrupt):
        train.main(arguments(synthetic_shards, tmp_path))
    assert not list((tmp_path / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    "moment",
    # A signal inside an epoch is tested above.
    [pytest.param(when, marks=pytest.mark.slow) for when in ("the epoch's last step", "inside the validation")],
)
def test_a_signal_before_the_end_of_the_validation_costs_no_step(
    unbroken, synthetic_shards, tmp_path, monkeypatch, moment
):
    """Validation may take longer than the time between a signal and a kill, so the run stops during validation and
    keeps a checkpoint of all steps."""
    command, scored, real = arguments(synthetic_shards, tmp_path), [], scoring._scored

    def signalled(*given):
        scored.append(None)
        if moment == "inside the validation" and len(scored) == 3:  # of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "_scored", signalled)
        if moment == "the epoch's last step":
            at_step(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train.main(command) == 75
    assert len(curve(tmp_path)) == 1
    assert (tmp_path / "checkpoints/step-00000006").is_dir()
    at_step(monkeypatch, 4, cut_the_power)  # three steps are left
    assert train.main(command) == 0
    assert_same_run(unbroken, tmp_path)


def spoilt_random(training):
    training["random"][0]["torch"] = torch.zeros(3, dtype=torch.uint8)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda training: training.pop("totals"),
        pytest.param(lambda training: training["progress"].update(surprise=1), marks=pytest.mark.slow),
        pytest.param(lambda training: training["progress"].update(step="3"), marks=pytest.mark.slow),
        pytest.param(
            lambda training: training["progress"].update(history=[{"loss": float("nan")}]), marks=pytest.mark.slow
        ),
        pytest.param(lambda training: training["schedule"].update(step=1), marks=pytest.mark.slow),
        pytest.param(lambda training: training["random"][0].update(python=(3, (1, 2), None)), marks=pytest.mark.slow),
        pytest.param(lambda training: training["loader"].update(batches_consumed=-7), marks=pytest.mark.slow),
        pytest.param(lambda training: training.update(loader=[]), marks=pytest.mark.slow),
        pytest.param(spoilt_random, marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_of_another_structure_is_refused(spoil, synthetic_shards, tmp_path, half_way):
    """A checkpoint with another structure is refused even if its hashes are right, as they would be if somebody made it
    on purpose."""
    shutil.copytree(half_way, tmp_path / "run")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    model, optimizer, training = store.read(store.newest())
    spoil(training)
    store.save(2, model, optimizer, training)
    with pytest.raises(InputError, match=r"(?s)step-00000002 .* state|cannot resume the loader"):
        train_run(synthetic_shards, SINGLE_VIEW, tmp_path / "run")


@pytest.mark.slow  # that micro-steps add up to a batch is tested in test_glass_engine
def test_micro_steps_give_the_same_run(synthetic_shards, tmp_path):
    """Compares batches of 8 with four micro-steps of 2. The 12 images of an epoch are not a multiple of 8."""
    for name, size, steps in (("whole", 8, 1), ("parts", 2, 4)):
        overrides = [f"loader.global_batch_size={size}", f"grad_accum_steps={steps}"]
        config = settings(*overrides, "model.dropout=0", "epochs=2")
        assert train_run(synthetic_shards, config, tmp_path / name)
    whole, parts = curve(tmp_path / "whole"), curve(tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        assert one["step"] == other["step"]
        for name in ("train_loss", "valid_loss"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.slow  # runs of the baseline, one of them with TensorBoard, are tested in test_settings
def test_the_baseline_and_tensorboard(synthetic_shards, tmp_path):
    config = apply_overrides(load_preset("single_view_tiny"), ["loader.global_batch_size=8", "epochs=1"])
    assert train_run(synthetic_shards, config, tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert load_model(tmp_path / "model", "cpu")[1].model.kind == "single_view"


def test_a_loss_that_is_no_number_ends_the_run_with_advice(synthetic_shards, tmp_path):
    # Decay by 1 - 10 * 10 a step: on any machine the weights pass every number within 20 steps.
    changes = settings("optim.lr=10", "optim.wd=10", "epochs=30")
    # Where the last steps of an epoch only make them huge, the validation's scores tell.
    with pytest.raises(InputError, match=r"(loss became|no longer finite) .*optim\.lr"):
        train_run(synthetic_shards, changes, tmp_path)
