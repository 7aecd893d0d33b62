"""The exported model contains everything that a verdict needs and nothing that runs code. Wrong files are named."""

import json
import shutil

import pytest
import torch

from glass.config.run_config import ModelConfig, RunConfig
from glass.export.model_folder import load_model, save_model
from glass.model.model import build_model
from loaders import LoaderConfig
from shards.errors import InputError

CONFIG = RunConfig(
    preset="tiny",
    model=ModelConfig(global_backbone="test_vit", local_backbone="test_resnet", pretrained=False),
    loader=LoaderConfig(num_crops=2, crop_size=32, global_size=32, seed=7),
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(CONFIG).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder, model, CONFIG, {"epoch": 3, "valid_auroc": None})
    return folder


@pytest.fixture
def folder(tmp_path, saved):
    """A copy of the exported model that the test may damage."""
    return shutil.copytree(saved, tmp_path / "model")


def views():
    random = torch.Generator().manual_seed(0)
    shape = {"dtype": torch.uint8, "generator": random}
    return (torch.randint(0, 256, (2, 3, 32, 32), **shape), torch.randint(0, 256, (2, 2, 3, 32, 32), **shape))


def test_what_is_loaded_gives_the_same_scores(folder, model):
    loaded, config = load_model(folder, "cpu")
    assert config == CONFIG
    assert not loaded.training
    for got, expected in zip(loaded(*views()), model(*views()), strict=True):
        assert torch.equal(got, expected)


