"""Labels in other people's data sets that are easily swapped: negations, questions, third classes."""

from pathlib import Path
from typing import Any

import pytest

from shards.adopt.label_words import LabelWords
from shards.adopt.settings import parse_values
from shards.adopt.tar_names import find_tars
from shards.errors import InputError
from shards.sources.read import read_sources
from shards.sources.source_list import SourceRules
from shards.sources.words import Words, asked_class, parse_labels
from tests.images.labelled_tars import as_json, index, write_tar
from tests.shards.adopt.test_foreign_tars import image, taken_in
from tests.shards.sources.test_tables import PAIRS, card, labels, touch, understood, write_table


@pytest.mark.parametrize(
    "field",
    [
        *("isNotFake", "meta.not.fake", "fake_free", "is_real", "real/fake", "score"),
        *(
            pytest.param(field, marks=pytest.mark.slow)
            for field in (
                *("not_fake", "non_ai", "nonAI", "notfake", "no_ai", "isReal", "real", "human", "is_authentic"),
                *("real.score", "isPhoto", "authenticity", "is_false_fake", "neither_fake_nor_ai"),
            )
        ),
    ],
)
def test_a_number_in_a_field_that_may_ask_for_real_needs_its_meaning(field: str, tmp_path: Path) -> None:
    """If a field's name may ask whether an image is real, 1 may mean real. So the numbers are refused until ``--label``
    gives their meaning."""
    members = []
    for n in range(4):
        value: Any = 1 - n % 2
        for name in reversed(field.split(".")):
            value = {name: value}
        members += [(f"{n}.jpg", image(n)), *as_json(str(n), **value)]
    tar = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=r"where 1 or true may mean real: say what it means with --label, for"):
        taken_in([tar], label_from=f"json:{field}")
    found = taken_in([tar], label_from=f"json:{field}", values=parse_values([], [], ["1=real"]))
    assert found == {image(n): n % 2 for n in range(4)}


@pytest.mark.parametrize(
    "field", ["label", "meta.is_fake", "isAI", "ai_generated", "meta.target", "is_ai_image", "fake"]
)
def test_a_field_that_asks_for_generated_does_not(field: str, tmp_path: Path) -> None:
    members = []
    for n in range(4):
        value: Any = n % 2
        for name in reversed(field.split(".")):
            value = {name: value}
        members += [(f"{n}.jpg", image(n)), *as_json(str(n), **value)]
    tar = write_tar(tmp_path / "a.tar", members)
    assert taken_in([tar], label_from=f"json:{field}") == {image(n): n % 2 for n in range(4)}


@pytest.mark.parametrize("member", [pytest.param("cls", marks=pytest.mark.slow), "json"])
@pytest.mark.parametrize(
    ("field", "of_generated"),
    [
        ("is_fake", 1),
        ("notReal", 1),
        ("is_real", "no"),
        # How names and values are read is tested without an index, for all of them.
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("isReal", 0), ("not_fake", 0), ("ai_generated", True))
        ),
    ],
)
def test_a_number_is_held_against_the_fields_beside_it(
    member: str, field: str, of_generated: Any, tmp_path: Path
) -> None:
    """If ``label`` or ``cls`` contradicts another field whose name gives the meaning, indexing stops."""
    other = {1: 0, 0: 1, "no": "yes"}[of_generated]
    for swapped in (False, True):
        members = []
        for n in range(4):
            number = n % 2 ^ swapped
            fields = {field: of_generated if n % 2 else other, "human": 1}
            members += [
                (f"{n}.jpg", image(n)),
                *as_json(str(n), **fields, **({"label": number} if member == "json" else {})),
            ]
            members += [(f"{n}.cls", b"%d" % number)] if member == "cls" else []
        tar = write_tar(tmp_path / "a.tar", members)
        if swapped:
            with pytest.raises(
                InputError, match=rf"labels by (cls|json:label) differ from json:{field} in 4 of 4 samples"
            ):
                index(tar, out=tmp_path / "out")
        found = taken_in([tar], values=parse_values([], [], ["1=real"] if swapped else []))
        assert found == {image(n): n % 2 for n in range(4)}
    assert len(index(tar, out=tmp_path / "out", values={"1": 0})) == 4


