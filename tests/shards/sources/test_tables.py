"""What the values of tables mean: labels are never guessed and cannot be swapped."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.errors import InputError
from shards.sources.class_names import names_in_card, names_in_schema
from shards.sources.read import read_sources
from shards.sources.source_list import SourceList, SourceRules
from shards.sources.words import Words, parse_labels

PAIRS = {"r": 0, "g": 1}
"""Name of an image without its ending → its true label."""


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def write_table(path: Path, columns: dict[str, Sequence[Any]], features: dict[str, Any] | None = None) -> Path:
    """Writes a table in the format of the suffix. With ``features``, a Parquet file gets the schema that ``datasets``
    writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        about = {b"huggingface": json.dumps({"info": {"features": features or {}}}).encode()}
        pq.write_table(pa.table(columns).replace_schema_metadata(about), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns))
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue())
    return path


def card(**names: Sequence[str]) -> str:
    """Returns the text of a dataset card that gives the class names of columns."""
    lines = ["---", "license: mit", "dataset_info:", "  features:", "  - name: image", "    dtype: image"]
    for column, classes in names.items():
        lines += [f"  - name: {column}", "    dtype:", "      class_label:", "        names:"]
        lines += [f"          '{number}': {name}" for number, name in enumerate(classes)]
    return "\n".join([*lines, "---", "# A data set", "Pictures."])


def understood(source: Path, *given: str, **rules: Any) -> SourceList:
    return read_sources(source, SourceRules(Words(parse_labels(given)), **rules))


def labels(source: Path, *given: str) -> dict[str, int]:
    """Reads ``source`` with ``--label`` for each of ``given``. Returns image name without its ending → label."""
    return {Path(row["path"]).stem: row["label"] for row in understood(source, *given).table.to_pylist()}


