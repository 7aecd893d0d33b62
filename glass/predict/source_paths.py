"""Finds the images that a user names on the command line: as files, folders, patterns, tars or a list on stdin."""

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from glass.predict.image_sources import FileSource, ImageSource, MemberSource, UnreadableSource
from glass.predict.tar_sources import images_of_tar
from shards.cli.shown_url import as_url, shown_url
from shards.errors import InputError, require_sound_machine
from shards.files.archives import archive_kind, unpack_first
from shards.files.folder_walk import walk_folder
from shards.images.formats import FILE_SUFFIXES
from shards.manifest.dataset import ShardDataset

__all__ = ["FoundImages", "find_images", "row_sources"]


@dataclass
class FoundImages:
    """The images found, in the order of the user's arguments. Images from one folder or pattern are sorted by name."""

    sources: list[ImageSource] = field(default_factory=list)
    passed_over: int = 0
    """Number of files in folders and tars that were skipped because they lack an image extension."""


def find_images(arguments: Iterable[str], lines: Iterable[bytes] = ()) -> FoundImages:
    """Finds the images that ``arguments`` name.

    An argument is a file, a folder (searched recursively), a pattern, a tar, a sharded data set, or ``-`` for the paths
    in ``lines``, one per line. Raises ``InputError`` if an argument matches nothing, or if the only argument is a
    damaged tar or data set. Other faults become sources that raise when loaded:

    * a path in ``lines`` that does not exist;
    * a folder that cannot be listed;
    * a damaged tar or data set among several arguments.
    """
    found, arguments = FoundImages(), list(arguments)
    for argument in arguments:
        if argument == "-":
            for line in lines:
                if path := line.rstrip(b"\r\n"):
                    _add_or_note(Path(os.fsdecode(path)), found)
            continue
        if os.path.lexists(argument):
            add = _add if len(arguments) == 1 else _add_or_note
            add(Path(argument), found)
            continue
        matches = _matching(argument)
        if not matches:
            if as_url(argument) is not None:
                raise InputError(f"{shown_url(argument)} is an address: download it, and give the local copy")
            raise InputError(f"{argument} does not exist: give files, folders, patterns or tars")
        for match in matches:
            _add_or_note(Path(match), found)
    return found


def _matching(pattern: str) -> list[str]:
    try:
        return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
    except RecursionError:
        raise InputError(f"{pattern} matches too many folders: give the folder instead of the pattern") from None


def _add_or_note(path: Path, found: FoundImages) -> None:
    try:
        _add(path, found)
    except InputError as error:
        found.sources.append(UnreadableSource(path, str(error)))


def _add(path: Path, found: FoundImages) -> None:
    # os.path returns False for a name that no file can have, where Path raises.
    if os.path.isdir(path):
        if os.path.isfile(path / "dataset.json"):
            dataset = ShardDataset.open(path)
            found.sources += row_sources(dataset, range(len(dataset)))
        else:
            _add_folder(path, found)
    elif _is_tar(path):
        _add_tar(path, found)
    else:
        found.sources.append(FileSource(path))


def _add_folder(folder: Path, found: FoundImages) -> None:
    """Adds the image files in ``folder`` and its subfolders, sorted by name. Hidden files are left out, and links to
    folders are followed."""

    def note(error: OSError) -> None:
        require_sound_machine(error)
        where, why = Path(error.filename or folder), error.strerror or str(error)
        found.sources.append(UnreadableSource(where, f"the folder cannot be listed: {why}"))

    for here, files in walk_folder(folder, note):
        for name in files:
            if Path(name).suffix.lower() in FILE_SUFFIXES:
                found.sources.append(FileSource(Path(here, name)))
            else:
                found.passed_over += 1


def _is_tar(path: Path) -> bool:
    """Whether a file is a tar, judging by its name or its first bytes.

    Raises ``InputError`` for any other kind of archive, which must be unpacked first.
    """
    suffix = path.suffix.lower()
    if not os.path.isfile(path) or suffix in FILE_SUFFIXES:
        return False
    kind = archive_kind(path)
    if kind not in ("", "tar"):
        raise InputError(unpack_first(path, kind, "a folder"))
    return suffix == ".tar" or kind == "tar"


def _add_tar(path: Path, found: FoundImages) -> None:
    """Adds the images in a tar. If the tar is a shard of the data set in its folder, uses the manifest."""
    dataset = _dataset_of(path)
    shard = None if dataset is None else next((shard for shard in dataset.info.shards if shard.name == path.name), None)
    if dataset is None or shard is None:
        images = images_of_tar(path)
        found.passed_over += images.passed_over
        found.sources += images.sources
        return
    rows = row_sources(dataset, _shard_rows(dataset, path.name))
    found.sources += _with_the_rest(path, rows, found) if shard.sidecar else rows


def _dataset_of(path: Path) -> ShardDataset | None:
    inside = os.path.isfile(path.parent / "dataset.json")
    return ShardDataset.open(path.parent) if inside else None


def _with_the_rest(path: Path, rows: list[ImageSource], found: FoundImages) -> list[ImageSource]:
    """Returns all images in an indexed tar that was made elsewhere: those in the manifest (``rows``), then all others.

    The index left out those others, for example because they have no label.
    """
    try:
        images = images_of_tar(path)
    except InputError as error:  # the manifest still has offsets and checksums
        return [*rows, UnreadableSource(path, str(error))]
    found.passed_over += images.passed_over
    indexed = {source.offset for source in rows if isinstance(source, MemberSource)}
    rest = [s for s in images.sources if not (isinstance(s, MemberSource) and s.offset in indexed)]
    return [*rows, *rest]


def row_sources(dataset: ShardDataset, rows: Iterable[int]) -> list[ImageSource]:
    """The sources for the images in these manifest ``rows``, in the given order."""
    codes, shards = dataset.codes("shard")
    names = ("sample_key", "image_offset", "image_length", "content_id", "source_path", "stored_as", "image_crc32")
    columns = (dataset.column(name) for name in names)
    key, offset, length, identity, source_path, form, crc32 = columns
    return [
        MemberSource(
            tar=dataset.shard_path(shards[codes[row]]),
            member=f"{key[row]} ({source_path[row]})",
            offset=int(offset[row]),
            length=int(length[row]),
            identity=int(identity[row]),
            converted=form[row] == "baseline",
            dataset=dataset,
            row=int(row),
            crc32=int(crc32[row]),
        )
        for row in rows
    ]


def _shard_rows(dataset: ShardDataset, shard: str) -> Iterable[int]:
    codes, shards = dataset.codes("shard")
    return np.flatnonzero(codes == shards.index(shard)) if shard in shards else []
