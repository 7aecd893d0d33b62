"""Checks whether an archive has already been unpacked beside itself. If so, only the unpacked images are read."""

import os
from collections.abc import Sequence
from pathlib import Path

from shards.cli.wording import counted
from shards.errors import InputError, disk_failed
from shards.files.patience import read_or_end
from shards.images.formats import FILE_SUFFIXES
from shards.images.rejection import RejectedImage
from shards.sources.archives.member import OpenedAs, PackedMember, is_hidden, is_unsafe, read_member
from shards.sources.files import evenly, read_image_file

__all__ = ["is_unpacked"]

_COMPARED = 20
"""Maximum number of members whose bytes are compared. These members are spaced evenly through the archive. Names and
sizes are compared for all members."""
_COMPARED_GZIPPED = 3
"""Maximum for gzipped tars. The first members are used, because reading one decompresses everything before it."""


def is_unpacked(archive: OpenedAs, folder: Path, members: Sequence[tuple[str, PackedMember]]) -> bool:
    """Whether all images of an archive are already unpacked, in ``folder`` or in the folder that holds the archive.

    ``folder`` is the folder named after the archive. If the archive holds no images, all its files are considered
    instead. The names and sizes of all these files are compared, but the bytes of only some of them. If any of these
    bytes differ, the folder is not considered a copy. Raises ``InputError`` if only some of the images have been
    unpacked.
    """
    whole = {name: member for name, member in members if not (member.fault or is_unsafe(name) or is_hidden(name))}
    images = {name: member for name, member in whole.items() if name.lower().endswith(tuple(FILE_SUFFIXES))}
    wanted = images or whole
    for place in (folder, archive.path.parent):
        there = [name for name, member in wanted.items() if _has_size(place / name, member.num_bytes)]
        if not there or not all(_has_bytes(place / name, archive, wanted[name]) for name in _some(there, archive)):
            continue
        if len(there) == len(wanted):
            return True
        raise InputError(
            f"only a part of {archive.path} is unpacked in {place} ({len(there):,} of "
            f"{counted(len(wanted), 'file')}): unpack it again, or move it to a folder of its own to have it read too"
        )
    return False


def _some(names: Sequence[str], archive: OpenedAs) -> Sequence[str]:
    return names[:_COMPARED_GZIPPED] if archive.gzipped else evenly(names, _COMPARED)


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return read_or_end(path, lambda: os.stat(path)).st_size == num_bytes
    except (OSError, ValueError):
        return False


def _has_bytes(path: Path, archive: OpenedAs, member: PackedMember) -> bool:
    """Whether a file has the same bytes as a member; ``False`` if either of them cannot be read.

    Raises ``MachineTrouble`` if the disk fails.
    """
    try:
        return read_image_file(path) == read_member(archive, member)
    except RejectedImage as error:
        if error.reason == "io":
            raise disk_failed(f"{path}, or its copy in {archive.path},", error.detail) from error
        return False
