"""An audit finds pairs that cross splits and writes a list of groups; a build with this list has no such pairs."""

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from glass.auditing.duplicates import find_duplicates
from glass.auditing.found_groups import found_groups
from glass.report.audit import pair_pictures
from scripts import audit, build_shards
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.shards.manifest.test_duplicates import draw_scene

pytestmark = pytest.mark.slow  # tens of seconds together

NUM_SCENES = 12
SCENES = [draw_scene(number) for number in range(NUM_SCENES)]
KINDS = {"saved": "jpg", "half": "jpg", "cropped": "jpg", "lossless": "bmp", "copy": "png"}
ACROSS = {"duplicates_across_splits", "near_duplicates_across_splits", "group_across_splits"}


def written(folder: Path, number: int, kind: str = "") -> str:
    """Saves a scene, or the altered copy ``kind`` of it, in the folder. Returns its path relative to the folder."""
    scene, label = SCENES[number], "real" if number % 2 else "generated/gan"
    name = f"{label}/{number}{kind}.{KINDS.get(kind, 'png')}"
    (folder / label).mkdir(parents=True, exist_ok=True)
    if kind == "half":
        scene = scene.resize((150, 110))
    if kind == "cropped":
        scene = scene.crop((6, 5, 294, 217))
    scene.save(folder / name, **({"quality": 80} if KINDS.get(kind) == "jpg" else {}))
    return name


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[frozenset[str]]]:
    """A folder with 12 scenes and altered copies of ten of them, and the pairs (scene, copy)."""
    folder = tmp_path_factory.mktemp("images")
    scenes = [written(folder, number) for number in range(NUM_SCENES)]
    copies = [written(folder, place, kind) for place, kind in enumerate(list(KINDS) * 2)]
    return folder, {frozenset(pair) for pair in zip(scenes, copies, strict=False)}