@pytest.mark.parametrize(
    ("column", "asked"),
    [("is_fake", 1), ("isReal", 0), ("AI-generated", 1), ("label", None), ("not_fake", None), ("isNotReal", None)],
)
def test_columns_ask_for_a_class(column: str, asked: int | None) -> None:
    assert asked_class(column) == asked


@pytest.mark.parametrize("column", ["not_fake", "non_ai", "is_not_generated"])
def test_a_column_of_a_negation_is_none_of_labels(column: str, tmp_path: Path) -> None:
    touch(tmp_path, "r.jpg", "g.jpg")
    path = write_table(tmp_path / "list.csv", {"path": ["r.jpg", "g.jpg"], column: [1, 0]})
    with pytest.raises(InputError, match=r"no column of labels: add one .* or give the folder of the images, if"):
        read_sources(path)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(
            (name, None)
            for name in ("not_fake-0", "notfake-0", "nonfake_3", "fake_free_000", "fake=0-000", "is_fake_0")
        ),
        *(
            (name, None)
            for name in ("real-like-00", "pseudo_real", "fake_false_00", "is_real_0", "hyper-real_1", "noai")
        ),
        *((name, 1) for name in ("fakes-00", "train-fake-0", "fake2-00")),
        *((name, 0) for name in ("reals_0", "real-coco-00")),
    ],
)
def test_names_of_tars_that_deny_or_ask_say_nothing(name: str, label: int | None) -> None:
    said = LabelWords().of_tar(f"{name}.tar")
    assert (said.label if said else None) == label
    if label is None:
        word = name.rstrip("-_0123456789")
        assert LabelWords({word: 0}).of_tar(f"{name}.tar").label == 0  # type: ignore[union-attr]
        said = LabelWords({"fake": 1, "real": 0}).of_tar(f"{name}.tar")
        assert said is None or name == "noai"


def test_real_looking_fakes_are_named_as_both(tmp_path: Path) -> None:
    assert LabelWords().of_tar("real-looking-fakes-0.tar") is None
    assert LabelWords().of_tar("real_and_fakes-0.tar").label is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("folders", "said"), [(("ai/ai", "ai/not_ai"), "generated"), (("Real/real", "Real/non-real"), "real")]
)
def test_a_folder_that_denies_the_class_above_it_is_passed_over(
    folders: tuple[str, str], said: str, tmp_path: Path
) -> None:
    """A folder such as ``ai/not_ai`` is not labelled by the folder above it. It is left out until ``--label`` gives its
    class."""
    touch(tmp_path / "in", *(f"{folder}/{n}.jpg" for folder in folders for n in range(2)))
    denying = folders[1].rpartition("/")[2]
    with pytest.raises(InputError, match=rf"{said} images only \(it holds {folders[1]}/\)"):
        read_sources(tmp_path / "in")
    other = "real" if said == "generated" else "generated"
    found = understood(tmp_path / "in", f"{denying}={other}").table.to_pylist()
    assert {row["path"].rpartition("/")[0]: row["label"] for row in found} == {
        folders[0]: int(said == "generated"),
        folders[1]: int(said != "generated"),
    }
    members = [(f"{folder}/{n}.jpg", image(2 * place + n)) for place, folder in enumerate(folders) for n in range(2)]
    assert set(taken_in([write_tar(tmp_path / "a.tar", members)]).values()) == {int(said == "generated")}


@pytest.mark.parametrize("given", ["real", "generated"])
def test_a_folder_below_real_images_that_speaks_of_generated_ones(given: str, tmp_path: Path) -> None:
    touch(
        tmp_path,
        "fake-detection/real/a.jpg",
        "fake-detection/fake/from_real/b.jpg",
        "fake-detection/real/no_fakes/c.jpg",
    )
    assert understood(tmp_path).table.num_rows == 3
    touch(tmp_path, "fake-detection/real/fake_upscaled/d.jpg")
    with pytest.raises(InputError, match=r"below real = real, but fake_upscaled may mean generated: use --label"):
        understood(tmp_path)
    found = {
        Path(row["path"]).stem: row["label"] for row in understood(tmp_path, f"fake_upscaled={given}").table.to_pylist()
    }
    assert found == {"a": 0, "b": 1, "c": 0, "d": int(given == "generated")}


