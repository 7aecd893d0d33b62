"""Every image that is named gets a row in the output of predict, with a reason if it has no verdict."""

import csv
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from glass.measure.trained_model import TrainedModel
from glass.predict import verdict_lines
from glass.predict.detector import Detector, PredictOptions
from glass.predict.partial_rows import partial_path
from glass.predict.source_paths import find_images
from scripts import audit, predict
from shards.adopt.adopt import index_tars
from shards.adopt.settings import IndexSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset


@pytest.fixture(scope="module")
def paths(synthetic_images):
    return [Path(s.name) for s in find_images([str(synthetic_images / "real")]).sources[:4]]


@pytest.fixture(scope="module")
def run(plain_run):
    return plain_run


@pytest.fixture
def data(synthetic_shards, tmp_path):
    """A copy of a data set that the test may damage."""
    return shutil.copytree(synthetic_shards, tmp_path / "data")


def rows(run, tmp_path, *arguments):
    """Runs predict and returns (exit code, list of (file name, reason))."""
    out = tmp_path / "o.json"
    code = predict.main([str(run), *map(str, arguments), "--json", str(out), "--no-stability"])
    images = json.loads(out.read_text())["images"]
    out.unlink()
    return code, [(os.path.basename(image["path"]), image["reason"]) for image in images]


