"""Images inside tables give the same samples as the same files in a folder, whatever the tables' format."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.build_shards import main as build_shards
from shards.build.build import build_dataset
from shards.errors import InputError
from shards.files.parquet_file import read_parquet
from shards.manifest.dataset import ShardDataset
from shards.sources.embedded.files import EmbeddedFiles
from shards.sources.embedded.spool import write_spool
from shards.sources.embedded.table_file import LOOK_BYTES, open_table
from shards.sources.files import SCRATCH_NAME, LocalFiles
from shards.sources.read import read_sources
from shards.sources.source_list import SourceList, SourceRules
from shards.sources.words import Words, parse_labels
from tests.images.image_tables import FORMS, Row, features, rows_of, table_of, write_saved, write_tables
from tests.images.small_builds import SETTINGS
from tests.machine.folder_contents import assert_same_files
from tests.machine.killed_at_rename import killed_at_rename

DRAWN = SourceRules(given_split=False)


@pytest.fixture(scope="module")
def rows(synthetic_images: Path) -> list[Row]:
    return rows_of(synthetic_images)


@pytest.fixture(scope="module")
def small_rows(small_set: Path) -> list[Row]:
    return rows_of(small_set / "images")


@pytest.fixture(scope="module")
def built(small_rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder of tables, folder of the data set that is built from them)."""
    root = tmp_path_factory.mktemp("tables")
    write_tables(root / "set", small_rows)
    build_dataset(root / "set", root / "out", SETTINGS, progress=False, rules=DRAWN)
    return root / "set", root / "out"


def understood(source: Path, *given: str, **rules: bool) -> SourceList:
    return read_sources(source, SourceRules(Words(parse_labels(given)), **rules))


def meanings(sources: SourceList) -> dict[str, tuple[int, str]]:
    """Returns image name → (label, generator)."""
    names = ("path", "label", "generator")
    columns = (sources.table.column(name).to_pylist() for name in names)
    return {path: (label, generator) for path, label, generator in zip(*columns, strict=True)}


def prepared(sources: SourceList, out: Path) -> EmbeddedFiles:
    out.mkdir(exist_ok=True)
    files = sources.files.prepared(out, lambda _: None)
    assert isinstance(files, EmbeddedFiles)
    return files


def samples(folder: Path) -> set[tuple[bytes, int, str, str]]:
    """Returns (SHA-256 of the source, label, generator, split) of each sample."""
    table = read_parquet(folder / "rejected.parquet")
    assert table.num_rows == 0
    found = set()
    for shard in ShardDataset.open(folder).info.shards:
        columns = read_parquet(folder / f"{shard.name.removesuffix('.tar')}.parquet")
        for row in columns.select(["sha256", "label", "generator", "split"]).to_pylist():
            found.add((row["sha256"], row["label"], row["generator"], row["split"]))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_bytes_labels_and_generators_of_the_files(
    rows: list[Row], tmp_path: Path, form: str
) -> None:
    sources = read_sources(write_tables(tmp_path / "set", rows, form))
    files, found = prepared(sources, tmp_path / "out"), meanings(sources)
    assert len(found) == len(rows)
    for (name, meaning), row in zip(sorted(found.items()), rows, strict=True):
        assert files.read(name) == row.data
        assert meaning == (row.label, row.generator)
    assert files.where(sorted(found)[1]).endswith((".parquet, row 2", ".arrow, row 2"))


def test_a_build_has_the_samples_of_the_folder(built: tuple[Path, Path], small_set: Path) -> None:
    assert samples(built[1]) == samples(small_set / "out")
    assert not (built[1] / SCRATCH_NAME).exists()
    assert build_dataset(built[0], built[1], SETTINGS, progress=False, rules=DRAWN).finished_before
    assert not (built[1] / SCRATCH_NAME).exists()