def test_links_to_tars_keep_their_names(tmp_path: Path) -> None:
    """In the hub's cache, tars are links to files that are named by digest. The link's name counts."""
    (tmp_path / "blobs").mkdir()
    for n, name in enumerate(("train-real-0", "train-fake-0", "test-real-0", "test-fake-0")):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_tar(tmp_path / "blobs/x.tar", [(f"{n}.jpg", image(n))]).rename(tmp_path / f"blobs/{n:064x}")
        (tmp_path / f"in/{name}.tar").symlink_to(f"../blobs/{n:064x}")
    assert taken_in([tmp_path / "in"]) == {image(n): n % 2 for n in range(4)}
    assert [tar.name for tar in find_tars([tmp_path / "in", tmp_path / "in/test-real-0.tar"])] == sorted(
        f"{split}-{word}-0.tar" for split in ("train", "test") for word in ("real", "fake")
    )
    (tmp_path / "in/fake-again.tar").symlink_to(f"../blobs/{0:064x}")
    with pytest.raises(InputError, match=r"fake-again\.tar and \S*train-real-0\.tar are links to the same tar"):
        find_tars([tmp_path / "in"])


def test_no_humans_among_generated_images_denies_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "fake/no_human/a.jpg", "real/b.jpg")
    assert {row["path"]: row["label"] for row in read_sources(tmp_path).table.to_pylist()} == {
        "fake/no_human/a.jpg": 1,
        "real/b.jpg": 0,
    }


@pytest.mark.parametrize(("column", "values"), [("is_fake", "01"), ("is_real", "10"), ("label", ("real", "fake"))])
def test_folders_of_partitions(column: str, values: str, tmp_path: Path) -> None:
    """In folders as Spark writes them, ``is_fake=0`` holds real images."""
    touch(
        tmp_path,
        *(f"split={split}/{column}={values[n]}/{'rg'[n]}{split}.jpg" for n in (0, 1) for split in ("train", "test")),
    )
    rows = read_sources(tmp_path).table.to_pylist()
    found = {Path(row["path"]).stem: (row["label"], row["split"], row["generator"]) for row in rows}
    assert {stem: label for stem, (label, _, _) in found.items()} == {
        stem: int(stem[0] == "g") for stem in ("rtrain", "rtest", "gtrain", "gtest")
    }
    assert all(stem[1:] == split for stem, (_, split, _) in found.items())


def test_partitions_by_number_need_their_meaning(tmp_path: Path) -> None:
    touch(tmp_path, "label=0/r.jpg", "label=1/g.jpg")
    with pytest.raises(InputError, match="no folder name says"):
        read_sources(tmp_path)
    assert labels(tmp_path, "0=real", "1=fake") == PAIRS
    assert labels(tmp_path, "0=fake", "1=real") == {stem: 1 - label for stem, label in PAIRS.items()}
    touch(tmp_path, "real/a.jpg")
    with pytest.raises(InputError, match="real images only"):
        read_sources(tmp_path)


@pytest.mark.parametrize("column", ["is_real", "is_fake"])
def test_names_of_classes_that_contradict_their_column_are_refused(column: str, tmp_path: Path) -> None:
    touch(tmp_path, "r.jpg", "g.jpg")
    names = ["fake", "real"] if column == "is_real" else ["real", "fake"]
    values = [names.index("real"), names.index("fake")]
    path = write_table(tmp_path / "list.csv", {"path": ["r.jpg", "g.jpg"], column: values})
    (tmp_path / "README.md").write_text(card(**{column: names}))
    assert labels(path) == PAIRS
    (tmp_path / "README.md").write_text(card(**{column: names[::-1]}))
    with pytest.raises(
        InputError, match=rf"in the column {column} is '\w+' according to the names of its classes, but the other"
    ):
        labels(path)


