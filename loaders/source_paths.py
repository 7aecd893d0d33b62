"""From what a person types to images: files, folders, patterns, tars, lists on stdin."""

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loaders.image_sources import FileSource, ImageSource, MemberSource, UnreadableSource
from shards.command import InputError
from shards.dataset import ShardDataset
from shards.image_formats import FILE_SUFFIXES
from shards.json_file import parse_json
from shards.machine_trouble import machine_spared, require_sound_machine
from shards.rejection import RejectedImage
from shards.sidecar import choose_image
from shards.tar_listing import TarSample, list_tar

__all__ = ["FoundImages", "find_images", "row_sources"]

_MAX_JSON_BYTES = 1 << 20


@dataclass
class FoundImages:
    """Images in the order in which they were named; folders and patterns sorted by name."""

    sources: list[ImageSource] = field(default_factory=list)
    passed_over: int = 0
    """Files in folders and members of tars whose names are not those of images."""


def find_images(arguments: Iterable[str], lines: Iterable[bytes] = ()) -> FoundImages:
    """The images that ``arguments`` name: files, folders (searched to the bottom), patterns, tars
    and data sets of shards, ``-`` for the paths in ``lines``, one each.

    Raises ``InputError`` for an argument that names nothing, and for a damaged tar or data set
    that is the only one. A path in ``lines`` that does not exist, a folder that cannot be listed,
    and a damaged tar among others are sources like any other, which say so when they are loaded.
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
        matches = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) else []
        if not matches:
            raise InputError(f"{argument} does not exist: give files, folders, patterns or tars")
        for match in matches:
            _add_or_note(Path(match), found)
    return found


def _add_or_note(path: Path, found: FoundImages) -> None:
    try:
        _add(path, found)
    except InputError as error:
        found.sources.append(UnreadableSource(path, str(error)))


def _add(path: Path, found: FoundImages) -> None:
    # os.path, unlike Path, takes a name that no file can have for one that does not exist.
    if os.path.isdir(path):
        if os.path.isfile(path / "dataset.json"):
            dataset = ShardDataset.open(path)
            found.sources += row_sources(dataset, range(len(dataset)))
        else:
            _add_folder(path, found)
    elif path.suffix.lower() == ".tar" and os.path.isfile(path):
        _add_tar(path, found)
    else:
        found.sources.append(FileSource(path))


def _add_folder(folder: Path, found: FoundImages) -> None:
    """Image files at any depth by name, hidden ones left out; links to folders are not followed."""

    def note(error: OSError) -> None:
        require_sound_machine(error)
        where, why = Path(error.filename or folder), error.strerror or str(error)
        found.sources.append(UnreadableSource(where, f"the folder cannot be listed: {why}"))

    for here, subfolders, files in os.walk(folder, onerror=note):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            if Path(name).suffix.lower() in FILE_SUFFIXES:
                found.sources.append(FileSource(Path(here, name)))
            else:
                found.passed_over += 1


def _add_tar(path: Path, found: FoundImages) -> None:
    """By the manifest, where the tar is a shard of the data set that it lies in."""
    if os.path.isfile(path.parent / "dataset.json"):
        dataset = ShardDataset.open(path.parent)
        if any(shard.name == path.name for shard in dataset.info.shards):
            found.sources += row_sources(dataset, _shard_rows(dataset, path.name))
            return
    listing = list_tar(path)
    found.passed_over += listing.passed_over
    for sample in listing.samples:
        try:
            member = choose_image(sample, (), FILE_SUFFIXES)
        except RejectedImage:
            found.passed_over += 1
            continue
        identity = _SampleIdentity(path, sample)
        found.sources.append(
            MemberSource(path, member.name, member.offset, member.length, identity)
        )


@dataclass(frozen=True)
class _SampleIdentity:
    """The content id in the ``.json`` that ``build_shards`` wrote beside an image, if it did."""

    tar: Path
    sample: TarSample

    def __call__(self) -> int | None:
        member = self.sample.members.get("json")
        if member is None or member.length > _MAX_JSON_BYTES:
            return None
        with machine_spared(self.tar), self.tar.open("rb") as file:
            file.seek(member.offset)
            try:
                facts = parse_json(file.read(member.length))
            except ValueError:
                return None
        known = isinstance(facts, dict) and "pixel_sha256" in facts and facts.get("content_id")
        return known if type(known) is int and -(2**63) <= known < 2**63 else None


def row_sources(dataset: ShardDataset, rows: Iterable[int]) -> list[ImageSource]:
    """The images of manifest rows, in their order."""
    codes, shards = dataset.codes("shard")
    names = ("sample_key", "image_offset", "image_length", "content_id", "source_path")
    key, offset, length, identity, source_path = (dataset.column(name) for name in names)
    return [
        MemberSource(
            dataset.shard_path(shards[codes[row]]), f"{key[row]} ({source_path[row]})",
            int(offset[row]), int(length[row]), int(identity[row]), dataset, int(row),
        )
        for row in rows
    ]  # fmt: skip


def _shard_rows(dataset: ShardDataset, shard: str) -> Iterable[int]:
    codes, shards = dataset.codes("shard")
    return np.flatnonzero(codes == shards.index(shard)) if shard in shards else []
