"""If a document cannot be read because of a failing disk, it is not reported as damaged. It is read again, and if that
fails, too, an error names it."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glass.export.card_file import read_model_card
from shards.adopt.adopt import index_tars
from shards.adopt.settings import IndexSettings
from shards.build.build import build_dataset
from shards.build.plan import PLAN_NAME, read_plan
from shards.build.settings import BuildSettings
from shards.build.writer import read_record
from shards.cli.command import run_command
from shards.errors import MachineTrouble
from shards.files import patience
from shards.manifest.dataset import ShardDataset
from shards.manifest.info import read_info
from shards.manifest.stored_views import StoredViews
from shards.sources.read import read_sources
from tests.images.archive_forms import write_tar, write_zip
from tests.images.coded_images import write_small_images
from tests.machine.failing_files import fail_openings, note_pauses

SETTINGS = BuildSettings(global_size=32, split_shares={"train": 0.5, "test": 0.5})


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes pauses take no time. Returns the list that collects the lengths of the pauses that were requested."""
    return note_pauses(monkeypatch)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``failing(ending, times)`` makes the next ``times`` attempts to open a file whose name ends in ``ending`` raise
    ``EIO``."""
    opened, left = {"os": os.open, "file": pq.ParquetFile, "schema": pq.read_schema}, [0]
    ending = ["never"]

    def opening(kind: str) -> Callable[..., Any]:
        def opened_or_failed(path: Any, *arguments: Any, **named: Any) -> Any:
            if str(path).endswith(ending[0]) and left[0]:
                left[0] -= 1
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return opened[kind](path, *arguments, **named)

        return opened_or_failed

    def fail(of: str, times: int = 10**6) -> None:
        ending[0], left[0] = of, times
        monkeypatch.setattr(os, "open", opening("os"))
        monkeypatch.setattr(pq, "ParquetFile", opening("file"))
        monkeypatch.setattr(pq, "read_schema", opening("schema"))

    return fail


@pytest.fixture
def copied(synthetic_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_shards, tmp_path / "set"))


def _first(folder: Path, kind: str) -> Path:
    return sorted(folder.glob(f"train-*.{kind}"))[0]


def _first_view(folder: Path) -> object:
    with StoredViews(ShardDataset.open(folder)) as views:
        return views[0]


def _indexed(folder: Path) -> object:
    tar = _first(folder, "tar")
    for file in folder.glob("train-*"):
        if file != tar:
            file.unlink()
    return index_tars([tar], folder.parent / "index", IndexSettings(), progress=False)


READS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "description": ("dataset.json", read_info),
    "manifest": ("samples.arrow", ShardDataset.open),
    "plan": (PLAN_NAME, read_plan),
    "record of a shard": (".parquet", lambda folder: read_record(_first(folder, "parquet"))),
    "view": (".tar", _first_view),
    "tar made elsewhere": (".tar", _indexed),
}


@pytest.mark.parametrize("what", READS)
def test_a_failing_disk_is_asked_again_and_then_named(copied, failing, pauses, what):
    ending, read = READS[what]
    failing(ending)
    with pytest.raises(MachineTrouble, match=r"cannot be read \(Input/output error, 5 times\)"):
        read(copied)
    assert pauses == [0.1, 0.2, 0.4, 0.8]
    failing(ending, times=patience.TRIES - 1)
    read(copied)


def test_so_is_that_of_a_model(tmp_path, failing):
    (tmp_path / "config.json").write_text("{}")
    failing("config.json")
    with pytest.raises(MachineTrouble, match=r"config\.json cannot be read \(Input/output"):
        read_model_card(tmp_path)


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ESTALE, "/data/x cannot be read (Stale file handle): "), (errno.EACCES, "/data/x: permission denied: ")],
)
def test_a_command_answers_with_a_sentence_where_a_file_is_not_given(capsys, number, said):
    def main() -> int:
        raise OSError(number, os.strerror(number), "/data/x")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


# -- builds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["match", pytest.param("recompress", marks=pytest.mark.slow)])  # they read alike
def test_what_is_equalised_does_not_depend_on_a_disk(small_images, tmp_path, monkeypatch, method):
    """The disk fails while ``--equalise`` compares the files, but works again when they are stored. The build stops
    with an error or, with ``reject_unreadable``, leaves the image out."""
    from shards.build import equalise
    from shards.images.rejection import RejectedImage

    read = equalise._facts

    def fail(files: Any, name: str) -> Any:
        if name.endswith("05.jpg"):
            return RejectedImage("io", "Input/output error")
        return read(files, name)

    monkeypatch.setattr(equalise, "_facts", fail)
    settings = replace(SETTINGS, equalise=method)
    with pytest.raises(MachineTrouble, match=r"05\.jpg cannot be read .*--reject-unreadable"):
        build_dataset(small_images, tmp_path / "out", settings, progress=False)
    report = build_dataset(small_images, tmp_path / "out", settings, progress=False, reject_unreadable=True)
    assert report.info.rejected["io"] == 1


def test_a_file_that_the_disk_does_not_give_is_not_called_changed(tmp_path, failing, monkeypatch):
    images = tmp_path / "images"
    write_small_images(images, 8)
    build_dataset(images, tmp_path / "out", SETTINGS, progress=False)
    os.utime(images / "real/05.jpg", (1, 1))
    failing("05.jpg")
    with pytest.raises(MachineTrouble, match=r"05\.jpg cannot be read"):
        build_dataset(images, tmp_path / "out", SETTINGS, progress=False)


def test_a_disk_that_fails_within_a_list_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg"], "label": ["real", "fake"]}), tmp_path / "list.parquet")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fail)
    with pytest.raises(MachineTrouble, match=r"list\.parquet cannot be read .*check the disk"):
        read_sources(tmp_path / "list.parquet")


@pytest.mark.parametrize("archive", ["a.zip", "a.tar"])
def test_an_archive_on_a_failing_disk_is_neither_left_out_nor_read_twice(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an archive, or an image beside it, cannot be read from a failing disk, reading the source raises
    ``MachineTrouble``. Once the disk works again, each of the four images is found exactly once, although some are both
    in the archive and unpacked beside it."""
    files = {"a/real/1.jpg": b"r", "a/fake/1.jpg": b"f", "b/real/2.jpg": b"s", "b/fake/2.jpg": b"g"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(data)
    write = write_zip if archive == "a.zip" else write_tar
    write(tmp_path / archive, {name.removeprefix("a/"): data for name, data in files.items() if name[0] == "a"})
    for name in (archive, "1.jpg"):
        fail_openings(monkeypatch, name, errno.EIO)
        with pytest.raises(MachineTrouble, match=rf"{name}.* cannot be read .*check the disk"):
            read_sources(tmp_path)
    fail_openings(monkeypatch, "none", errno.EIO)
    assert read_sources(tmp_path).table.num_rows == 4


def test_a_card_on_a_failing_disk_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text(
        "---\ndataset_info: {features: [{name: label, dtype: {class_label: {names: [fake, real]}}}]}\n---\n"
    )
    (tmp_path / "list.csv").write_text("path,label\na.jpg,0\nb.jpg,1\n")
    (tmp_path / "a.jpg").write_bytes(b"")
    fail_openings(monkeypatch, "README.md", errno.EIO)
    with pytest.raises(MachineTrouble, match=r"README\.md cannot be read .*check the disk"):
        read_sources(tmp_path / "list.csv")
    fail_openings(monkeypatch, "README.md", errno.EIO, times=2)
    assert read_sources(tmp_path / "list.csv").table.column("label").to_pylist() == [1, 0]