def test_one_folder_linked_as_both_classes_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.jpg")
    touch(tmp_path / "in", "real/r.jpg", "fake/g.jpg")
    (tmp_path / "in/real/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/real/again").symlink_to(tmp_path / "elsewhere")
    notes = read_sources(tmp_path / "in").notes
    assert any("skipped 1 link to folders that are read already, for example" in note for note in notes)
    (tmp_path / "in/fake/more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"in/real/again and \S*in/fake/more are links to the same folder, \S*elsewhere, once as real"
    ):
        read_sources(tmp_path / "in")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoted", [False, True])
def test_what_parts_the_fields_of_a_list(separator: str, quoted: bool, tmp_path: Path) -> None:
    """The separator is found from the header line alone, because other lines may contain anything."""
    touch(tmp_path, "r,1;|.jpg", "g.jpg")
    rows = [["path", "a;b,c|d", "label"], ["r,1;|.jpg", "x", "real"], ["g.jpg", "y", "fake"]]
    if not quoted:
        touch(tmp_path, "r.jpg")
        rows = [["path", "label"], ["r.jpg", "real"], ["g.jpg", "fake"]]
    lines = [separator.join(f'"{field}"' if quoted else field for field in row) for row in rows]
    for text in ("\ufeff" + "\r\n".join(lines), "\n".join(lines) + "\n"):
        (tmp_path / "list.csv").write_text(text, encoding="utf-8", newline="")
        found = read_sources(tmp_path / "list.csv").table.to_pylist()
        assert {row["path"][0]: row["label"] for row in found} == PAIRS


def test_a_level_that_no_image_lies_at(tmp_path: Path) -> None:
    touch(tmp_path, "real/r.jpg", "fake/a/g.jpg", "fake/h.jpg")
    assert set(understood(tmp_path, generator_level=2).table.column("generator").to_pylist()) == {"", "a", "unknown"}
    note = "--generator-level 2: no folder at that level for 1 of 2 generated images, so their generator is unknown"
    assert note in understood(tmp_path, generator_level=2).notes
    with pytest.raises(
        InputError,
        match=r"--generator-level 7: no folder at that level for 2 of 2 generated images: count levels from 1",
    ):
        understood(tmp_path, generator_level=7)
    columns = {"path": ["real/r.jpg", "fake/a/g.jpg", "fake/h.jpg"], "label": ["real", "fake", "fake"]}
    path = write_table(tmp_path / "list.csv", columns)  # as in a folder
    assert set(understood(path, generator_level=2).table.column("generator").to_pylist()) == {"", "a", "unknown"}


@pytest.mark.parametrize("form", ["folders", "list"])
def test_splits_that_leave_something_out_are_said(form: str, tmp_path: Path) -> None:
    def notes(*names: str, split: str = "") -> str:
        source = tmp_path / (split or "all") / form
        touch(source, *names)
        if form == "list":
            splits = ["" if name.count("/") < 2 else name.partition("/")[0] for name in names]
            classes = ["real" if "real" in name else "fake" for name in names]
            source = write_table(source / "list.csv", {"path": list(names), "label": classes, "split": splits})
        return "\n".join(read_sources(source, SourceRules(Words(parse_labels([])))).notes)

    assert (
        "no image is given to train, only to valid and test: the data set can measure detectors but not train them"
        in notes(*(f"{split}/{word}/a.jpg" for split in ("val", "test") for word in ("real", "fake")), split="few")
    )
    said = notes("train/real/a.jpg", "train/real/b.jpg", "fake/c.jpg", split="one")
    assert "only some images are given a split (train 2, all of them real); the splits of the other 1 are drawn" in said


def test_names_with_line_breaks_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scripts.build_shards import main
    from shards.cli.command import one_line

    touch(
        tmp_path / "in", "real/r.jpg", "fake/a\nlabels by folder: b\x1b[2J/g.jpg", "fake/other/h.jpg", "tmp x\ny/z.jpg"
    )
    assert main([str(tmp_path / "in"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "    a\\nlabels by folder: b\\x1b[2J/" in said
    assert not any(line.startswith("labels by folder") or line.startswith("y/") for line in said.splitlines())
    assert one_line("a\nb\tc") == "a\\nb\\tc"
