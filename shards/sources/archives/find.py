"""Finds the archives among a source's files, and decides which to read, skip or reject."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from shards.cli.wording import counted
from shards.errors import InputError, require_sound_machine
from shards.files.archives import archive_kind, unpack_first
from shards.sources.archives.files import Archive, PackedFiles
from shards.sources.archives.member import OpenedAs, PackedMember, is_hidden, is_unsafe, plain_name
from shards.sources.archives.tar_listing import list_tar_members
from shards.sources.archives.unpacked import is_unpacked
from shards.sources.archives.zip_listing import has_zip_end, join_parts, list_zip
from shards.sources.files import Stamp

__all__ = ["FoundArchives", "is_archive_name", "open_archive", "without_archive_suffix"]

_GZIPPED = (".tar.gz", ".tgz")
_PART = re.compile(r"\.(z\d{2,}|zip\.\d{3,})$", re.IGNORECASE)
_ARCHIVE = re.compile(
    r"\.(tar\.gz|tgz|zip|tar|7z|rar|tar\.bz2|tbz2|tar\.xz|txz|tar\.zst|tzst|tar\.lz4|z\d{2,}|zip\.\d{3,})$",
    re.IGNORECASE,
)

Members = Sequence[tuple[str, PackedMember]]


def is_archive_name(name: str) -> bool:
    """Whether ``name`` ends with an archive suffix, such as ``.zip``, or that of a split-archive part."""
    return _ARCHIVE.search(name) is not None


def without_archive_suffix(name: str) -> str:
    """An archive's name without its suffix: ``ai.tar.gz`` → ``ai``, ``ai.z01`` → ``ai``."""
    return _ARCHIVE.sub("", name)


def open_archive(path: Path, name: str, notes: list[str]) -> tuple[Archive, Members] | None:
    """Opens the archive ``path`` and lists its members.

    ``name`` is the archive's path within the source. Notes for the user are appended to ``notes``. Returns ``None`` if
    the file is not really an archive, or if it is a tar of labelled samples. Raises ``InputError`` if the archive is
    split, encrypted or damaged, or if its format is neither zip nor tar (plain or gzipped).
    """
    plain = path.name.lower()
    if _PART.search(plain) or (plain.endswith(".zip") and _has_parts(path)):
        raise InputError(join_parts(path))
    status = os.stat(path)
    stamp = (status.st_size, status.st_mtime_ns)
    opened = OpenedAs(path, stamp)
    kind = archive_kind(path) or ("zip" if plain.endswith(".zip") and has_zip_end(path) else "")
    if kind == "zip":
        return Archive(opened, opened), list_zip(path, name)
    if kind == "tar" or (kind == "gzip" and plain.endswith(_GZIPPED)):
        members = list_tar_members(path, name, notes, gzipped=kind == "gzip")
        if members is None:
            return None
        opened = OpenedAs(path, stamp, gzipped=kind == "gzip")
        end = max((member.start + member.num_bytes for _, member in members), default=0)
        return Archive(opened, opened, end), members
    if kind:
        raise InputError(unpack_first(path, kind, "a folder"))
    return None


def _has_parts(path: Path) -> bool:
    """Whether ``path`` is the last part of a split zip, judging by whether the first part is beside it."""
    return any(path.with_suffix(suffix).exists() for suffix in (".z01", ".Z01"))


@dataclass
class FoundArchives:
    """The archives below the folder ``root``. If ``root`` is itself an archive, it is the only one, named ``""``."""

    root: Path
    archives: dict[str, Archive] = field(default_factory=dict)
    members: dict[str, PackedMember] = field(default_factory=dict)
    unpacked: list[str] = field(default_factory=list)
    """Archives that are skipped because their unpacked contents are beside them."""
    unread: list[str] = field(default_factory=list)
    """Archives that cannot be read, and are skipped because there is a folder with the same name beside them."""
    ends: list[str] = field(default_factory=list)
    """Notes on tars without an end-of-archive marker, or with unread bytes after it."""

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about skipped archives, and about tars with a missing or unexpected end."""
        notes = list(self.ends)
        if self.unpacked:
            count, first = counted(len(self.unpacked), "archive"), self.unpacked[0]
            notes.append(f"skipped {count} whose unpacked files are beside it, for example {first}")
        if self.unread:
            count, first = counted(len(self.unread), "archive"), self.unread[0]
            notes.append(
                f"skipped {count} that cannot be read here, but with a folder of the same name beside it, for example "
                f"{first}: check that all of its files are in that folder"
            )
        return notes

    @property
    def files(self) -> PackedFiles:
        """The files below the folder, including the members of all archives that are read."""
        return PackedFiles(self.root, self.archives, self.members)

    def opened_among(self, listed: Iterable[tuple[str, Stamp | None]]) -> Iterator[tuple[str, Stamp | None]]:
        """Yields the ``listed`` files, with each archive replaced by its members. Skipped archives are left out.

        Raises the same errors as :meth:`take`.
        """
        for path, stamp in listed:
            names = self.take(path) if is_archive_name(path) else None
            yield from [(path, stamp)] if names is None else ((name, None) for name in names)

    def take(self, name: str) -> list[str] | None:
        """Opens the archive ``name`` and returns the names of the files in it, or ``None`` if it is not an archive.

        Returns ``[]`` if the archive is skipped: because its unpacked files are beside it, or because it is unreadable
        and a folder with the same name is beside it. Otherwise raises the same errors as :func:`open_archive`, and
        ``InputError`` if only some of the archive's files have been unpacked.
        """
        path = self.root / name if name else self.root
        try:
            found = open_archive(path, name, self.ends)
        except OSError as error:
            require_sound_machine(error, path)
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except InputError:
            if name and path.with_name(without_archive_suffix(path.name)).is_dir():
                self.unread.append(name)
                return []
            raise
        if found is None:
            return None
        archive, members = found
        if name and is_unpacked(archive.opened, path.with_name(without_archive_suffix(path.name)), members):
            self.unpacked.append(name)
            return []
        self.archives[name] = archive
        return self._add(name, members)

    def _add(self, archive: str, members: Members) -> list[str]:
        names = [name if is_unsafe(name) else plain_name(name) for name, _ in members]
        counts = Counter(names)
        for name, (_, member) in zip(names, members, strict=True):
            if not is_unsafe(name) and is_hidden(name):
                del counts[name]
                continue
            if counts[name] > 1:
                member = replace(member, fault=("duplicate_key", f"{counts[name]} files of the archive have this name"))
            self.members[f"{archive}/{name}" if archive else name] = member
        return [f"{archive}/{name}" if archive else name for name in counts]
