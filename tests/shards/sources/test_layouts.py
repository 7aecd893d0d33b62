"""Folders of public data sets are understood as downloaded: classes, splits and generators follow from their names.

After an intended change, ``python -m tests.shards.sources.test_layouts`` writes the golden file again; read its
diff.
"""

import contextlib
import io
import itertools
import tempfile
from pathlib import Path

import pytest

from scripts.build_shards import main
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.sources.read import read_sources
from shards.sources.source_list import SourceRules
from shards.sources.words import Words, parse_labels
from tests.images.layouts import FOLDERS, Layout, write_layout, written_as

PAGE = Path(__file__).parents[3] / "docs/public-data.md"
GOLDEN = Path(__file__).parents[2] / "golden/dry_runs.txt"


def dry_run(layout: Layout, root: Path) -> str:
    """Returns what ``build_shards --dry-run`` prints about the layout's imitation, which was written into ``root``."""
    with contextlib.chdir(root), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([written_as(layout), "--dry-run", *layout.options]) == 0
    return printed.getvalue()


def goldens() -> dict[str, str]:
    """Returns layout name → expected text."""
    parts = GOLDEN.read_text(encoding="utf-8").split("== ")[1:] if GOLDEN.exists() else []
    return {name.strip(): text for name, _, text in (part.partition("\n") for part in parts)}


def read(root, layout):
    options = layout.options
    labels = [value for flag, value in itertools.pairwise(options) if flag == "--label"]
    levels = [int(value) for flag, value in itertools.pairwise(options) if flag == "--generator-level"]
    rules = SourceRules(Words(parse_labels(labels)), levels[0] if levels else None, "--no-given-split" not in options)
    return read_sources(root / write_layout(root, layout), rules)


@pytest.mark.parametrize("layout", FOLDERS, ids=lambda layout: layout.name)
def test_a_layout_is_understood(layout, tmp_path):
    sources = read(tmp_path, layout)
    rows = {row["path"]: row for row in sources.table.to_pylist()}
    assert len(rows) == (2 * len(layout.folders) - layout.passed_over if layout.folders else 8)
    for place, *meaning in layout.expected:
        row = rows[f"{place}/0000{layout.suffix}" if layout.folders else place]
        assert [row["label"], row["generator"], row["split"]] == meaning
    assert dry_run(layout, tmp_path) == goldens()[layout.name]


def test_a_layout_builds_with_the_meanings_that_the_dry_run_showed(tmp_path):
    layout = next(layout for layout in FOLDERS if layout.name == "GenImage")
    out = tmp_path / "out"
    assert main([str(tmp_path / write_layout(tmp_path, layout)), str(out), "--global-size", "16"]) == 0
    rows = ShardDataset.open(out).table.select(["source_path", "label", "generator", "split"]).to_pylist()
    for row in rows:
        *_, split, word, _ = row["source_path"].split("/")
        assert row["label"] == (word == "ai")
        assert row["generator"] == (row["source_path"].split("/")[0] if word == "ai" else "")
        assert row["split"] == "valid" if split == "val" else row["split"] in ("train", "test")
    assert {row["split"] for row in rows} == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("folders", "labels", "message"),
    [
        (("real", "fake/human"), [], r"fake/human/ names both classes \(fake = generated and human = real\).*--label"),
        (
            ("real", "fake", "train/test/real"),
            [],
            "train/test/real/ names two splits, train and test.*--no-given-split",
        ),
        (("cats", "dogs"), [], r"no folder name says real or generated \(it holds cats/, dogs/\).*--label"),
        (("cats", "dogs"), ["source=real"], r"--label source=real: \S+/source itself has this name, but only names of"),
        (("fake",), ["Source=real"], "itself has this name"),
        (("fake", "coco"), [], r"generated images only \(it holds coco/\).*--label NAME=real"),
        (("real",), [], "real images only: a detector needs both"),
        (("real", "masks"), [], "real images only"),
        (("real", "test_unlabelled"), [], "real images only"),
        (("real", "real_faces"), [], r"real images only \(it holds real_faces/\)"),
        (("real", "not_fake", "no_ai"), [], r"real images only \(it holds no_ai/, not_fake/\)"),
        (("nature", "city"), [], r"real images only \(it holds city/\)"),
        (("human/train", "animal/train"), [], r"real images only \(it holds animal/train/\)"),
        (("real", "fake"), ["fake=maybe"], "--label fake=maybe: give WORD=real or WORD=generated"),
        (("real", "fake"), ["fake"], "--label fake: give WORD=real"),
        (("real", "fake"), ["x=real", "x=fake"], "both meanings"),
        (("real", "fake"), ["faek=generated"], "--label faek=generated: no folder and no label .* spelling"),
    ],
)
def test_what_cannot_be_known_is_refused(folders, labels, message, tmp_path):
    source = tmp_path / write_layout(tmp_path, Layout("source", folders, ()))
    with pytest.raises(InputError, match=message):
        read_sources(source, SourceRules(Words(parse_labels(labels))))