@pytest.mark.parametrize(
    ("suffix", "fake"),
    [
        (".csv", 1),
        (".jsonl", 0),
        (".parquet", 1),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((".csv", 0), (".jsonl", 1), (".parquet", 0))),
    ],
)
class TestNumbers:
    """A number means what the schema, the dataset card, the column or ``--label`` says, whether that makes it real or
    generated."""

    def table(self, folder: Path, suffix: str, fake: int, column: str = "label", **more: Any) -> Path:
        touch(folder, "r.jpg", "g.jpg")
        values = [1 - fake, fake]
        return write_table(folder / f"list{suffix}", {"file_name": ["r.jpg", "g.jpg"], column: values}, **more)

    def test_alone_they_are_refused(self, suffix: str, fake: int, tmp_path: Path) -> None:
        path = self.table(tmp_path, suffix, fake)
        with pytest.raises(
            InputError, match=r"the meaning of .* in the column label is unknown.* --label \d=real --label \d=gen"
        ):
            read_sources(path)

    def test_the_person_says(self, suffix: str, fake: int, tmp_path: Path) -> None:
        path = self.table(tmp_path, suffix, fake)
        assert labels(path, f"{fake}=fake", f"{1 - fake}=real") == PAIRS
        assert labels(path, f"{fake}=generated") == PAIRS
        assert labels(path, f"{1 - fake}=real") == PAIRS

    def test_the_column_says(self, suffix: str, fake: int, tmp_path: Path) -> None:
        column, other = ("is_fake", "IsReal") if fake else ("isReal", "AI-generated")
        assert labels(self.table(tmp_path, suffix, fake, column)) == PAIRS
        assert labels(self.table(tmp_path, suffix, 1 - fake, other)) == PAIRS
        with pytest.raises(InputError, match=r"according to the column's name, but --label says .*: leave --label out"):
            labels(self.table(tmp_path, suffix, fake, column), f"{fake}=real")

    def test_the_card_says(self, suffix: str, fake: int, tmp_path: Path) -> None:
        names = ["real", "fake"] if fake else ["fake", "real"]
        for place in (tmp_path / "README.md", tmp_path / "set/README.md"):
            place.parent.mkdir(exist_ok=True)
            place.write_text(card(label=names))
            sources = understood(self.table(tmp_path / "set", suffix, fake))
            assert {Path(row["path"]).stem: row["label"] for row in sources.table.to_pylist()} == PAIRS
            assert f"names of the classes from {place}" in sources.notes
            with pytest.raises(InputError, match="according to the names of its classes, but --label says"):
                labels(self.table(tmp_path / "set", suffix, fake), f"{fake}=real")

    def test_folders_contradict_them(self, suffix: str, fake: int, tmp_path: Path) -> None:
        names = ["0_real/r.jpg", "a/fake/g.jpg", "more/r2.jpg"]
        touch(tmp_path, *names)
        columns = {"path": names, "target": [1 - fake, fake, 1 - fake]}
        path = write_table(tmp_path / f"list{suffix}", columns)
        assert labels(path, f"{fake}=fake") == PAIRS | {"r2": 0}
        with pytest.raises(InputError, match=r"differ from the names of the folders in 2 of 2 rows.* swapped"):
            labels(path, f"{fake}=real")

    def test_folders_of_one_class_contradict_them(self, suffix: str, fake: int, tmp_path: Path) -> None:
        """Numbers that contradict a folder called ``real`` are an error. A folder called ``human`` may hold pictures of
        people, so there is only a note."""
        touch(tmp_path, "real/r.jpg", "z/g.jpg", "human/g.jpg")
        columns = {"path": ["real/r.jpg", "z/g.jpg"], "label": [1 - fake, fake]}
        path = write_table(tmp_path / f"list{suffix}", columns)
        assert labels(path, f"{fake}=fake") == PAIRS
        with pytest.raises(InputError, match=r"differ from the names of the folders in 1 of 1 row.* swapped"):
            labels(path, f"{fake}=real")
        columns["path"] = ["z/g.jpg", "human/g.jpg"]
        path = write_table(tmp_path / f"list{suffix}", columns)
        assert any("differ from the names" in note for note in understood(path, f"{fake}=fake").notes)

    def test_generators_contradict_them(self, suffix: str, fake: int, tmp_path: Path) -> None:
        touch(tmp_path, "r.jpg", "g.jpg")
        columns = {"path": ["r.jpg", "g.jpg"], "label": [1 - fake, fake], "model": ["real", "sdxl"]}
        path = write_table(tmp_path / f"list{suffix}", columns)
        assert understood(path, f"{fake}=fake").table.column("generator").to_pylist() == ["sdxl", ""]
        with pytest.raises(InputError, match=r"every image with a model is labelled real, .* swapped"):
            labels(path, f"{fake}=real")

    def test_metadata_in_folders(self, suffix: str, fake: int, tmp_path: Path) -> None:
        for split in ("train", "test"):
            self.table(tmp_path / split, suffix, fake).rename(tmp_path / split / f"metadata{suffix}")
        with pytest.raises(InputError, match=r"the meaning of .* is unknown"):
            read_sources(tmp_path)
        rows = understood(tmp_path, f"{fake}=fake").table.to_pylist()
        assert {(row["path"], row["label"], row["split"]) for row in rows} == {
            (f"{split}/{stem}.jpg", label, split) for split in ("train", "test") for stem, label in PAIRS.items()
        }

    def test_metadata_against_folders(self, suffix: str, fake: int, tmp_path: Path) -> None:
        """A table of one class alone cannot contradict its folder, but all tables together can."""
        for stem, word, value in (("r", "real", 1 - fake), ("g", "fake", fake)):
            touch(tmp_path, f"{word}/{stem}.jpg")
            write_table(tmp_path / word / f"metadata{suffix}", {"file_name": [f"{stem}.jpg"], "label": [value]})
        assert labels(tmp_path) == PAIRS  # the folders say it, the numbers are not looked at
        assert labels(tmp_path, f"{fake}=fake") == PAIRS
        with pytest.raises(
            InputError, match="labels of the tables differ from the names of the folders in 2 of 2 rows"
        ):
            labels(tmp_path, f"{fake}=real")


