"""Group lists, which name images that belong together, in CSV or Parquet: ``sha256,group[,source_path]``.

``glass audit --write-groups`` writes such a list; ``glass build`` and ``glass index`` take it with ``--groups``. An
image is identified by the SHA-256 of its file, so that a list stays valid when files move.
"""

import csv
import filecmp
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from shards.cli.wording import counted
from shards.errors import InputError, machine_spared
from shards.files.atomic import atomic_path
from shards.files.outputs import check_output, is_parquet_with, starts_with
from shards.files.parquet_file import read_parquet
from shards.files.regular_file import require_regular
from shards.manifest.groups import joined_groups

__all__ = ["GroupList", "check_group_output", "read_group_list", "write_group_list"]

_COLUMNS = ("sha256", "group", "source_path")
"""Columns of a list: the SHA-256 in hexadecimal, the name of the group, and the file's path. The path is only for human
readers; programs ignore it."""
_READ = _COLUMNS[:2]
_REMEDY = "give another name, or delete the file"


@dataclass(frozen=True)
class GroupList:
    """The contents of a group list."""

    path: Path
    groups: Mapping[bytes, tuple[str, ...]]
    """Maps a file's SHA-256 to the sorted names of the groups that the list assigns it to. Groups that have a file in
    common are merged by :meth:`joined`."""

    @property
    def digest(self) -> str:
        """Digest of the contents, in hexadecimal. It does not depend on the row order."""
        rows = sorted((sha256.hex(), names) for sha256, names in self.groups.items())
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def joined(self, hashes: Sequence[bytes], given: Sequence[str]) -> list[str]:
        """Merges the groups of this list with existing groups of images. Returns the resulting group of each image.

        ``hashes`` holds the SHA-256 of each image's file, and ``given`` the existing group of each image. In ``given``
        and in the result, ``""`` means no group. Equal names denote the same group, both in ``given`` and in the list.
        Raises ``InputError`` if the list does not contain any of the images.
        """
        listed = [self.groups.get(sha256, ()) for sha256 in hashes]
        if self.groups and not any(listed):
            raise InputError(
                f"{self.path} lists the SHA-256 of none of these image files: it is for other images, or the files "
                "were saved again since; give the right list"
            )
        return joined_groups(given, listed, [names[0] if names else "" for names in listed])

    def note(self, hashes: Sequence[bytes]) -> str:
        """Returns a note for the user: how many images the list grouped, and how many listed images were not found.

        ``hashes`` holds the SHA-256 of each image's file. Listed images that are missing from it count as not found.
        """
        listed, known = sum(sha256 in self.groups for sha256 in hashes), set(hashes)
        gone = sum(sha256 not in known for sha256 in self.groups)
        rest = f"; {counted(gone, 'image')} in the list are not in this data set" if gone else ""
        return f"{self.path} gave {counted(listed, 'image')} a group{rest}"


def read_group_list(path: Path) -> GroupList:
    """Reads the list at ``path``. Rows without a group are ignored.

    Raises ``InputError`` if the list cannot be read, lacks a column, or has a ``sha256`` that is not 64 hexadecimal
    digits; the message names the first such row.
    """
    _require_suffix(path)
    try:
        require_regular(path)
        with machine_spared(path):
            table = _read_csv(path) if path.suffix.lower() == ".csv" else read_parquet(path)
        if missing := [name for name in _READ if name not in table.column_names]:
            raise InputError(
                f"{path} has no column {missing[0]!r}: a list of groups has the columns {','.join(_COLUMNS)}"
            )
        hashes, names = (pc.utf8_trim_whitespace(table.column(name).cast(pa.string()).fill_null("")) for name in _READ)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a list of groups ({error})") from error
    hashes = pc.utf8_lower(hashes)
    wrong = pc.index(pc.match_substring_regex(hashes, "^[0-9a-f]{64}$"), False).as_py()
    if wrong >= 0:
        raise InputError(
            f"{path}, row {wrong + 1}: sha256 {hashes[wrong].as_py()[:100]!r} is not 64 hexadecimal digits"
        )
    found: dict[bytes, set[str]] = {}
    for sha256, name in zip(hashes.to_pylist(), names.to_pylist(), strict=True):
        if name:
            found.setdefault(bytes.fromhex(sha256), set()).add(name)
    return GroupList(path, {sha256: tuple(sorted(some)) for sha256, some in found.items()})


def _read_csv(path: Path) -> pa.Table:
    texts = pa.csv.ConvertOptions(column_types=dict.fromkeys(_READ, pa.string()))
    return pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=texts)


def check_group_output(path: Path, hashes: Callable[[], Iterable[bytes]]) -> None:
    """Raises ``InputError`` if a list cannot be written to ``path``, or if a list is there that names other images.

    ``hashes()`` returns the SHA-256 of each image's file. It is only called if a list exists.
    """
    _require_suffix(path)
    is_csv = path.suffix.lower() == ".csv"
    if not check_output(path, starts_with(",".join(_COLUMNS)) if is_csv else is_parquet_with(_COLUMNS)):
        return
    try:
        listed = read_group_list(path).groups
    except InputError as error:
        raise InputError(f"{error}: {_REMEDY}") from error
    if not listed.keys() <= set(hashes()):
        raise InputError(f"{path} lists images that are not in this data set: {_REMEDY}")


def write_group_list(path: Path, rows: Sequence[tuple[bytes, str, str]]) -> None:
    """Writes ``rows``, (SHA-256, group, source path) for each image.

    Raises ``InputError`` if ``path`` holds a list with other contents, which may be edited by hand, and ``OSError`` if
    it cannot be written.
    """
    listed = [(sha256.hex(), group, source) for sha256, group, source in rows]
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *listed])
            temporary.write_bytes(text.getvalue().encode())
        else:
            columns = list(zip(*listed, strict=True)) or [()] * len(_COLUMNS)
            table = pa.table([pa.array(column, pa.string()) for column in columns], names=_COLUMNS)
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        if path.exists() and not _same_list(path, temporary):
            raise InputError(f"{path} holds another list of groups, or was edited, and is kept: {_REMEDY}")


def _same_list(path: Path, other: Path) -> bool:
    if path.suffix.lower() == ".csv":
        return filecmp.cmp(path, other, shallow=False)
    try:
        return read_parquet(path).equals(read_parquet(other))  # bytes also depend on pyarrow's version
    except (pa.ArrowException, ValueError):
        return False


def _require_suffix(path: Path) -> None:
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{path}: give a list of groups as a .csv or .parquet file")
