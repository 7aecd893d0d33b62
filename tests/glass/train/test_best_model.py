"""``RUN/model`` contains the model of the best epoch, even if the run was killed before exporting it."""

import json
import shutil

import pytest

from glass.config.overrides import apply_overrides
from glass.export.card_file import read_model_card
from glass.export.model_folder import holds_model
from glass.presets import load_preset
from glass.train.run import train
from glass.train.state import RunState

SETTINGS = [  # of a model without crops, which takes half the time
    "model.global_backbone=test_vit",
    "loader.global_batch_size=12",
    "epochs=2",
    "tensorboard=false",
    "cpu_threads=1",
]


pytestmark = pytest.mark.usefixtures("on_the_cpu")


def settings(*overrides):
    return apply_overrides(load_preset("single_view_tiny"), [*SETTINGS, *overrides])


def best_of(run):
    return json.loads((run / "run.json").read_text())["finished"]["best"]


@pytest.mark.parametrize("lost", ["gone", pytest.param("of another epoch", marks=pytest.mark.slow)])
def test_a_model_that_was_not_exported_is_exported_when_the_run_goes_on(synthetic_shards, tmp_path, lost):
    run = tmp_path / "run"
    # At this rate the second epoch only makes the loss of the first worse.
    config = settings("optim.lr=0.2", "select_by=loss")
    train(synthetic_shards, config, run, on_epoch=lambda line: False)
    exported = read_model_card(run / "model")
    assert exported["chosen"]["epoch"] == 1
    weights = run / "model/model.safetensors"
    if lost == "gone":
        shutil.rmtree(run / "model")
    else:
        weights.write_bytes(weights.read_bytes()[:-4] + b"lost")
    assert train(synthetic_shards, config, run)
    assert holds_model(run / "model", best_of(run))
    assert best_of(run)["epoch"] == 1
    assert read_model_card(run / "model")["weights_sha256"] == exported["weights_sha256"]


def test_choosing_on_what_was_learnt_is_reported(synthetic_shards, tmp_path, caplog):
    config = settings("epochs=1", "train_split=train+valid")
    assert train(synthetic_shards, config, tmp_path / "run")
    assert "share valid: the best epoch is chosen on images it was trained on" in caplog.text


@pytest.mark.slow  # that one which a checkpoint gives is exported again is tested above
def test_a_model_that_no_checkpoint_gives_again_is_reported(synthetic_shards, tmp_path, caplog, monkeypatch):
    config = settings("epochs=3")
    train(synthetic_shards, config, tmp_path / "run", on_epoch=lambda line: line["epoch"] < 2)
    shutil.rmtree(tmp_path / "run/model")
    load = RunState.load

    def with_the_first_as_best(self, store):
        found = load(self, store)
        self.progress.best = self.progress.history[0]
        return found

    monkeypatch.setattr(RunState, "load", with_the_first_as_best)
    assert train(synthetic_shards, config, tmp_path / "run")
    assert "the model of epoch 1, the best so far, is missing" in caplog.text
    assert best_of(tmp_path / "run")["epoch"] > 1
    assert holds_model(tmp_path / "run/model", best_of(tmp_path / "run"))