@pytest.fixture(scope="module")
def first(images: tuple[Path, set[frozenset[str]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set built from the folder of the fixture ``images``, without groups."""
    out = tmp_path_factory.mktemp("first") / "data"
    build(images[0], out)
    return out


def build(source: Path, out: Path, *options: str) -> None:
    split = ("--split", "0.4,0.3,0.3", "--split-seed", "3")
    build_shards.main([str(source), str(out), *split, "--global-size", "128", "--workers", "1", *options])


def audited(data: Path, *options: str) -> dict[str, Any]:
    audit.main([str(data), "--threads", "2", *options])
    return json.loads((data / "audit.json").read_text())


def listed_pairs(document: dict[str, Any]) -> list[frozenset[str]]:
    return [frozenset(sample["path"] for sample in pair["samples"]) for pair in document["duplicates"]["pairs"]]


def test_an_audit_writes_the_groups_that_a_build_needs(images, first, tmp_path, capsys):
    folder, pairs = images
    listed = tmp_path / "groups.csv"
    before = audited(first, "--write-groups", str(listed))
    assert {finding["kind"] for finding in before["findings"]} & ACROSS == ACROSS - {"group_across_splits"}
    assert set(listed_pairs(before)) == pairs
    assert f"wrote {listed}: 20 images in 10 groups\n" in capsys.readouterr().out

    build(folder, tmp_path / "data", "--groups", str(listed))
    assert f"{listed} gave 20 images a group\n" in capsys.readouterr().out
    after = audited(tmp_path / "data")
    assert not {finding["kind"] for finding in after["findings"]} & ACROSS
    dataset = ShardDataset.open(tmp_path / "data")
    groups = dict(zip(dataset.column("source_path"), dataset.column("group"), strict=True))
    assert all(len({groups[path] for path in pair}) == 1 for pair in pairs)
    assert len({group for group in groups.values() if group}) == 10


def test_the_worst_pairs_come_first_and_say_how_they_differ(first):
    document = audited(first)
    order = []
    for pair in document["duplicates"]["pairs"]:
        one, other = pair["samples"]
        order.append((-(one["split"] != other["split"]) - (one["class_name"] != other["class_name"]), -pair["detail"]))
    assert order == sorted(order)
    assert {apart for apart, _ in order} == {0, -1}
    found = {sample["path"]: pair for pair in document["duplicates"]["pairs"] for sample in pair["samples"]}
    half = found["real/1half.jpg"]
    assert half["kind"] == "near"
    assert {"150 × 110 and 300 × 220 pixels", "300 × 220 and 150 × 110 pixels"} & set(half["differ"])
    assert {"JPEG and PNG", "PNG and JPEG"} & set(half["differ"])
    assert (found["real/9copy.png"]["kind"], found["real/9copy.png"]["differ"]) == ("same_file", [])
    assert found["real/3lossless.bmp"]["kind"] == "same_pixels"


def test_existing_groups_are_joined_with_the_pairs(images, tmp_path):
    """Scenes 0 and 1 are one group; their copies join it. A group without duplicates stays as it was."""
    folder, _ = images
    given = {"generated/gan/0.png": "a", "real/1.png": "a", "generated/gan/2.png": "alone but for its copy"}
    given |= {"generated/gan/10.png": "b", "real/11.png": "b"}
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.suffix != ".csv")
    with (folder / "list.csv").open("w", newline="") as file:
        rows = [(path, path.split("/")[0], given.get(path, "")) for path in paths]
        csv.writer(file).writerows([("path", "label", "group"), *rows])
    build(folder / "list.csv", tmp_path / "data")
    dataset = ShardDataset.open(tmp_path / "data")
    by_group: dict[str, set[str]] = {}
    for _, group, path in found_groups(dataset, find_duplicates(dataset)):
        by_group.setdefault(group, set()).add(Path(path).stem)
    assert by_group.pop("b") == {"10", "11"}
    assert by_group.pop("a") == {"0", "1", "0saved", "1half"}
    assert by_group.pop("alone but for its copy") == {"2", "2cropped"}
    assert len(by_group) == 7
    assert all(re.fullmatch(r"same-[0-9a-f]{16}", name) for name in by_group)


def test_pictures_are_those_of_the_pairs(first):
    dataset = ShardDataset.open(first)
    duplicates = find_duplicates(dataset)
    pictures = pair_pictures(dataset, duplicates)
    assert len(pictures) == len(duplicates.pairs) == 10
    paths = dataset.column("source_path")
    for both, rows in zip(pictures, duplicates.pairs, strict=True):
        for uri, row in zip(both, rows, strict=True):
            kind, _, data = uri.partition(";base64,")
            assert kind == "data:image/jpeg"
            shown = Image.open(io.BytesIO(base64.b64decode(data)))
            assert max(shown.size) == 128
            scene = SCENES[int(re.findall(r"/(\d+)", paths[row])[0])].convert("L").resize(shown.size)
            grey = np.asarray(shown.convert("L"), np.float64)
            assert np.corrcoef(grey.ravel(), np.asarray(scene, np.float64).ravel())[0, 1] > 0.9


def test_the_page_shows_the_pairs(first, tmp_path, monkeypatch):
    audited(first, "--html", str(tmp_path / "a.html"))
    page = (tmp_path / "a.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 20
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,)', page)
    assert "img-src data:" in page
    assert "<table" not in page.split("Duplicate pictures</h2>")[1]
    monkeypatch.setattr("glass.report.audit.MOST_PAIRS", 4)
    audited(first, "--html", str(tmp_path / "a.html"))
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img") == 8
    assert "Pairs 5 to 10 of 10." in page
    audited(first, "--html", str(tmp_path / "a.html"), "--no-near")
    page = (tmp_path / "a.html").read_text()
    assert "<img" not in page
    assert "near duplicates were not searched for, and no pictures were read" in page


def test_no_pairs_make_an_empty_list(synthetic_shards, tmp_path, capsys):
    dataset = ShardDataset.open(synthetic_shards)
    assert found_groups(dataset, find_duplicates(dataset, near=False)) == []
    assert pair_pictures(dataset, find_duplicates(dataset, near=False)) == []


def test_the_list_is_written_over_nothing_of_a_persons(first, tmp_path, capsys):
    mine = tmp_path / "mine.csv"
    mine.write_text("path,label\n")
    for arguments, what in (
        ([str(mine)], "was not written by this command"),
        ([str(tmp_path / "groups.txt")], r"give a list of groups as a \.csv or \.parquet file"),
        ([str(tmp_path / "a.csv"), "--html", str(tmp_path / "a.csv")], "--html and --write-groups both name"),
    ):
        with pytest.raises(InputError, match=what):
            audit.main([str(first), "--write-groups", *arguments])
    assert mine.read_text() == "path,label\n"
    edited = tmp_path / "edited.csv"
    audited(first, "--no-near", "--write-groups", str(edited))
    kept = "".join(edited.read_text().splitlines(keepends=True)[:-2])
    edited.write_text(kept)
    (first / "audit.json").unlink()
    with pytest.raises(InputError, match="or was edited, and is kept: give another name, or delete the file"):
        audited(first, "--no-near", "--write-groups", str(edited))
    assert edited.read_text() == kept
    assert (first / "audit.json").exists()
    listed = tmp_path / "groups.parquet"
    for verb in ("wrote", "rewrote"):  # an identical list it replaces
        audited(first, "--no-near", "--write-groups", str(listed))
        assert f"\n{verb} {listed}: " in capsys.readouterr().out
    rows = pq.read_table(listed).to_pylist()
    assert {Path(row["source_path"]).stem for row in rows} == {
        "3",
        "3lossless",
        "4",
        "4copy",
        "8",
        "8lossless",
        "9",
        "9copy",
    }
