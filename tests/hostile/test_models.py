"""Malicious models, run records and checkpoints are refused with an error, and no code in them is executed."""

import json
import shutil
import zipfile

import pytest
import torch

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.export.model_folder import load_model, save_model
from glass.model.model import build_model
from glass.presets import load_preset
from glass.train.checkpoint import CheckpointStore
from shards.errors import InputError


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """The folder of a model. Do not write into it; copy it first."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    config = apply_overrides(load_preset("glass_tiny"), ["model.global_backbone=test_vit"])
    save_model(folder, build_model(config, with_weights=False), config)
    return folder


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card.update(config=[1, 2]),
        lambda card: card.update(normalisation={}),
        lambda card: card["normalisation"]["global_backbone"].update(mean=["x"]),
        *(
            pytest.param(edit, marks=pytest.mark.slow)  # types and names of other fields
            for edit in (
                lambda card: card["normalisation"]["global_backbone"].update(colour=1),
                lambda card: card["config"].update(loader=7),
            )
        ),
    ],
)
def test_a_model_whose_description_makes_no_sense(tiny_model, tmp_path, edit):
    """A model folder raises ``InputError`` if fields in its ``config.json`` have wrong types or are missing. The case
    with the empty ``normalisation`` was found by fuzzing."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    card = json.loads((model / "config.json").read_text())
    edit(card)
    (model / "config.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"config\.json is damaged|unknown setting"):
        load_model(model, "cpu")


@pytest.mark.parametrize("name", ["config", "data", "finished"])
def test_a_record_of_a_run_that_lacks_a_part(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.begin(RunConfig(), {"name": "demo", "dataset_json_sha256": "a" * 64}, {})
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    del record[name]
    path.write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=rf"run\.json is not the record of a run of this version \(document\.{name} is missing\)"
    ):
        folder.is_finished(RunConfig(), {"dataset_json_sha256": "a" * 64})


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(1, {"weight": torch.zeros(3)}, {"state": {}}, {"progress": {}})
    return store


def test_a_checkpoint_packed_to_unpack_to_any_size(store):
    path = store.newest() / "training.pt"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content + bytes(1 << 20))
    with pytest.raises(InputError, match="cannot be read"):
        store.read(path.parent)


def test_an_old_pickle_in_place_of_a_checkpoint(store, tmp_path):
    path = store.newest() / "optimizer.pt"
    path.write_bytes(f"cos\nsystem\n(S'touch {tmp_path / 'ran'}'\ntR.".encode())
    with pytest.raises(InputError, match="cannot be read"):
        store.read(path.parent)
    assert not (tmp_path / "ran").exists()


def test_weights_whose_header_claims_more_than_the_file(store):
    path = store.newest() / "model.safetensors"
    for length, text in (
        (1 << 62, b"{}"),
        (60, b'{"weight":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,39999999996]}}'),
        (5, b'{"a":'),
    ):
        path.write_bytes(length.to_bytes(8, "little") + text)
        with pytest.raises(InputError, match="cannot be read"):
            store.read(path.parent)
