"""The hub's own interface to an exported model: round trips in folders, and never a pickle."""

import pickle
import shutil
from dataclasses import replace

import huggingface_hub.hub_mixin
import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin

from glass.config.learnt_ids import LEARNT_FILE
from glass.export.model_folder import read_model_card, save_model
from glass.measure.calibration import ViewSettings, fit_calibration, write_calibration
from glass.model import hub
from glass.model.model import build_model
from glass.predict.detector import Detector
from glass.presets import load_preset
from glass.share.hub_model import HubModel
from shards.errors import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with a calibrated model."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    config = load_preset("glass_tiny")
    config = replace(config, loader=replace(config.loader, crop_size=48))
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    margin, label = np.linspace(-2, 2, 40), np.repeat([0, 1], 20)
    views = ViewSettings(config.loader.num_crops, config.loader.sampling)
    sha256 = read_model_card(folder / "model")["weights_sha256"]
    write_calibration(folder / "model", fit_calibration(margin, label, views, sha256))
    return folder


def test_what_is_saved_comes_back(run, tmp_path):
    model = HubModel.from_pretrained(run)
    assert isinstance(model, PyTorchModelHubMixin)
    assert not model.training
    model.save_pretrained(tmp_path / "saved")
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == sorted({*hub.MODEL_FILES} - {LEARNT_FILE})  # which only a person adds
    again = HubModel.from_pretrained(str(tmp_path / "saved"))
    views = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    crops = torch.randint(0, 256, (2, 4, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(views, crops)[0], again(views, crops)[0])
    assert again.run_config == model.run_config


def test_a_detector_loads_what_was_published(run, tmp_path, monkeypatch, synthetic_images):
    """Pushed into a folder that stands for the hub, pulled by name, scores and calibration kept."""

    def publish(folder, repo_id, private):
        assert private
        shutil.copytree(folder, tmp_path / "hub" / repo_id)
        return f"local/{repo_id}"

    monkeypatch.setattr("glass.share.hub_model.publish", publish)
    monkeypatch.setattr(hub, "_fetch", lambda repo_id, revision: tmp_path / "hub" / repo_id)
    monkeypatch.chdir(tmp_path)
    model = HubModel.from_pretrained(run)
    assert model.push_to_hub("someone/detector") == "local/someone/detector"
    images = sorted(synthetic_images.rglob("*.png"))[:2]
    published, own = (Detector.from_pretrained(name, device="cpu") for name in ("someone/detector", run))
    assert published.calibration == own.calibration is not None
    one, other = (detector.predict(images, stability=False) for detector in (published, own))
    assert [v.probability for v in one] == [v.probability for v in other]
    assert HubModel.from_pretrained("someone/detector").run_config == own.config
    with pytest.raises(InputError, match="takes no token"):
        model.push_to_hub("someone/detector", token="x")


def test_the_mixins_pickle_is_out_of_reach(run, tmp_path, monkeypatch):
    """Neither where safetensors are missing nor where a config tells the constructor something."""

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    def forbidden(*_, **__):
        raise AssertionError("the mixin's own way of loading was taken")

    monkeypatch.setattr(huggingface_hub.hub_mixin, "hf_hub_download", forbidden)
    folder = tmp_path / "hostile"
    shutil.copytree(run / "model", folder)
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.bin"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        HubModel.from_pretrained(folder)
    with pytest.raises(InputError, match="safetensors alone"):
        HubModel._load_as_pickle(None, str(folder / "model.bin"), "cpu", True)
    for text in ("[1]", '{"folder": "/etc"}', "{", "[" * 9999):
        (folder / "config.json").write_text(text)
        with pytest.raises(InputError, match="damaged"):
            HubModel.from_pretrained(folder)
    with pytest.raises(InputError, match="does not exist"):
        HubModel.from_pretrained(tmp_path / "nowhere")
    assert not (tmp_path / "sprung").exists()


def test_nothing_is_lost_by_saving(run, tmp_path):
    """The mixin deletes the config of a folder that it saves to, be it the model's own."""
    shutil.copytree(run / "model", tmp_path / "own")
    model = HubModel.from_pretrained(tmp_path / "own")
    with pytest.raises(InputError, match="holds files"):
        model.save_pretrained(tmp_path / "own")
    assert (tmp_path / "own" / "config.json").is_file()
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(InputError, match="were changed"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
