"""Checks before a file is written: no file of somebody else is replaced, and mistakes are reported before the work
begins."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.errors import InputError
from shards.files.outputs import check_new_folder, check_output, holds_mark, is_json_with, is_parquet_with, starts_with
from tests.conftest import remount

OURS = starts_with("ours")


def test_a_file_of_ours_may_be_replaced_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out"
    assert check_output(path, OURS) is False
    path.write_text("ours, of before")
    assert check_output(path, OURS) is True
    path.write_text("mine")
    with pytest.raises(InputError, match=r"out was not written by this command: give another"):
        check_output(path, OURS)
    assert path.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    """A pipe in place of the file does not block the check. A link to a missing file is refused, because somebody made
    it."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, words in (
        ("folder", "is a folder"),
        ("pipe", "not a regular file"),
        ("link", "cannot be read"),
        ("none/file", "does not exist: create it first"),
        ("pipe/file", "pipe is a file: give a folder"),
    ):
        with pytest.raises(InputError, match=words):
            check_output(tmp_path / name, OURS)
    assert check_output(tmp_path / "new" / "file", OURS, folder_is_made=True) is False
    with pytest.raises(InputError, match="is a file: give a folder"):  # where a file stands no folder can
        check_output(tmp_path / "pipe" / "file", OURS, folder_is_made=True)


def test_a_folder_that_takes_no_file(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(100)
    (disk / "out").write_text("ours")
    remount(disk, "ro")
    with pytest.raises(InputError, match=r"cannot be written to .*: give another --output"):
        check_output(disk / "out", OURS, "give another --output")


def test_kinds_of_files_are_known_by_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text, ours, expected in (
        ('{"a": 1, "b": 2}', is_json_with("a", "b"), True),
        ('{"a": 1}', is_json_with("a", "b"), False),
        ('"a, b"', is_json_with("a"), False),
        ("my notes on a and b", is_json_with("a"), False),
        ("<p>" + "x" * 100 + "mark", holds_mark("mark"), True),
        ("x" * 5000 + "mark", holds_mark("mark"), False),
        ("mark", is_parquet_with(["a"]), False),
    ):
        path.write_text(text)
        assert ours(path) is expected, text
    pq.write_table(pa.table({"a": [1], "b": [2]}), path)
    assert is_parquet_with(["a"])(path)
    assert not is_parquet_with(["a", "c"])(path)


def test_a_new_folder_is_empty(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_new_folder(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    for name, words in ((".", "holds files: give a new"), ("file", "is a file: give a new")):
        with pytest.raises(InputError, match=words):
            check_new_folder(tmp_path / name)
    assert not (tmp_path / "new").exists()