@pytest.mark.parametrize("fake", [1, 0])
def test_the_schema_of_a_parquet_file_says_it(fake: int, tmp_path: Path) -> None:
    names = ["Real", "AI-generated"] if fake else ["AI-generated", "Real"]
    features = {"label": {"names": names, "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
    touch(tmp_path, "r.jpg", "g.jpg", "n.jpg")
    columns = {"image_path": ["r.jpg", "g.jpg", "n.jpg"], "label": [1 - fake, fake, -1]}
    path = write_table(tmp_path / "list.parquet", columns, features)
    assert labels(path) == PAIRS
    note = understood(path).notes[0]
    assert f"{fake} (AI-generated) = generated (1)" in note
    assert f"{1 - fake} (Real) = real (1)" in note
    (tmp_path / "README.md").write_text(card(label=names[::-1]))
    with pytest.raises(InputError, match=r"is .* according to the file, but .* according to .*README\.md: correct one"):
        labels(path)


@pytest.mark.parametrize("names", [["no", "yes"], ["false", "true"], ["yes", "no"], ["true", "false"], ["1", "0"]])
def test_names_of_classes_may_be_truth_values_of_the_column(names: list[str], tmp_path: Path) -> None:
    """A dataset card gives the numbers in the column ``is_fake`` names such as yes and no. These names, not the
    numbers, say which images are fake."""
    fake = next(number for number, name in enumerate(names) if name in ("yes", "true", "1"))
    touch(tmp_path, "r.jpg", "g.jpg")
    path = write_table(tmp_path / "list.csv", {"path": ["r.jpg", "g.jpg"], "is_fake": [1 - fake, fake]})
    (tmp_path / "README.md").write_text(card(is_fake=names))  # YAML takes yes and true for truth values
    assert labels(path) == PAIRS


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({"class": ["dog", "cat"], "label": ["real", "fake"]}, [], ""),
        ({"label": ["dog", "cat"], "class": ["real", "fake"]}, [], ""),
        ({"label": [0, 1], "is_fake": [0, 1]}, [], ""),
        ({"label": [1, 0], "is_fake": [0, 1]}, [], ""),  # label may mean anything
        ({"label": [1, 0], "is_fake": [0, 1]}, ["1=real"], ""),
        (
            {"label": [1, 0], "is_fake": [0, 1]},
            ["1=fake"],
            r"line 2: label '1' \(by --label\) and is_fake '0' .* contr",
        ),
        ({"label": ["real", "fake"], "is_fake": [1, 0]}, [], "line 2: label 'real' .* and is_fake '1' .* contradict"),
        ({"label": ["real", ""], "is_fake": ["", "1"]}, [], ""),  # one fills what the other lacks
        ({"label": [0, 1], "real/fake": ["real", "fake"]}, [], ""),
        ({"real/fake": [0, 1]}, [], "the meaning of .* is unknown"),
        ({"label": ["0", "fake"]}, [], "the meaning of '0' in the column label is unknown"),
        ({"label": ["real", "edited"]}, [], "the meaning of 'edited' in the column label is unknown"),
        ({"label": ["real", "edited"]}, ["edited=fake"], ""),
        ({"label": ["real", "ai"]}, ["ai=real"], "real images only"),  # "real" is not swapped by that
        ({"label": ["abc", "xyz"]}, ["abc=real"], "the meaning of 'xyz' in the column label is unknown"),
        ({"label": [0, 2]}, ["0=real"], "the meaning of '2' in the column label is unknown"),
        ({"label": [0, 2]}, ["0=real", "2=fake"], ""),
        ({"label": ["real", "fake"], "class": ["fake", "dog"]}, [], ""),  # one coincidence
        ({"is_fake": [0.02, 0.97]}, [], r"the meaning of '0\.02', '0\.97' in the column is_fake is unknown"),
        ({"is_fake": ["no", "yes"]}, [], ""),
    ],
)
def test_columns_and_values(columns: dict[str, Any], given: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, "r.jpg", "g.jpg")
    path = write_table(tmp_path / "list.csv", {"path": ["r.jpg", "g.jpg"], **columns})
    if message:
        with pytest.raises(InputError, match=message):
            labels(path, *given)
    else:
        assert labels(path, *given) == PAIRS


