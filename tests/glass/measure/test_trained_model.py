"""Opening a trained model: all commands get its settings, device and scores here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glass.export.model_folder import save_model
from glass.measure.calibration import ViewSettings, write_calibration
from glass.measure.fit_calibration import fit_calibration
from glass.measure.trained_model import TrainedModel
from glass.model.model import build_model
from glass.presets import load_preset
from loaders import build_loader
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset


@pytest.fixture(scope="module")
def trained(untrained_run: Path) -> TrainedModel:
    return TrainedModel.open(untrained_run / "model", device="cpu")


def test_a_loader_is_the_runs_own_made_deterministic(trained: TrainedModel) -> None:
    """Fields that nobody changes are those of training, except that random choices are fixed."""
    training = trained.config.loader
    config = trained.loader_config(trained.views(), {"num_threads": None, "global_batch_size": 5})
    assert config == training.for_evaluation(global_batch_size=5)
    assert config.num_threads == training.num_threads
    assert config.shuffle is False
    other = trained.loader_config(trained.views(num_crops=2, sampling="uniform"))
    assert (other.num_crops, other.sampling, other.seed) == (2, "uniform", training.seed)


def test_the_batches_it_scores_are_all_of_a_split(trained: TrainedModel, synthetic_dataset: ShardDataset) -> None:
    with build_loader(synthetic_dataset, "test", trained.loader_config(trained.views())) as loader:
        scored = trained.score(loader)
    rows = synthetic_dataset.split_rows("test")
    assert scored.sample_key == synthetic_dataset.column("sample_key")[rows].tolist()
    assert np.array_equal(scored.label, synthetic_dataset.column("label")[rows])


def test_a_calibration_holds_for_its_views(trained: TrainedModel, untrained_run: Path, tmp_path: Path) -> None:
    assert trained.calibration is None
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((untrained_run / "model" / name).read_bytes())
    views = trained.views()
    margin = np.concatenate([np.linspace(-3, -1, 99), np.linspace(1, 3, 99)])
    write_calibration(tmp_path, fit_calibration(margin, np.repeat([0, 1], 99), views, trained.weights_sha256))
    calibrated = TrainedModel.open(tmp_path, device="cpu")
    assert calibrated.calibration_for(views) is calibrated.calibration is not None
    assert calibrated.calibration_for(replace(views, draws=2)) is None
    assert TrainedModel.open(tmp_path, device="cpu", calibrated=False).calibration is None


def test_the_views_that_cover_an_image_depend_on_no_setting(trained: TrainedModel) -> None:
    assert trained.views(coverage="all") == ViewSettings(64, "all", "all", 1)


def test_a_device_that_is_not_there_is_refused(untrained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TrainedModel.open(untrained_run / "model").device == "cpu"
    with pytest.raises(InputError, match="device cuda"):
        TrainedModel.open(untrained_run / "model", device="cuda")


def test_a_device_that_nobody_knows_is_refused(untrained_run: Path) -> None:
    with pytest.raises(InputError, match="'gpu' is unknown: choose auto, cpu or cuda"):
        TrainedModel.open(untrained_run / "model", device="gpu")


def test_no_crops_are_not_the_crops_of_training(trained: TrainedModel) -> None:
    with pytest.raises(InputError, match="num_crops=0"):
        trained.loader_config(trained.views(num_crops=0))


def test_what_a_model_without_crops_cannot_do_is_named(tmp_path: Path) -> None:
    config = load_preset("single_view_tiny")
    save_model(tmp_path, build_model(config), config)
    trained = TrainedModel.open(tmp_path, device="cpu")
    assert not trained.sees_crops
    assert trained.views().num_crops == config.loader.num_crops
    with pytest.raises(InputError, match=r"sees no crops: leave out crops, draws$"):
        trained.views(num_crops=2, draws=3)