def add(tar, name, content, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, "0.png" if kind != b"0" else ""
    tar.addfile(info, io.BytesIO(content))


def test_every_image_member_of_a_tar_is_a_row(run, paths, tmp_path, capsys):
    """The tar contains duplicate names, several images per sample, extensions with several parts, and links."""
    content = paths[0].read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in (
            "0.png",
            "0.cls",
            "0.png",
            "0.seg.png",
            "1.image.png",
            "2.png",
            "2.webp",
            "sd1.5_0.png",
            "sd1.5_1.png",
            "README",
        ):
            add(tar, name, content)
        add(tar, "link.png", b"", tarfile.SYMTYPE)
        add(tar, "../out.png", content)
    code, found = rows(run, tmp_path, tmp_path / "a.tar")
    assert code == 3
    names = ["0.png", "0.png", "0.seg.png", "1.image.png", "2.png", "2.webp", "sd1.5_0.png", "sd1.5_1.png"]
    assert found[:8] == [(name, None) for name in names]
    assert [name for name, _ in found[8:]] == ["link.png", "out.png"]
    assert "a link" in found[8][1]
    assert "leads out of the tar" in found[9][1]
    assert "skipped 1 file without an image extension" in capsys.readouterr().err


def test_the_second_of_two_tars_joined_by_cat_is_a_row_with_a_reason(run, paths, tmp_path):
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            add(tar, f"{number}.png", paths[number].read_bytes())
    both = tmp_path / "both.tar"
    both.write_bytes(b"".join((tmp_path / f"{n}.tar").read_bytes() for n in range(2)))
    code, found = rows(run, tmp_path, both)
    assert code == 3
    assert found[0] == ("0.png", None)
    assert "bytes after its end were not read" in found[1][1]


def test_linked_folders_are_followed_once(run, paths, tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "in"
    for place in (elsewhere, folder):
        place.mkdir()
    shutil.copy(paths[0], elsewhere / "far.png")
    shutil.copy(paths[1], folder / "near.png")
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    assert rows(run, tmp_path, folder) == (0, [("near.png", None), ("far.png", None)])


@pytest.mark.slow  # a second; a build's source any number deep is tested in test_sources
def test_folders_any_number_deep(tmp_path, paths):
    folders = [tmp_path / "d"]
    while len(folders) < 1200:
        folders.append(folders[-1] / "d")
    for folder in folders:
        folder.mkdir()
    deep = Path(shutil.copy(paths[0], folders[-1] / "deep.png"))
    try:
        assert [s.name for s in find_images([str(folders[0])]).sources] == [str(deep)]
        with pytest.raises(InputError, match="matches too many folders: give the folder"):
            find_images([str(tmp_path / "**/*.png")])
    finally:  # shutil.rmtree cannot
        deep.unlink()
        for folder in reversed(folders):
            folder.rmdir()


def damaged_row(dataset, shard):
    """The index of a row of ``shard``, and the position in the tar of a byte that can be changed so that the pixels
    change but decoding still works."""
    for number, row in enumerate(dataset.table.to_pylist()):
        if row["shard"] == shard.name and row["format"] == "JPEG":
            return number, row["image_offset"] + row["image_length"] - 60
    raise AssertionError("no JPEG in the shard")


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def jpeg_shard(data):
    dataset = ShardDataset.open(data)
    return next(data / s.name for s in dataset.info.shards if s.format == "JPEG")


@pytest.mark.parametrize(
    ("flags", "alone"),
    [
        ([], True),
        (["--no-stability"], False),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (([], False), (["--no-stability"], True))),
    ],
)
def test_damaged_bytes_of_a_shard_have_no_verdict(flags, alone, run, data, tmp_path):
    shard = jpeg_shard(data)
    _, place = damaged_row(ShardDataset.open(data), shard)
    flip(shard, place)
    if alone:  # without its manifest, the .json members know what was written
        shard = Path(shutil.copy(shard, tmp_path))
    out = tmp_path / "o.json"
    assert predict.main([str(run), str(shard), "--json", str(out), *flags]) == 3
    reasons = [image["reason"] for image in json.loads(out.read_text())["images"]]
    assert [r for r in reasons if r] == ["corrupt: its bytes have changed since the shard was written"]
    assert len(reasons) > 1


def test_images_that_an_index_did_not_take_in_are_rows(run, paths, tmp_path):
    tar_path = tmp_path / "a.tar"
    with tarfile.open(tar_path, "w") as tar:
        for number, path in enumerate(paths[:3]):
            add(tar, f"{number}.png", path.read_bytes())
            add(tar, f"{number}.cls", b"%d" % (number % 2))
        add(tar, "silent.png", paths[3].read_bytes())
    index_tars([tar_path], None, IndexSettings(global_size=64), progress=False)
    place = ShardDataset.open(tmp_path).table.to_pylist()[0]["image_offset"] + 200
    code, found = rows(run, tmp_path, tar_path)
    assert code == 0
    assert len(found) == 4
    flip(tar_path, place)
    code, found = rows(run, tmp_path, tar_path)
    assert code == 3
    assert sum(reason is not None for _, reason in found) == 1


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_shard_is_waited_for_by_no_command(run, data, tmp_path):
    shards = sorted(data.glob("*.tar"))
    for shard in shards:
        shard.unlink()
        os.mkfifo(shard)
    out = tmp_path / "o.json"
    assert predict.main([str(run), str(data), "--json", str(out)]) == 3
    reasons = {image["reason"] for image in json.loads(out.read_text())["images"]}
    assert reasons == {"unreadable: not a regular file, but a pipe"}
    with pytest.raises(InputError, match="not a regular file, but a pipe"):
        audit.main([str(data)])
    os.mkfifo(tmp_path / "p.json")
    with pytest.raises(InputError, match="not a regular file, but a pipe"):
        predict.main([str(run), str(shards[0]), "--json", str(tmp_path / "p.json")])
    with pytest.raises(InputError, match="not a regular file, but a pipe"):
        audit.main([str(data), "--json", str(tmp_path / "p.json")])


def test_an_archive_is_to_be_unpacked(tmp_path, paths):
    (tmp_path / "images.zip").write_bytes(b"PK\3\4" + bytes(60))
    with pytest.raises(InputError, match=r"images\.zip is compressed or packed with zip, .*: unpack it to a folder"):
        find_images([str(tmp_path / "images.zip")])
    with tarfile.open(tmp_path / "shard.0", "w") as tar:  # by its bytes, whatever its name
        add(tar, "a.png", paths[0].read_bytes())
    assert len(find_images([str(tmp_path / "shard.0")]).sources) == 1


def stopped(run, paths, files, monkeypatch, after=2):
    """Presses Ctrl-C after ``after`` rows were scored. Returns the contents of the partial files at this moment."""
    seen, line = [], verdict_lines.verdict_line

    def counting(verdict):
        if len(seen) == after:
            seen.append([path.read_text() for path in map(partial_path, files)])
            raise KeyboardInterrupt
        seen.append(verdict.path)
        return line(verdict)

    with monkeypatch.context() as patch:
        patch.setattr(verdict_lines, "verdict_line", counting)
        flags = ["--json", str(files[0]), "--csv", str(files[1]), "--no-stability"]
        with pytest.raises(KeyboardInterrupt):
            predict.main([str(run), *map(str, paths), *flags])
    return seen[-1]


def test_rows_are_there_as_they_come(untrained_run, paths, tmp_path, monkeypatch, capsys):
    files = [tmp_path / "o.json", tmp_path / "o.csv"]
    as_json, as_csv = stopped(untrained_run, paths, files, monkeypatch)
    head, *images = [json.loads(line) for line in as_json.splitlines()]
    assert head["views"]["num_crops"] == 4
    assert [image["path"] for image in images] == [str(path) for path in paths[:2]]
    assert [image.pop("file")[0] for image in images] == [Path(path).stat().st_size for path in paths[:2]]
    table = list(csv.DictReader(io.StringIO(as_csv)))
    assert [float(row["score"]) for row in table] == [image["score"] for image in images]
    assert [partial_path(path).read_text() for path in files] == [as_json, as_csv]
    said = capsys.readouterr().err
    assert f"stopped; the 2 rows so far are in {files[0]}.partial and {files[1]}.partial" in said
    assert not any(path.exists() for path in files)
    flags = ["--json", str(files[0]), "--csv", str(files[1]), "--no-stability"]
    with pytest.raises(InputError, match=r"o\.json\.partial holds the results of a prediction"):
        predict.main([str(untrained_run), str(paths[0]), *flags])
    for path in files:
        partial_path(path).unlink()
    assert predict.main([str(untrained_run), *map(str, paths), *flags]) == 0
    whole = json.loads(files[0].read_text())["images"]
    assert whole[:2] == images
    assert len(whole) == 4
    assert not any(partial_path(path).exists() for path in files)


def test_a_run_that_is_stopped_before_its_first_row_leaves_nothing(run, paths, tmp_path, monkeypatch):
    files = [tmp_path / "o.json", tmp_path / "o.csv"]
    monkeypatch.setattr(Detector, "predict_iter", lambda *_: iter([1 / 0]))
    with pytest.raises(ZeroDivisionError):
        predict.main([str(run), str(paths[0]), "--json", str(files[0]), "--csv", str(files[1])])
    assert list(tmp_path.iterdir()) == []


def test_verdicts_on_shards_come_batch_by_batch(run, synthetic_shards, monkeypatch):
    parts, score = [], TrainedModel.score
    monkeypatch.setattr("glass.predict.shard_scores.SCORED_BATCHES", 1)
    monkeypatch.setattr(TrainedModel, "score", lambda *given: parts.append(1) or score(*given))
    detector = Detector.from_pretrained(run, device="cpu")
    sources = find_images([str(synthetic_shards)]).sources
    options = PredictOptions(stability=False, batch_size=4)
    verdicts = detector.predict_iter(sources, options)
    first = [next(verdicts) for _ in range(4)]
    assert len(parts) == 1
    rest = list(verdicts)
    assert len(parts) == -(-len(sources) // 4)
    assert [v.path for v in first + rest] == [source.name for source in sources]
