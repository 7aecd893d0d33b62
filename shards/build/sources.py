"""Where images come from: a folder with class subfolders, or a list in CSV or Parquet.

Both become one Arrow table, sorted, so that neither the order of a directory nor that of a list
matters. Nothing is opened here but the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath

import pyarrow as pa

from shards.build.source_files import LocalFiles, SourceFiles, Stamp
from shards.cli.wording import counted
from shards.errors import InputError
from shards.images.formats import FILE_SUFFIXES
from shards.manifest.group_list import GroupList
from shards.manifest.schema import CLASS_NAMES

__all__ = ["LABELS", "SOURCE_SCHEMA", "UNKNOWN_GENERATOR", "SourceList", "plain_label", "read_folder", "sorted_table"]

LABELS = {"real": 0, "generated": 1, "fake": 1}
"""Names of class folders, and of labels in lists, in lower case."""


def plain_label(text: str) -> str:
    """A label's text, in lower case, as ``0`` or ``1`` where it is another way to write these: JSON
    and tables have true and false, and 1.0 where another row has no number."""
    return _SAME_LABELS.get(text, text)


_SAME_LABELS = {"true": "1", "1.0": "1", "false": "0", "0.0": "0"}

UNKNOWN_GENERATOR = "unknown"
"""Generator of generated images whose generator is not known."""

_MOST_SHOWN = 5
_LOOKED_INTO = 20
_LOOKED_AT = 10_000

SOURCE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # a name in SourceList.files, "/" between its parts
        ("label", pa.int8()),
        ("generator", pa.string()),  # "" for real images
        ("group", pa.string()),  # "" where the image stands alone
        ("split", pa.string()),  # "" where it is to be drawn
    ]
)


@dataclass(frozen=True)
class SourceList:
    """Images that a build is asked to take in."""

    files: SourceFiles
    """The files that paths are relative to."""
    table: pa.Table
    """Columns of ``SOURCE_SCHEMA``, sorted by all of them."""
    misnamed: list[str] = field(default_factory=list)
    """Files whose names are not valid UTF-8, with the offending bytes escaped."""
    notes: list[str] = field(default_factory=list)
    """Notes for a person on files that were passed over."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """By path, of files whose stamps came with the listing of a store."""
    groups: GroupList | None = None
    """Groups by the contents of files, beside those of the table."""


def sorted_table(columns: dict[str, list[str] | list[int]]) -> pa.Table:
    """A table of ``SOURCE_SCHEMA`` in its canonical order."""
    table = pa.table(columns, schema=SOURCE_SCHEMA)
    return table.sort_by([(name, "ascending") for name in SOURCE_SCHEMA.names])


def read_folder(files: SourceFiles) -> SourceList:
    """The images under ``real`` and ``generated`` (or ``fake``), at any depth.

    The folder right below ``generated`` names the generator. Raises ``InputError`` where a class
    is missing, ``OSError`` where a folder cannot be read.
    """
    folders, root = files.folders(), files.where("").rstrip("/")
    classes = {name: LABELS[name.lower()] for name in folders if name.lower() in LABELS}
    if not classes:
        raise InputError(_other_layout(files, root, folders))
    columns: dict[str, list] = {name: [] for name in SOURCE_SCHEMA.names}
    misnamed: list[str] = []
    stamps: dict[str, Stamp] = {}
    passed_over, tar = 0, ""
    for folder, label in classes.items():
        for path, stamp in files.walk(folder):
            if PurePosixPath(path).suffix.lower() not in FILE_SUFFIXES:
                passed_over += 1
                tar = tar or (path if path.lower().endswith(".tar") else "")
                continue
            if not _is_utf8(path):
                misnamed.append(path.encode("utf-8", "backslashreplace").decode())
                continue
            columns["path"].append(path)
            columns["label"].append(label)
            columns["generator"].append(_generator(path, label))
            if stamp is not None:
                stamps[path] = stamp
    blank = [""] * len(columns["path"])
    _require_both_classes(root, set(columns["label"]), tar)
    table = sorted_table({**columns, "group": blank, "split": blank})
    notes = _notes(root, set(folders) - set(classes), passed_over)
    return SourceList(files, table, misnamed, notes, stamps)


def _other_layout(files: SourceFiles, root: str, folders: list[str]) -> str:
    """The sentence for a folder without class folders: what it holds, and the remedy."""
    shown = [name for name in folders if not name.startswith(".")]
    held = ", ".join(f"{name}/" for name in shown[:_MOST_SHOWN])
    held += " …" if len(shown) > _MOST_SHOWN else ""
    found = f"{root} has neither a folder real/ nor generated/ (or fake/)" + (f", but {held}" if held else "")
    if tar := _first_tar(files):
        return (
            f"{root} holds tars, such as {tar}, and no images: python -m scripts.index_shards "
            f"{root} makes a data set of tars, and one that build_shards made is one already"
        )
    for name in shown[:_LOOKED_INTO]:
        try:
            inside = [below for below in files.folders(name) if below.lower() in LABELS]
        except OSError:  # advice only
            continue
        if inside:
            return (
                f"{found}, and {name}/ holds {' and '.join(f'{below}/' for below in inside)}: give "
                f"{root}/{name}, or a CSV or Parquet list with a column split for all of them"
            )
    if not held:
        return f"{found}: give the folder that holds both classes, or a CSV or Parquet list with the columns path,label"
    return (
        f"{found}: rename the folders of the two classes, or link them as real/ and generated/ in a "
        "new folder, or give a CSV or Parquet list with the columns path,label"
    )


def _first_tar(files: SourceFiles) -> str:
    """The first tar that lies in a folder of this machine itself: a store would be listed whole."""
    if not isinstance(files, LocalFiles):
        return ""
    try:
        found = (path for path, _ in islice(files.walk(""), _LOOKED_AT))
        return next((p for p in found if "/" not in p and p.lower().endswith(".tar")), "")
    except OSError:  # advice only
        return ""


def _generator(relative: str, label: int) -> str:
    if not label:
        return ""
    parts = relative.split("/")
    return parts[1] if len(parts) > 2 else UNKNOWN_GENERATOR


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes that the file system gave and Python kept as surrogates
        return False
    return True


def _require_both_classes(root: str, labels: set[int], tar: str) -> None:
    if labels == {0, 1}:
        return
    if not labels:
        message = f"{root} has no image files under real/ or generated/"
        if tar:
            message += f", but tars, such as {tar}: python -m scripts.index_shards '{root}/**/*.tar'"
            message += " --out DIR makes a data set of tars"
        raise InputError(message)
    found, other = CLASS_NAMES[min(labels)], CLASS_NAMES[1 - min(labels)]
    raise InputError(f"{root} has {found} images only: a detector needs both, so add images under {other}/")


def _notes(root: str, other_folders: set[str], passed_over: int) -> list[str]:
    notes = []
    others = sorted(name for name in other_folders if not name.startswith("."))
    if others:
        listed = ", ".join(f"{name}/" for name in others[:5]) + (" …" if len(others) > 5 else "")
        notes.append(f"passed over in {root}: {listed} (not real/, generated/ or fake/)")
    if passed_over:
        notes.append(f"passed over {counted(passed_over, 'file')}, no images by name")
    return notes
