"""The settings ``train.*`` in real runs: patience, moving average of the weights, class weights and trackers."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate.tracking import GeneralTracker
from torch import nn

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig, TrainConfig
from glass.export.card_file import read_model_card
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.presets import load_preset
from glass.share.model_card import model_card
from glass.train.class_weights import class_weights
from glass.train.metrics_line import epochs_without_gain
from glass.train.run import train
from glass.train.step import Engine, Totals
from shards.errors import InputError

SETTINGS = [  # of a model without crops, which takes half the time
    "model.global_backbone=test_resnet",  # with batch statistics, which are averaged, too
    "loader.global_batch_size=4",
    "epochs=2",
    "tensorboard=false",
    "cpu_threads=1",
]


pytestmark = pytest.mark.usefixtures("on_the_cpu")


def settings(*overrides: str) -> RunConfig:
    return apply_overrides(load_preset("single_view_tiny"), [*SETTINGS, *overrides])


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def model_weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "model/model.safetensors")


def stop_after(epoch: int):
    return lambda line: line["epoch"] < epoch


class TestPatience:
    def test_counts_epochs_without_a_better_value(self):
        def history(*values):
            return [{"valid_accuracy": value, "valid_loss": -(value or 0)} for value in values]

        assert epochs_without_gain([], "accuracy") == 0
        assert epochs_without_gain(history(0.5), "accuracy") == 0
        assert epochs_without_gain(history(0.5, 0.6, 0.6, 0.6), "accuracy") == 2
        assert epochs_without_gain(history(0.5, 0.6, 0.5, 0.7), "accuracy") == 0
        assert epochs_without_gain(history(None, 0.1, None), "accuracy") == 1
        assert epochs_without_gain(history(0.9, 0.1), "loss") == 1  # minus 0.9 is the lower loss

    def test_ends_a_run_that_was_stopped_before(self, synthetic_shards, tmp_path, caplog):
        caplog.set_level(logging.INFO, "glass")
        # Rates of 0: no epoch is better than the first.
        still = ["epochs=9", "optim.lr=0", "optim.lr_min=0", "select_by=loss", "model.global_backbone=test_vit"]
        still.append("loader.global_batch_size=12")  # one step per epoch
        config = settings(*still, "train.patience=2")
        stopped = tmp_path / "stopped"
        assert not train(synthetic_shards, config, stopped, on_epoch=stop_after(2))
        assert "no better loss for 2 epochs: stopping early" not in caplog.messages
        assert train(synthetic_shards, config, stopped)
        assert len(lines(stopped)) == 3
        assert json.loads((stopped / "run.json").read_text())["finished"]["best"]["epoch"] == 1
        assert caplog.messages.count("no better loss for 2 epochs: stopping early") == 1
        # Killed between its last checkpoint and the note that it is finished.
        record = json.loads((stopped / "run.json").read_text()) | {"finished": None}
        (stopped / "run.json").write_text(json.dumps(record))
        assert train(synthetic_shards, config, stopped)
        assert len(lines(stopped)) == 3


class TestAverage:
    def test_is_what_timm_averages_is_validated_and_is_exported(self, synthetic_shards, tmp_path, monkeypatch):
        """Compares the model with the average of the weights after each step, calculated here by the formula."""
        seen: list[dict[str, torch.Tensor]] = []
        step = Engine.step

        def noted(self, batches, totals):
            step(self, batches, totals)
            seen.append({name: value.clone() for name, value in self.model.state_dict().items()})

        monkeypatch.setattr(Engine, "step", noted)
        run = tmp_path / "run"
        assert train(synthetic_shards, settings("epochs=1", "train.ema=0.9"), run)
        average = {name: value.double() for name, value in seen[0].items() if value.is_floating_point()}
        for number, state in enumerate(seen[1:], start=1):
            decay = min(0.9, 1 - (1 + number) ** (-2 / 3))
            average = {name: decay * value + (1 - decay) * state[name] for name, value in average.items()}
        exported = model_weights(run)
        assert any("running_mean" in name for name in average)
        for name, value in average.items():
            torch.testing.assert_close(exported[name].double(), value, rtol=1e-4, atol=1e-6)
        assert any(not torch.equal(value, seen[-1][name]) for name, value in exported.items())
        document, _ = evaluate_run(run, synthetic_dataset_of(synthetic_shards), "valid", EvaluationOptions(draws=0))
        assert document["metrics"]["nll"] == pytest.approx(lines(run)[0]["valid_loss"], abs=1e-5)
        assert document["model"]["weight_average"] == 0.9
        assert read_model_card(run / "model")["weight_average"] == 0.9
        assert "Its weights are a moving average (decay 0.9)" in model_card(run / "model")

    def test_a_run_that_goes_on_has_the_same(self, synthetic_shards, tmp_path):
        config = settings("train.ema=0.9", "model.dropout=0.2", "loader.global_batch_size=12")
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        assert train(synthetic_shards, config, whole)
        assert not train(synthetic_shards, config, parts, on_epoch=stop_after(1))
        assert train(synthetic_shards, config, parts)
        own, other = model_weights(whole), model_weights(parts)
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)
        assert [line["valid_loss"] for line in lines(whole)] == [line["valid_loss"] for line in lines(parts)]

    @pytest.mark.slow  # that one is said is tested above
    def test_without_one_nothing_says_so(self, synthetic_shards, tmp_path):
        assert train(synthetic_shards, settings("epochs=1"), tmp_path / "run")
        assert read_model_card(tmp_path / "run/model")["weight_average"] is None
        assert "moving average" not in model_card(tmp_path / "run/model")


def synthetic_dataset_of(path: Path) -> Any:
    from shards.manifest.dataset import ShardDataset

    return ShardDataset.open(path)


class TestClassWeights:
    def test_balanced_ones_give_both_classes_the_same_sum(self, synthetic_shards):
        dataset = synthetic_dataset_of(synthetic_shards)
        found = class_weights(settings("train.class_weights=balanced", "train_split=train"), dataset)
        labels = dataset.column("label")[dataset.split_rows("train")]
        assert found is not None
        weights = np.array(found)[labels]
        assert weights.mean() == pytest.approx(1)
        assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())

    def test_the_loss_and_its_gradient_are_weighted(self, monkeypatch):
        """Compares one step of a linear model with the written-out sum."""
        from accelerate import Accelerator

        class Linear(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(3, 2)

            def forward(self, view, crops, mask):
                return self.layer(view), None

        torch.manual_seed(0)
        model = Linear()
        view, label = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
        valid = torch.tensor([True, True, True, False])
        config = settings("label_smoothing=0.1")
        losses = nn.functional.cross_entropy(model(view, None, None)[0], label, reduction="none", label_smoothing=0.1)
        expected = (losses * torch.tensor([1.0, 5.0, 5.0, 0.0])).sum() / 3
        gradient = torch.autograd.grad(expected, model.layer.weight)[0]
        accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        engine, totals = Engine(config, accelerator, model, optimizer, (1.0, 5.0)), Totals(accelerator.device)
        before = model.layer.weight.detach().clone()
        batch = {"global_view": view, "local_crops": view, "crop_mask": view, "label": label, "is_valid": valid}
        engine.step([batch], totals)
        torch.testing.assert_close(before - model.layer.weight.detach(), gradient)
        assert totals.read(accelerator)["loss"] == pytest.approx(expected.item())

    @pytest.mark.slow  # the loss of a step and its gradient are tested above
    def test_a_run_learns_with_them(self, synthetic_shards, tmp_path):
        for name, weights in (("even", "none"), ("uneven", "1,50")):
            assert train(synthetic_shards, settings("epochs=1", f"train.class_weights={weights}"), tmp_path / name)
        even, uneven = (lines(tmp_path / name)[0]["train_loss"] for name in ("even", "uneven"))
        assert uneven > 5 * even

    @pytest.mark.parametrize("text", ["1", "1,2,3", "0,1", "-1,1", "nan,1", "inf,1", "a,b", ""])
    def test_what_they_are_not(self, text):
        with pytest.raises(InputError, match=r"train\.class_weights=.* must be balanced, or two numbers above 0"):
            TrainConfig(class_weights=text)

    def test_one_class_cannot_be_balanced(self, synthetic_shards):
        dataset = synthetic_dataset_of(synthetic_shards)
        labels = dataset.column("label")
        own = dataset.split_rows

        class OneClass:
            column = dataset.column

            @staticmethod
            def split_rows(split):
                return own(split)[labels[own(split)] == 0]

        with pytest.raises(InputError, match=r"split train holds \d+ real and 0 generated images"):
            class_weights(settings("train.class_weights=balanced"), OneClass())  # type: ignore[arg-type]


class Kept(GeneralTracker):
    """A tracker with Accelerate's interface that keeps everything it is given."""

    name = "kept"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = False

    @property
    def tracker(self):
        return self.logged

    def store_init_configuration(self, values):
        self.settings |= values

    def log(self, values, step, **_):
        self.logged.append((step, values))

    def finish(self):
        self.finished = True


