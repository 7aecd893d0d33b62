"""Lists the members of plain or gzipped tars whose folder names give the image classes.

Tars of labelled samples are indexed by ``shards.adopt`` instead.
"""

import posixpath
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from shards.errors import InputError
from shards.files.limits import limit
from shards.files.tar_headers import member_fault, walk_tar
from shards.images.formats import FILE_SUFFIXES
from shards.sources.archives.member import PackedMember, is_unsafe, plain_name

__all__ = ["list_tar_members"]

_LABEL_SUFFIXES = (".cls", ".json")
_LOOKED_AT = 1000
"""Number of members at the start of a tar to examine. If they are labelled samples, the rest is not listed."""

Members = list[tuple[str, PackedMember]]


def list_tar_members(path: Path, archive: str, notes: list[str], *, gzipped: bool = False) -> Members | None:
    """Lists the files in a tar as (name, member), in order. Returns ``None`` if it holds labelled WebDataset samples.

    A hard link is treated as the file to which it refers. A member's ``fault`` says why it must not be read. If the
    end-of-archive marker is missing or has unread bytes after it, a note is appended to ``notes``. Raises
    ``InputError`` if the tar is damaged, truncated or has too many files.
    """
    unread: list[str] = []
    walked = _members(path, archive, unread, gzipped)
    found = list(islice(walked, _LOOKED_AT))
    if _are_samples(found):
        return None
    found += walked
    if _are_samples(found):
        return None
    notes += [f"{path}: {note}" for note in unread]
    return found


def _members(path: Path, archive: str, unread: list[str], gzipped: bool) -> Iterator[tuple[str, PackedMember]]:
    most, count = limit("MAX_LIST_ROWS"), 0
    by_name: dict[str, PackedMember] = {}
    for info in walk_tar(path, unread, gzipped=gzipped):
        if info.isdir():
            continue
        if (count := count + 1) > most:
            raise InputError(f"{path} lists more files than GLASS_MAX_LIST_ROWS={most}: unpack it to a folder first")
        linked = by_name.get(plain_name(info.linkname)) if info.islnk() and not is_unsafe(info.name) else None
        reason, detail = member_fault(info)
        if linked is not None:
            member = linked
        elif reason:
            member = PackedMember(archive, 0, 0, 0, fault=(reason, detail))
        else:
            member = PackedMember(archive, info.offset_data, info.size, info.size)
        by_name[plain_name(info.name)] = member
        yield info.name, member


def _are_samples(members: Members) -> bool:
    """Whether more than half of the images have a ``.cls`` or ``.json`` member with the same key."""
    images, labels = [], set()
    for name, _ in members:
        folder, _, base = name.rpartition("/")
        key, suffix = (folder, base.partition(".")[0]), posixpath.splitext(base)[1].lower()
        if suffix in FILE_SUFFIXES:
            images.append(key)
        elif suffix in _LABEL_SUFFIXES:
            labels.add(key)
    return bool(images) and 2 * sum(key in labels for key in images) > len(images)
