"""The disk becomes full during a training run, each time while another file is written."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from glass.config.overrides import apply_overrides
from glass.presets import load_preset
from glass.train.run import train
from shards.errors import InputError
from tests.conftest import remount

SETTINGS = [
    "model.global_backbone=test_vit",
    "loader.global_batch_size=12",
    "epochs=1",
    "cpu_threads=1",
    "tensorboard=false",
]


def exported(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "model/model.safetensors")


def test_each_refusal_is_one_sentence_and_the_run_goes_on(synthetic_shards, tmp_path, small_disk, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    config = apply_overrides(load_preset("single_view_tiny"), SETTINGS)
    assert train(synthetic_shards, config, tmp_path / "straight")
    disk = small_disk(4)
    refusals = []
    # No room for the record, for the two large files of the checkpoint, and for the exported model.
    for kilobytes in (4, 512, 2048, 4096):
        remount(disk, f"size={kilobytes}k")
        with pytest.raises(InputError) as refused:
            train(synthetic_shards, config, disk / "run")
        refusals.append(str(refused.value))
    remount(disk, "size=16m")
    assert train(synthetic_shards, config, disk / "run")
    assert len(set(refusals)) == 4
    assert all("full" in words or "cannot be written" in words for words in refusals)
    own, other = exported(disk / "run"), exported(tmp_path / "straight")
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