class TestTrackers:
    def test_one_gets_settings_and_curves(self, synthetic_shards, tmp_path):
        kept = Kept()
        config = settings("epochs=2", "tensorboard=true", "loader.global_batch_size=12")
        assert train(synthetic_shards, config, tmp_path / "run", trackers=[kept])
        assert kept.settings["optim.lr_local"] == settings().optim.lr_local
        assert kept.settings["epochs"] == 2
        epochs = [(step, values) for step, values in kept.logged if "epoch/valid_loss" in values]
        assert [(step, values["epoch/valid_loss"]) for step, values in epochs] == [
            (line["step"], line["valid_loss"]) for line in lines(tmp_path / "run")
        ]
        assert kept.finished
        assert list((tmp_path / "run/tensorboard").glob("events.out.tfevents.*"))

    @pytest.mark.slow
    def test_wandb_offline(self, synthetic_shards, tmp_path, monkeypatch):
        wandb = pytest.importorskip("wandb")
        for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}.items():
            monkeypatch.setenv(name, value)
        assert train(synthetic_shards, settings("epochs=1", "train.trackers=wandb"), tmp_path / "run")
        wandb.teardown()  # its own process writes the file
        (file,) = (tmp_path / "run/wandb").glob("offline-run-*/run-*.wandb")
        assert b"epoch/valid_loss" in file.read_bytes()

    @pytest.mark.slow
    def test_mlflow_on_files(self, synthetic_shards, tmp_path, monkeypatch):
        mlflow = pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        monkeypatch.chdir(tmp_path)
        assert train(synthetic_shards, settings("epochs=1", "train.trackers=mlflow"), tmp_path / "run")
        (found,) = mlflow.MlflowClient().search_runs(["1"])
        assert found.data.metrics["epoch/valid_loss"] == pytest.approx(lines(tmp_path / "run")[0]["valid_loss"])
        assert found.data.params["epochs"] == "1"
        assert found.info.run_name == "run"

    def test_one_that_is_not_there_is_named(self, synthetic_shards, tmp_path, monkeypatch):
        monkeypatch.setattr("accelerate.tracking._available_trackers", [])
        with pytest.raises(
            InputError, match=r"train\.trackers=aim: the library aim is not installed: run pip install aim"
        ):
            train(synthetic_shards, settings("train.trackers=aim"), tmp_path / "run")
        with pytest.raises(InputError, match=r"train\.trackers=wandbb: there is no such tracker; choose from aim, "):
            train(synthetic_shards, settings("train.trackers=wandbb"), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("text", ["", "wandb,", "wandb,wandb", "tensorboard"])
    def test_what_they_are_not(self, text):
        with pytest.raises(InputError, match=r"must be names separated by commas"):
            TrainConfig(trackers=text)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, math.nan])
def test_a_decay_lies_between_0_and_1(value):
    with pytest.raises(InputError, match=r"train\.ema=.* must lie above 0 and below 1"):
        TrainConfig(ema=value)
