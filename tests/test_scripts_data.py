"""``data_stats`` against the pixels themselves, and ``download_data`` without a network."""

import json
import sys
import types

import numpy as np
import pytest

from scripts import data_stats, download_data
from shards.command import InputError
from shards.pixels import decode_rgb
from shards.statistics import data_statistics


def decoded(dataset, rows):
    for row in rows:
        member = dataset.table.slice(int(row), 1).to_pylist()[0]
        data = dataset.shard_path(member["shard"]).read_bytes()
        start = member["image_offset"]
        yield decode_rgb(data[start : start + member["image_length"]])


@pytest.mark.parametrize("group", ["real", "generated/gan_a"])
def test_statistics_are_those_of_all_pixels(synthetic_dataset, group):
    found = data_statistics(synthetic_dataset)["groups"][group]
    label, generator = synthetic_dataset.column("label"), synthetic_dataset.column("generator")
    chosen = label == 0 if group == "real" else generator == "gan_a"
    images = list(decoded(synthetic_dataset, np.flatnonzero(chosen)))
    assert found["images"] == len(images)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    assert found["pixels"] == len(pixels)
    for place, channel in enumerate(("red", "green", "blue")):
        assert found["channels"][channel]["mean"] == pytest.approx(pixels[:, place].mean())
        assert found["channels"][channel]["sd"] == pytest.approx(pixels[:, place].std())
    assert found["width"]["mean"] == pytest.approx(np.mean([i.shape[1] for i in images]))
    assert found["height"]["largest"] == max(image.shape[0] for image in images)
    for counts in found["histograms"].values():
        assert sum(counts) == len(images)
    assert sum(found["format"].values()) == sum(found["mode"].values()) == len(images)


def test_splits_and_rejects_are_counted(synthetic_dataset):
    document = data_statistics(synthetic_dataset)
    for name, counts in synthetic_dataset.info.counts.items():
        assert document["splits"][name] == {"real": counts.real, "generated": counts.generated}
    assert document["samples"] == len(synthetic_dataset)
    assert document["rejected"] == {}


def test_the_command_prints_and_writes(synthetic_shards, tmp_path, capsys):
    assert data_stats.main([str(synthetic_shards), "--output", str(tmp_path / "new")]) == 0
    text = capsys.readouterr().out
    assert "generated/gan_b" in text
    assert "megapixels" in text
    document = json.loads((tmp_path / "new/data_stats.json").read_text())
    assert document["groups"]["real"]["images"] > 0


def kaggle_folder(root):
    for name in ("real", "fake"):
        (root / "test" / name).mkdir(parents=True)
        (root / "test" / name / "1.jpg").write_bytes(b"x")
    return root


@pytest.mark.parametrize("copy", [[], ["--copy"]])
def test_a_download_becomes_folders_that_build_shards_takes(tmp_path, monkeypatch, copy, capsys):
    source = kaggle_folder(tmp_path / "cache")
    hub = types.SimpleNamespace(dataset_download=lambda name: str(source))
    monkeypatch.setitem(sys.modules, "kagglehub", hub)
    assert download_data.main([str(tmp_path / "out"), *copy]) == 0
    assert (tmp_path / "out/real/1.jpg").read_bytes() == b"x"
    assert (tmp_path / "out/generated/1.jpg").is_file()
    assert "1 real, 1 generated" in capsys.readouterr().out


def test_without_network_the_address_and_the_layout_are_told(tmp_path, monkeypatch):
    def fails(name):
        raise ConnectionError("Name or service not known")

    hub = types.SimpleNamespace(dataset_download=fails)
    monkeypatch.setitem(sys.modules, "kagglehub", hub)
    with pytest.raises(InputError, match=r"(?s)cannot be downloaded.*kaggle.com.*test/real"):
        download_data.main([str(tmp_path / "out")])
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=r"not installed.*\[kaggle\].*kaggle.com"):
        download_data.main([str(tmp_path / "out")])


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        download_data.main([str(tmp_path / "mine"), "--source", str(tmp_path)])
    with pytest.raises(InputError, match="holds no test/real"):
        download_data.main([str(tmp_path / "new"), "--source", str(tmp_path)])
