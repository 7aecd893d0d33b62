"""``data_stats`` compared with the pixels themselves, and ``download_data`` without a network."""

import json
import sys
import types

import numpy as np
import pytest

from scripts import data_stats, download_data
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.images.pixels import decode_rgb
from shards.manifest.statistics import data_statistics


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
    typed_document(document, data_stats.DataStats)
    assert data_stats.main([str(synthetic_shards), "--output", str(tmp_path / "new")]) == 0
    (tmp_path / "new/data_stats.json").write_text("mine")
    with pytest.raises(InputError, match="not written by this command"):
        data_stats.main([str(synthetic_shards), "--output", str(tmp_path / "new")])
    assert (tmp_path / "new/data_stats.json").read_text() == "mine"
    assert document["groups"]["real"]["images"] > 0


def test_an_output_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "page.html").write_text("mine")
    for name, words in (
        ("page.html", "page.html is a file: give a folder"),
        ("other.json", "other.json is named like a file: give a name without .json"),
    ):
        with pytest.raises(InputError, match=words):
            data_stats.main([str(tmp_path / "data"), "--output", str(tmp_path / name)])
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_statistics_of_another_data_set_are_kept(own_shards, tmp_path, capsys):
    arguments = [str(own_shards), "--output", str(tmp_path)]
    for verb in ("wrote", "rewrote"):
        assert data_stats.main(arguments) == 0
        assert f"{verb} {tmp_path}/data_stats.json\n" in capsys.readouterr().out
    before = (tmp_path / "data_stats.json").read_bytes()
    info = own_shards / "dataset.json"
    noted = {**json.loads(info.read_text()), "note": "Drawn by a program."}
    info.unlink()
    info.write_text(json.dumps(noted))
    with pytest.raises(InputError, match="holds the statistics of another data set: give another --output"):
        data_stats.main(arguments)
    assert (tmp_path / "data_stats.json").read_bytes() == before


@pytest.mark.parametrize(
    "way",
    [
        ("rejected_by_group",),
        ("edges", "megapixels"),
        ("groups", "real", "width", "mean"),
        ("groups", "generated/gan_a", "subsampling"),
        ("groups", "real", "channels", "red", "sd"),
        ("groups", "generated", "histograms", "brightness"),
        ("splits", "test", "real"),
    ],
)
def test_statistics_with_a_hole_are_refused(synthetic_dataset, way):
    document = {"format_version": 1, **data_statistics(synthetic_dataset)}
    place = document = json.loads(json.dumps(document))
    for step in way[:-1]:
        place = place[step]
    del place[way[-1]]
    with pytest.raises(ValueError, match=f"{way[-1]} is missing"):
        typed_document(document, data_stats.DataStats)


def test_rejects_are_reported_per_class_and_generator(encode_image, coded_image, tmp_path, capsys):
    images = tmp_path / "images"
    for number, folder in enumerate(["real", "generated/gan_a", "generated/gan_b"] * 4):
        (images / folder).mkdir(parents=True, exist_ok=True)
        pixels = coded_image(number, 64, 64)
        (images / folder / f"{number}.png").write_bytes(encode_image(pixels, "PNG"))
    (images / "real/none.jpg").write_bytes(b"")
    (images / "generated/gan_b/none.jpg").write_bytes(b"")
    (images / "generated/gan_b/text.jpg").write_bytes(b"no image at all")
    out = tmp_path / "out"
    build_dataset(images, out, BuildSettings(global_size=32), progress=False)
    assert data_stats.main([str(out), "--output", str(tmp_path / "new")]) == 0
    document = json.loads((tmp_path / "new/data_stats.json").read_text())
    assert document["rejected_by_group"] == {
        "generated": {"empty_file": 1, "not_an_image": 1},
        "generated/gan_b": {"empty_file": 1, "not_an_image": 1},
        "real": {"empty_file": 1},
    }
    text = capsys.readouterr().out
    assert "generated/gan_b: 1 empty_file, 1 not_an_image" in text
    assert "  real: 1 empty_file" in text
    (out / "rejected.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"rejected.parquet cannot be read .*glass verify"):
        data_stats.main([str(out)])


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


def test_without_network_the_address_and_the_layout_are_reported(tmp_path, monkeypatch):
    def fails(name):
        raise ConnectionError("Name or service not known")

    hub = types.SimpleNamespace(dataset_download=fails)
    monkeypatch.setitem(sys.modules, "kagglehub", hub)
    with pytest.raises(InputError, match=r"(?s)cannot be downloaded.*kaggle.com.*test/real"):
        download_data.main([str(tmp_path / "out")])
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=r"not installed.*\[kaggle\].*kaggle.com"):
        download_data.main([str(tmp_path / "out")])


@pytest.mark.parametrize("empty", ["real", "fake"])
def test_a_class_without_images_is_reported(tmp_path, empty):
    source = kaggle_folder(tmp_path / "cache")
    (source / "test" / empty / "1.jpg").unlink()
    (source / "test" / empty / "sub").mkdir()
    with pytest.raises(InputError, match=f"{empty} contains no files: .*give --source"):
        download_data.main([str(tmp_path / "out"), "--source", str(source)])
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        download_data.main([str(tmp_path / "mine"), "--source", str(tmp_path)])
    with pytest.raises(InputError, match="lacks test/real"):
        download_data.main([str(tmp_path / "new"), "--source", str(tmp_path)])