def test_the_card_says_what_a_verdict_depends_on(folder):
    card = json.loads((folder / "config.json").read_text())
    assert card["format_version"] == 1
    assert card["label_names"] == ["real", "generated"]
    sizes = {"global_size": 32, "crop_size": 32, "num_crops": 2}
    assert card["views"] == sizes | {"sampling": "stratified_grid", "seed": 7}
    assert card["normalisation"]["global_backbone"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert card["chosen"] == {"epoch": 3, "valid_auroc": None}
    assert card["versions"]["timm"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_model_keeps_its_own_normalisation(folder, model):
    """A later version of timm may have a different mean for the network than the one that the model was trained
    with."""
    card = json.loads((folder / "config.json").read_text())
    card["normalisation"]["global_backbone"] = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (folder / "config.json").write_text(json.dumps(card))
    backbone = load_model(folder, "cpu")[0].global_backbone
    normalised = backbone.normalise(torch.full((1, 3, 1, 1), 51, dtype=torch.uint8))  # 0.2
    expected = torch.tensor([0.1 / 0.4, 0.0, -0.1 / 0.6]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalised, expected, atol=1e-6, rtol=0)


def test_loading_needs_neither_the_weights_file_nor_the_network(tmp_path):
    """A run that started from a local weights file can be exported, moved to another machine and loaded there."""
    settings = ModelConfig(
        kind="single_view", global_backbone="test_resnet", pretrained=True, global_weights="gone.pth"
    )
    config = RunConfig(model=settings, loader=LoaderConfig(global_size=32))
    save_model(tmp_path, build_model(config, with_weights=False), config)
    assert load_model(tmp_path, "cpu")[1] == config


class TestNamesOfBackbones:
    """A model from a stranger must not cause a network to be fetched or read from elsewhere."""

    def renamed(self, folder, name, key="global_backbone", **recorded):
        card = json.loads((folder / "config.json").read_text())
        card["config"]["model"][key] = name
        card["backbones"] |= recorded
        (folder / "config.json").write_text(json.dumps(card))

    @pytest.fixture
    def nobody_asked(self, monkeypatch):
        """Makes the test fail if timm looks up a network on the hub or in a folder."""

        def asked(*given):
            raise AssertionError(f"looked up {given}")

        monkeypatch.setattr("timm.models.load_model_config_from_hf", asked)
        monkeypatch.setattr("timm.models._hub.load_model_config_from_path", asked)
        for name in ("load_model_config_from_hf", "load_model_config_from_path"):
            monkeypatch.setattr(f"timm.models._factory.{name}", asked)

    @pytest.mark.parametrize("key", ["global_backbone", "local_backbone"])
    @pytest.mark.parametrize("name", ["hf-hub:someone/net", "local-dir:/etc", "hf_hub:x/y", "a/b"])
    def test_one_from_elsewhere_is_refused(self, folder, nobody_asked, key, name):
        for recorded in (None, "hf-hub:someone/net", "no_such_network", 3):
            self.renamed(folder, name, key, **{key: recorded})
            with pytest.raises(InputError, match=rf"{key}='{name}' is not one of timm's networks") as caught:
                load_model(folder, "cpu")
            assert "\n" not in str(caught.value)

    def test_a_users_own_is_read_by_the_name_that_was_recorded(self, folder, model, nobody_asked):
        assert json.loads((folder / "config.json").read_text())["backbones"] == {
            "global_backbone": "test_vit",
            "local_backbone": "test_resnet",
        }
        self.renamed(folder, "hf-hub:me/mine")
        loaded, config = load_model(folder, "cpu")
        assert config.model.global_backbone == "test_vit"
        assert torch.equal(loaded(*views())[0], model(*views())[0])

    def test_a_model_of_before_names_were_recorded_is_read(self, folder):
        card = json.loads((folder / "config.json").read_text())
        del card["backbones"]
        (folder / "config.json").write_text(json.dumps(card))
        assert load_model(folder, "cpu")[1] == CONFIG

    def test_views_that_the_network_does_not_take(self, folder):
        card = json.loads((folder / "config.json").read_text())
        card["config"]["loader"]["global_size"] = 40
        (folder / "config.json").write_text(json.dumps(card))
        with pytest.raises(InputError, match=r"global_size=40 does not fit test_vit"):
            load_model(folder, "cpu")


class TestMistakes:
    def refused(self, folder, words):
        with pytest.raises(InputError, match=words) as caught:
            load_model(folder, "cpu")
        assert "\n" not in str(caught.value)

    def test_no_model(self, tmp_path):
        self.refused(tmp_path, r"no model in .*config\.json is missing")
        (tmp_path / "run.json").write_text("{}")
        self.refused(
            tmp_path,
            "holds no model yet, because its training has not finished an epoch: run the training command again",
        )

    def test_weights_missing(self, folder):
        (folder / "model.safetensors").unlink()
        self.refused(folder, r"model\.safetensors is missing")

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1}'])
    def test_card_damaged(self, folder, text):
        (folder / "config.json").write_text(text)
        self.refused(folder, r"config\.json is damaged")

    def test_card_of_another_version(self, folder):
        (folder / "config.json").write_text('{"format_version": 9}')
        self.refused(folder, "format_version 9")

    @pytest.mark.parametrize(
        "pixels",
        [
            "x",
            [],
            {},
            {"rules_version": "1", "decoders": {}, "probe": {}},
            {"rules_version": 1, "decoders": [], "probe": {}},
            {"rules_version": 1},
        ],
    )
    def test_card_with_a_damaged_record_of_pixels(self, folder, pixels):
        card = json.loads((folder / "config.json").read_text()) | {"pixels": pixels}
        (folder / "config.json").write_text(json.dumps(card))
        self.refused(folder, r"config\.json is damaged")

    def test_views_of_an_absurd_size(self, folder):
        card = json.loads((folder / "config.json").read_text())
        card["config"]["loader"]["crop_size"] = 10**7
        (folder / "config.json").write_text(json.dumps(card))
        self.refused(folder, r"config\.json: loader\.crop_size=10000000 must lie between 1 and 4,096")

    def test_weights_of_another_run(self, folder, tmp_path):
        torch.manual_seed(1)
        save_model(tmp_path / "other", build_model(CONFIG), CONFIG)
        shutil.copy(tmp_path / "other/model.safetensors", folder)
        self.refused(folder, "is not the file that")

    def test_weights_cut_short(self, folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        self.refused(folder, "is not the file that")

    def test_settings_of_another_model(self, folder):
        """The card of the model is edited to name another backbone. The message names the first tensor that does not
        fit."""
        card = json.loads((folder / "config.json").read_text())
        card["config"]["model"]["local_backbone"] = "test_convnext"
        (folder / "config.json").write_text(json.dumps(card))
        self.refused(folder, r"belongs to another model: it lacks local_backbone\.network\.")

    def test_tensors_of_another_shape(self, folder):
        card = json.loads((folder / "config.json").read_text())
        card["config"]["model"]["attention_dim"] = 64
        (folder / "config.json").write_text(json.dumps(card))
        self.refused(folder, r"attention_pool\.score\.0\.weight is \(128, 96\) there and \(64, 96\)")