@pytest.mark.parametrize("which", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_a_killed_build_goes_on(
    built: tuple[Path, Path], tmp_path: Path, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build is killed while it unpacks the second table, or while it writes the first shard. When it continues, a
    table that was completely unpacked is not unpacked again."""
    out, again = tmp_path / "out", list[Path]()
    killed_at_rename(lambda: build_dataset(built[0], out, SETTINGS, progress=False, rules=DRAWN), which)
    whole = set((out / SCRATCH_NAME).glob("*.arrow"))
    assert len(whole) == min(which - 1, 2)

    def write(path: Path, *arguments: Any) -> None:
        again.append(path)
        write_spool(path, *arguments)

    monkeypatch.setattr("shards.sources.embedded.files.write_spool", write)
    build_dataset(built[0], out, SETTINGS, progress=False, rules=DRAWN)
    assert len(again) == 2 - len(whole)
    assert not whole & set(again)
    assert_same_files(out, built[1])


def test_a_table_that_was_written_again_is_looked_into(built: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = tmp_path / "set", tmp_path / "out"
    shutil.copytree(built[0], source)
    killed_at_rename(lambda: build_dataset(source, out, SETTINGS, progress=False, rules=DRAWN), 5)
    table = source / "data/train-00001-of-00002.parquet"
    os.utime(table, ns=(1, 1))  # the same images: the build goes on
    build_dataset(source, out, SETTINGS, progress=False, rules=DRAWN)
    assert_same_files(out, built[1])
    first = pq.read_table(table)
    pq.write_table(pa.concat_tables([first.slice(1), first.slice(0, 1)]), table)
    with pytest.raises(InputError, match=r"12 files changed|labels, generators, groups or splits"):
        build_dataset(source, out, SETTINGS, progress=False, rules=DRAWN)


def test_a_label_cannot_turn_round(rows: list[Row], tmp_path: Path) -> None:
    """If the numbers are swapped together with the class names that explain them, the labels stay the same. Numbers
    without class names are refused."""
    truth = [row.label for row in rows]
    for place, names in enumerate((("real", "fake"), ("fake", "real"))):
        path = tmp_path / f"{place}.parquet"
        table = table_of(rows, names=names)
        pq.write_table(table, path)
        assert [label for label, _ in meanings(read_sources(path)).values()] == truth
        pq.write_table(table.replace_schema_metadata({}), path)
        with pytest.raises(InputError, match=r"\.parquet, row 1: .*--label"):
            read_sources(path)
        given = [f"{names.index(name)}={meaning}" for name, meaning in (("real", "real"), ("fake", "generated"))]
        assert [label for label, _ in meanings(understood(path, *given)).values()] == truth
        pq.write_table(table.replace_schema_metadata(features(names[::-1])), tmp_path / "other.parquet")
        pq.write_table(table, tmp_path / "this.parquet")
        with pytest.raises(InputError, match="names the classes of its column label differently from"):
            read_sources(tmp_path)
        for name in ("other.parquet", "this.parquet", path.name):
            (tmp_path / name).unlink()


def test_names_of_files_say_what_columns_do_not(rows: list[Row], tmp_path: Path) -> None:
    """Folder and file names give classes, splits and generators. Numbers and words for parts of a set, such as
    ``part-00001``, are ignored."""
    bare = table_of(rows).select(["image"]).replace_schema_metadata({})
    names = ["real/train/0000.parquet", "fake/train/sdxl/part-00001.parquet", "fake/flux/test-00000-of-00003.parquet"]
    for name in [*names, "real/flux-test-00000-of-00001-0123456789abcdef.parquet", "other/0.parquet"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(bare.slice(0, 2), tmp_path / name)
    sources = read_sources(tmp_path)
    found = {row["path"].rpartition("/")[0]: row for row in sources.table.to_pylist()}
    assert {name: (row["label"], row["generator"], row["split"]) for name, row in found.items()} == {
        "fake/flux/test-00000-of-00003.parquet": (1, "flux", "test"),
        "fake/train/sdxl/part-00001.parquet": (1, "sdxl", "train"),
        "real/flux-test-00000-of-00001-0123456789abcdef.parquet": (0, "", "test"),
        "real/train/0000.parquet": (0, "", "train"),
    }
    assert "found only 1 of the 3 tables fake/flux/test-…-of-00003" in sources.notes
    assert any("other/ (2 images)" in note for note in sources.notes)


def test_columns_and_names_may_not_contradict_each_other(rows: list[Row], tmp_path: Path) -> None:
    for folder, label in (("real", 1), ("fake", 0)):
        (tmp_path / folder).mkdir()
        pq.write_table(table_of([row for row in rows if row.label == label]), tmp_path / folder / "0.parquet")
    with pytest.raises(InputError, match="real and generated are swapped"):
        read_sources(tmp_path)
    shutil.rmtree(tmp_path / "fake")
    table = table_of(rows).append_column("split", pa.array(["test"] * len(rows)))
    pq.write_table(table, tmp_path / "train.parquet")
    (tmp_path / "real/0.parquet").unlink()
    with pytest.raises(
        InputError, match=r"train\.parquet, row 1: its split is test, but the name of the file .* train"
    ):
        read_sources(tmp_path)
    assert set(understood(tmp_path, given_split=False).table.column("split").to_pylist()) == {""}


def test_a_table_with_one_image_in_a_row_is_looked_for(rows: list[Row], tmp_path: Path) -> None:
    """The column with the images is found if there is one image per row. Otherwise an error names the columns in
    question."""
    table, path = table_of(rows), tmp_path / "a.parquet"
    images = table.column("image").combine_chunks()
    masks = table.append_column("mask", images)
    pq.write_table(masks, path)
    assert read_sources(path).files.tables["a.parquet"].column == "image"
    pq.write_table(masks.rename_columns(["left", "label", "model", "right"]), path)
    with pytest.raises(InputError, match=r"several columns that may hold the images \(left, right\)"):
        read_sources(path)
    lists = pa.ListArray.from_arrays(pa.array(range(len(rows) + 1), pa.int32()), images)
    pq.write_table(table.set_column(0, "images", lists), path)
    with pytest.raises(InputError, match="several images per row, in the column images"):
        read_sources(path)
    listed = table.select(["label"]).append_column("file_name", pa.array([row.name for row in rows]))
    pq.write_table(listed.append_column("embedding", pa.array([b"x"] * len(rows))), path)
    with pytest.raises(InputError, match="none of the files listed"):
        read_sources(path)  # a list of paths, beside which bytes are no images


def test_images_that_are_not_inside(rows: list[Row], tmp_path: Path) -> None:
    """``Dataset.to_parquet`` writes only the paths of files. Such a table is refused before the build."""
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([Row(row.name, None, row.label) for row in rows]), path)
    with pytest.raises(InputError, match=r"no row of .*a\.parquet holds an image: .* push_to_hub and save_to_disk"):
        read_sources(path)
    pq.write_table(table_of(rows), tmp_path / "b.parquet")  # of several tables, one may be so
    assert len(meanings(read_sources(tmp_path))) == 2 * len(rows)
    write_saved(tmp_path / "saved", [table_of([Row(row.name, None, row.label) for row in rows])])
    with pytest.raises(InputError, match=r"no row of .*\.arrow holds an image"):
        read_sources(tmp_path / "saved")


@pytest.mark.parametrize("form", ["datasets", "arrow"])
def test_bad_rows_are_rejected_alone(
    small_rows: list[Row], tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLASS_MAX_IMAGE_BYTES", str(max(len(row.data or b"") for row in small_rows)))
    bad = {
        1: (None, "unreadable", "the row holds no image"),
        4: (b"https://example.org/a.jpg", "not_an_image", "the row holds an address instead of the image: https://exa"),
        6: (bytes(1 << 20), "too_large", "1,048,576 bytes, more than GLASS_MAX_IMAGE_BYTES"),
        9: (b"", "empty_file", ""),
    }
    spoilt = [Row(r.name, bad[i][0], r.label, r.generator) if i in bad else r for i, r in enumerate(small_rows)]
    out = tmp_path / "out"
    build_dataset(write_tables(tmp_path / "set", spoilt, form, parts=1), out, SETTINGS, progress=False, rules=DRAWN)
    rejected = {row["source_path"][-2:]: row for row in read_parquet(out / "rejected.parquet").to_pylist()}
    assert {int(name): row["reason"] for name, row in rejected.items()} == {
        row: why for row, (_, why, _) in bad.items()
    }
    for row, (_, _, detail) in bad.items():
        assert rejected[f"{row:02d}"]["detail"].startswith(detail)
    assert ShardDataset.open(out).info.num_samples == len(small_rows) - len(bad)


@pytest.mark.parametrize("form", ["datasets", "one page", "arrow"])
def test_files_that_are_cut_off_are_named(rows: list[Row], tmp_path: Path, form: str) -> None:
    source = write_tables(tmp_path / "set", rows, form)
    path = max(source.rglob("*00001-of-00002*"))
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"00001-of-00002\.(parquet|arrow) is not an? (Parquet|Arrow) file"):
            read_sources(source)


def test_damage_within_a_file_is_named_where_it_shows(tmp_path: Path) -> None:
    rows = [Row(f"{number}.jpg", os.urandom(20_000), number % 2) for number in range(8)]
    source = write_tables(tmp_path / "set", rows, "one page")
    path = max(source.rglob("*.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(InputError, match=r"00001-of-00002\.parquet is not a Parquet file that can be read"):
        prepared(read_sources(source), tmp_path / "out")
    assert len(list((tmp_path / "out" / SCRATCH_NAME).iterdir())) == 1  # the other


def test_a_saved_set_has_all_its_files(rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_tables(tmp_path / "set", rows, "arrow")
    assert sorted(read_sources(source).files.tables) == [f"data-0000{n}-of-00002.arrow" for n in range(2)]
    (source / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match=r"data-00001-of-00002\.arrow is missing, but named in state\.json beside it"):
        read_sources(source)
    monkeypatch.setenv("GLASS_MAX_JSON_BYTES", "40")
    with pytest.raises(InputError, match=r"state\.json was not written by save_to_disk"):
        read_sources(source)
    monkeypatch.delenv("GLASS_MAX_JSON_BYTES")
    (source / "state.json").write_text('{"_data_files": 3}')
    with pytest.raises(InputError, match=r"state\.json was not written by save_to_disk"):
        read_sources(source)
    (source / "state.json").unlink()
    (source / "data.arrow").write_bytes(compressed(table_of(rows)))
    with pytest.raises(InputError, match=r"data\.arrow .* not of a kind that the library datasets writes"):
        read_sources(source)


def compressed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_splits_of_a_saved_dictionary(rows: list[Row], tmp_path: Path) -> None:
    write_saved(tmp_path / "train", [table_of(rows[:14]), table_of(rows[14:18])])
    write_saved(tmp_path / "test", [table_of(rows[18:])])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    splits = read_sources(tmp_path).table.column("split").to_pylist()
    assert (splits.count("train"), splits.count("test")) == (18, 6)


@pytest.mark.parametrize("form", [pytest.param("datasets", marks=pytest.mark.slow), "one group"])
def test_memory_does_not_depend_on_the_file(tmp_path: Path, form: str) -> None:
    """At most 10 MB of a file are held in memory, both with many row groups and with a single group of small pages."""
    rows = [Row(f"{number}.jpg", os.urandom(200_000), number % 2) for number in range(120)]
    source = write_tables(tmp_path / "set", rows, form, parts=1)
    name = next(iter(read_sources(source).files.tables))
    before, most = pa.total_allocated_bytes(), 0
    with open_table(LocalFiles(source), name, LOOK_BYTES) as table:
        for _ in table.images("image"):
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 1e7 < (source / name).stat().st_size / 2


def test_the_dry_run_looks_at_images_without_unpacking(
    built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_shards([str(built[0]), str(tmp_path / "out"), "--dry-run"])
    text = capsys.readouterr().out
    assert "labels of" in text
    assert re.search(r"formats .*JPEG \d.* \(of 4 images opened\)", text)
    assert "unpacked to .build_sources" in text
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_seen_before(built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(InputError, match=r"unpacking the images takes [\d,]+ bytes in .*, but only 1,000 are free"):
        build_dataset(built[0], tmp_path / "out", SETTINGS, progress=False, rules=DRAWN)


def test_a_folder_of_images_with_a_table_beside_them_stays_one(rows: list[Row], tmp_path: Path) -> None:
    for number in range(101):
        path = tmp_path / ("real" if number % 2 else "fake") / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    write_tables(tmp_path / "tables", rows)
    assert isinstance(read_sources(tmp_path).files, LocalFiles)
    (tmp_path / "real/99.jpg").unlink()
    sources = read_sources(tmp_path)
    assert isinstance(sources.files, EmbeddedFiles)
    assert "skipped 100 files beside the tables with images (.jpg 100)" in sources.notes


@pytest.mark.slow
def test_files_that_datasets_writes(rows: list[Row], synthetic_images: Path, tmp_path: Path) -> None:
    """Tables that the real library writes give the right bytes and labels: a saved data set, a saved dictionary, and
    Parquet with embedded images."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    from datasets.table import embed_table_storage

    datasets.disable_progress_bars()
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["fake", "real"])}
    columns = {
        "image": [str(synthetic_images / row.name) for row in rows],
        "label": [1 - row.label for row in rows],
        "model": [row.generator for row in rows],
    }
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds | {"model": datasets.Value("string")}))
    made.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    parts = datasets.DatasetDict(train=made.select(range(16)), test=made.select(range(16, len(rows))))
    parts.save_to_disk(str(tmp_path / "parts"))
    made.to_parquet(str(tmp_path / "paths.parquet"))
    with pytest.raises(InputError, match=r"no row of .* holds an image"):
        read_sources(tmp_path / "paths.parquet")
    inside = made.with_format("arrow").map(embed_table_storage, batched=True).with_format(None)
    inside.to_parquet(str(tmp_path / "inside.parquet"))
    truth = sorted((hashlib.sha256(row.data or b"").digest(), row.label, row.generator) for row in rows)
    for name in ("saved", "parts", "inside.parquet"):
        sources = read_sources(tmp_path / name)
        files, found = prepared(sources, tmp_path / f"out-{name}"), meanings(sources)
        read = [(hashlib.sha256(files.read(path)).digest(), *meaning) for path, meaning in found.items()]
        assert sorted(read) == truth, name