def test_three_classes_are_refused_with_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "r.jpg", "g.jpg", "e.jpg")
    path = write_table(tmp_path / "list.csv", {"path": ["r.jpg", "g.jpg", "e.jpg"], "label": [0, 1, 2]})
    with pytest.raises(InputError, match=r"line 3: the meaning of '1' in the column label is unknown"):
        labels(path, "0=real", "2=fake")
    (tmp_path / "README.md").write_text(card(label=["real", "fake", "edited"]))
    with pytest.raises(InputError, match=r"line 4: the meaning of '2' \('edited'\) in the column label is unknown"):
        labels(path)
    assert labels(path, "2=fake") == PAIRS | {"e": 1}
    assert labels(path, "edited=real") == PAIRS | {"e": 0}


def test_some_rows_that_folders_contradict_are_a_note(tmp_path: Path) -> None:
    names = ["real/r.jpg", "fake/g.jpg", "real/deceives.jpg"]
    touch(tmp_path, *names)
    sources = understood(write_table(tmp_path / "list.csv", {"path": names, "label": ["real", "fake", "fake"]}))
    assert "differ from the names of the folders in 1 of 3 rows, for example" in sources.notes[1]


class TestMetadata:
    """Tables such as ``metadata.csv`` in a folder of images."""

    def test_all_that_a_table_says_is_taken(self, tmp_path: Path) -> None:
        touch(tmp_path, "images/r.jpg", "images/sub/g.jpg", "images/sub/h.jpg", "images/silent.jpg")
        columns = {
            "file_name": ["r.jpg", "sub\\g.jpg", "./sub/h.jpg", "gone.jpg"],
            "label": ["real", "fake", "fake", "fake"],
            "model": ["", "sdxl", "", "x"],
            "group": ["s1", "s1", "", ""],
            "split": ["train", "train", "validation", ""],
        }
        write_table(tmp_path / "images/metadata.csv", columns)
        sources = understood(tmp_path)
        assert [tuple(row.values()) for row in sources.table.to_pylist()] == [
            ("images/r.jpg", 0, "", "s1", "train"),
            ("images/sub/g.jpg", 1, "sdxl", "s1", "train"),
            ("images/sub/h.jpg", 1, "unknown", "", "valid"),
        ]
        said = "\n".join(sources.notes)
        assert f"1 row of {tmp_path}/images/metadata.csv without an image in the folder" in said
        assert "skipped because no name says real or generated: images/ (1 image)" in said
        assert understood(tmp_path, generator_level=2).table.column("generator").to_pylist() == ["", "sdxl", "sub"]

    def test_a_table_without_labels_describes_what_folders_label(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/real/r.jpg", "train/fake/gan/g.jpg", "train/fake/gan/h.jpg")
        columns = {"file_name": ["real/r.jpg", "fake/gan/g.jpg"], "text": ["a cat", "a dog"], "group": ["s", "s"]}
        write_table(tmp_path / "train/metadata.jsonl", columns)
        assert [tuple(row.values()) for row in understood(tmp_path).table.to_pylist()] == [
            ("train/fake/gan/g.jpg", 1, "gan", "s", "train"),
            ("train/fake/gan/h.jpg", 1, "gan", "", "train"),
            ("train/real/r.jpg", 0, "", "s", "train"),
        ]

    def test_a_test_set_without_labels_is_passed_over(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/r.jpg", "train/g.jpg", "test/x.jpg")
        write_table(tmp_path / "train/metadata.csv", {"file_name": ["r.jpg", "g.jpg"], "is_fake": [0, 1]})
        write_table(tmp_path / "test/metadata.csv", {"file_name": ["x.jpg"], "is_fake": [""]})
        sources = understood(tmp_path)
        assert set(sources.table.column("split").to_pylist()) == {"train"}
        assert any("skipped because no name says real or generated: test/ (1 image)" in n for n in sources.notes)

    @pytest.mark.parametrize(
        ("tables", "given", "message"),
        [
            (
                {"metadata.csv": "file_name,label\nnope.jpg,real\n"},
                [],
                "none of the files listed .* for example 'nope.jpg'",
            ),
            ({"metadata.csv": "file,label\nr.jpg,real\n"}, [], "real images only"),
            ({"metadata.csv": "id,label\nr.jpg,real\n"}, [], "no column of paths"),
            ({"metadata.csv": "file,label\nr.jpg,real\nr.jpg,fake\n"}, [], "describe r.jpg differently: keep one row"),
            (
                {"metadata.csv": "file,label\nr.jpg,real\n", "metadata.jsonl": '{"file":"r.jpg","label":"fake"}'},
                [],
                r"metadata.csv, line 2 and .*metadata.jsonl, line 1 describe r.jpg differently",
            ),
            ({"metadata.csv": "file,label,split\ntrain/g.jpg,fake,test\nr.jpg,real,test\n"}, [], "split is test, but"),
            ({"metadata.csv": "file,label\n\xff\n".encode("latin-1")}, [], "not UTF-8"),
            ({"metadata.parquet": "PAR1"}, [], "is not a Parquet file"),
        ],
    )
    def test_tables_that_cannot_be_used(
        self, tables: dict[str, Any], given: list[str], message: str, tmp_path: Path
    ) -> None:
        touch(tmp_path, "r.jpg", "train/g.jpg")
        for name, content in tables.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError, match=message):
            understood(tmp_path, *given)

    def test_a_table_of_other_things_does_not_stop_class_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "real/r.jpg", "fake/g.jpg")
        write_table(tmp_path / "metadata.csv", {"id": [1], "label": ["cat"]})
        write_table(tmp_path / "fake/metadata.csv", {"file_name": ["g.jpg"], "label": ["cat"]})
        sources = understood(tmp_path)
        assert {Path(row["path"]).stem: row["label"] for row in sources.table.to_pylist()} == PAIRS
        assert sum(note.startswith("no labels from tables: ") for note in sources.notes) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# no front matter\n",
        "---\n",
        "---\nlicense: mit\n---\n",
        "---\ndataset_info: 3\n---\n",
        "---\n: - [\n---\n",
        "---\n!!python/object/apply:os.system ['touch pwned']\n---\n",
        "---\ndataset_info: {features: [{name: label, dtype: {class_label: {names: {a: real}}}}]}\n---\n",
        "---\ndataset_info: {features: [{name: label, dtype: {class_label: {names: [[real], fake]}}}]}\n---\n",
        "---\n" + "[" * 600 + "\n---\n",
        "---\na: &a [1]\nb: &b [*a, *a]\nx: 9999-99-99\n---\n",
        "---\n" + "x: y\n" * 100_000 + "---\n",
        card(label=["real", "fake"]).replace("dataset_info:\n", "info:\n"),
    ],
    ids=range(13),
)
def test_cards_without_names_have_none(text: str) -> None:
    assert names_in_card(text) == {}