def test_what_may_be_more_of_the_real_images_is_not_taken_for_generated(tmp_path):
    folders = ("real", "real_faces", "midjourney")
    source = read_sources(tmp_path / write_layout(tmp_path, Layout("source", folders, ())))
    assert {path.split("/")[0] for path in source.table.column("path").to_pylist()} == {"real", "midjourney"}
    passed_over = "skipped because no name says real or generated: real_faces/ (2 images)"
    assert any(note.startswith(passed_over) for note in source.notes)


def test_a_word_that_was_given_goes_before_all_others_on_its_path(tmp_path):
    source = tmp_path / write_layout(tmp_path, Layout("source", ("real", "fake/human", "coco"), ()))
    rules = SourceRules(Words(parse_labels(["fake=generated", "COCO=real"])))
    labels = {row["path"].split("/")[0]: row["label"] for row in read_sources(source, rules).table.to_pylist()}
    assert labels == {"real": 0, "fake": 1, "coco": 0}


@pytest.mark.parametrize(("real", "generated"), [("0", "1"), ("1", "0")])
def test_numbers_as_folders_mean_what_was_said(real, generated, tmp_path):
    source = tmp_path / write_layout(tmp_path, Layout("source", ("0", "1"), ()))
    with pytest.raises(InputError, match="no folder name says"):
        read_sources(source)
    rules = SourceRules(Words(parse_labels([f"{real}=real", f"{generated}=generated"])))
    labels = {row["path"].split("/")[0]: row["label"] for row in read_sources(source, rules).table.to_pylist()}
    assert labels == {real: 0, generated: 1}


def test_a_split_of_one_class_is_said_before_the_work(tmp_path):
    source = tmp_path / write_layout(tmp_path, Layout("source", ("train/real", "train/fake", "test/fake"), ()))
    assert [note for note in read_sources(source).notes if note.startswith("split test holds generated images only")]


def test_splits_can_be_drawn_whatever_the_folders_say(tmp_path):
    source = tmp_path / write_layout(
        tmp_path, Layout("source", ("train/real", "train/fake", "test/real", "test/fake"), ())
    )
    assert set(read_sources(source, SourceRules(given_split=False)).table.column("split").to_pylist()) == {""}


def test_the_page_on_public_sets_gives_the_commands_that_were_tried():
    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    commands = {name.strip(): command.strip().strip("`") for name, _, command, *_ in rows[1:]}
    tried = {layout.known_as: " ".join((written_as(layout), *layout.options)) for layout in FOLDERS if layout.known_as}
    assert commands == tried
    assert len(commands) >= 12


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sections = []
        for shape in FOLDERS:
            write_layout(Path(folder), shape)
            sections.append(f"== {shape.name}\n{dry_run(shape, Path(folder))}")
    GOLDEN.write_text("".join(sections), encoding="utf-8")