@pytest.mark.timeout(60)
def test_a_card_cannot_say_more_than_it_holds() -> None:
    """A card that repeats its parts by YAML aliases is not read: this short one would expand to 400 million
    features."""
    named = "name: label, dtype: {class_label: {names: [real, fake]}}"
    features = f"f: &f [&g {{{named}}}{', *g' * 20_000}]\ndataset_info: [&c {{features: *f}}{', *c' * 20_000}]"
    assert names_in_card(f"---\n{features}\n---\n") == {}


def test_a_repeated_part_of_a_card_cannot_turn_labels_round() -> None:
    """A card with an alias gives no class names at all. If only the aliased part were ignored, a contradiction between
    the two configurations would go unnoticed."""
    features = "[{name: label, dtype: {class_label: {names: [%s]}}}]"
    text = f"f: &f {features % 'fake, real'}\ndataset_info:\n- features: *f\n- features: {features % 'real, fake'}"
    assert names_in_card(f"---\n{text}\n---\n") == {}


def test_configurations_of_a_card_have_to_agree() -> None:
    features = "features: [{name: label, dtype: {class_label: {names: %s}}}]"
    for second, expected in (("[real, fake]", {"label": {"0": "real", "1": "fake"}}), ("[fake, real]", {})):
        configurations = "".join(f"- {{config_name: c, {features % n}}}\n" for n in ("[real, fake]", second))
        assert names_in_card(f"---\ndataset_info:\n{configurations}---\n") == expected


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {b"huggingface": b"\xff"}, {b"huggingface": b"[]"}, {b"huggingface": b'{"info": {"features": [1]}}'}],
)
def test_schemas_without_names_have_none(metadata: dict[bytes, bytes] | None) -> None:
    assert names_in_schema(metadata) == {}
