"""A build's source files in a folder, in the archives within that folder, or in a single archive.

Members of zips and plain tars are read directly, at offsets that are listed once. A gzipped tar can only be read from
the beginning, so it is first unpacked to a plain tar in the output folder.
"""

import gzip
import hashlib
import os
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self

from shards.errors import InputError, machine_spared
from shards.files.atomic import atomic_path
from shards.files.regular_file import open_regular
from shards.sources.archives.member import OpenedAs, PackedMember, read_member
from shards.sources.files import LocalFiles, Stamp, evenly
from shards.sources.scratch import open_scratch, require_room

__all__ = ["Archive", "PackedFiles"]

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip or tar among a source's files."""

    found: OpenedAs
    opened: OpenedAs
    """The file from which its members are read: the archive itself, or the plain tar to which it was unpacked."""
    num_unpacked: int = 0
    """Size of the unpacked tar in bytes, up to the end of its last member; 0 for a zip."""


@dataclass(frozen=True, slots=True)
class PackedFiles:
    """The files below a folder, including the members of archives in it, such as ``train/ai.zip/a.jpg``.

    If ``root`` is itself an archive, only its members are included, and its key in ``archives`` is ``""``.
    """

    root: Path
    archives: Mapping[str, Archive]
    members: Mapping[str, PackedMember]
    """Maps paths within the source to members."""

    @property
    def _loose(self) -> LocalFiles:
        return LocalFiles(self.root)

    @property
    def at_once(self) -> int:
        return 0

    def where(self, name: str) -> str:
        return self._loose.where(name)

    def folders(self, folder: str = "") -> list[str]:
        start = f"{folder}/" if folder else ""
        below = (name[len(start) :] for name in self.members if name.startswith(start))
        inside = {name.partition("/")[0] for name in below if "/" in name}
        return sorted(inside.union([] if "" in self.archives else self._loose.folders(folder)))

    def walk(self, folder: str) -> Iterator[tuple[str, Stamp | None]]:
        if "" not in self.archives:
            yield from ((name, None) for name, _ in self._loose.walk(folder) if name not in self.archives)
        start = f"{folder}/" if folder else ""
        yield from ((name, None) for name in self.members if name.startswith(start))

    def read(self, name: str) -> bytes:
        member = self.members.get(name)
        if member is None:
            return self._loose.read(name)
        return read_member(self.archives[member.archive].opened, member)

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        return map(self.read, names)

    def stamp(self, name: str) -> Stamp | None:
        return None if name in self.members else self._loose.stamp(name)

    def stamps(self, names: Sequence[str]) -> Iterable[Stamp | None]:
        return map(self.stamp, names)

    def has_any(self, names: Sequence[str]) -> bool:
        return any(name in self.members or self._loose.has_any([name]) for name in names)

    def samples(self, names: Sequence[str], most: int) -> list[str]:
        """See :meth:`SourceFiles.samples`.

        Prefers early members of gzipped tars, because reading a member unpacks everything before it.
        """
        gzipped = {name for name, archive in self.archives.items() if archive.opened.gzipped}
        members = {name: self.members[name] for name in names if name in self.members}
        late = sorted((m.start, name) for name, m in members.items() if m.archive in gzipped)[most // 2 :]
        left_out = {name for _, name in late}
        return evenly([name for name in names if name not in left_out], most)

    def containers(self) -> dict[str, Stamp]:
        return {name: archive.found.stamp for name, archive in self.archives.items()}

    def only(self, names: Sequence[str]) -> Self:
        members = {name: self.members[name] for name in names if name in self.members}
        used = {member.archive for member in members.values()}
        return replace(self, members=members, archives={name: self.archives[name] for name in used})

    def prepared(self, out: Path, advance: Callable[[int], object]) -> Self:
        packed = {name: archive for name, archive in self.archives.items() if archive.opened.gzipped}
        if not packed:
            return self
        scratch = open_scratch(out)
        missing = [archive for archive in packed.values() if not _path_of(archive, scratch).exists()]
        require_room(scratch, sum(archive.num_unpacked for archive in missing), "the .tar.gz")
        done = dict(self.archives)
        for name, archive in packed.items():
            ends = sorted(m.start + m.num_bytes for m in self.members.values() if m.archive == name)
            done[name] = replace(archive, opened=_unpacked(archive, scratch, ends, advance))
        return replace(self, archives=done)


def _path_of(archive: Archive, scratch: Path) -> Path:
    """Returns where an archive is unpacked. The path depends on the stamp, so a modified archive is unpacked again."""
    text = f"{archive.found.path.absolute()}\0{archive.found.stamp}"
    return scratch / f"{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.tar"


def _unpacked(archive: Archive, scratch: Path, ends: Sequence[int], advance: Callable[[int], object]) -> OpenedAs:
    """Unpacks a gzipped tar to a plain tar in ``scratch``, unless an earlier run did so. Returns the plain tar."""
    path, source = _path_of(archive, scratch), archive.found.path
    if not path.exists():
        try:
            with machine_spared(source), atomic_path(path) as temporary, temporary.open("wb") as plain:
                _copy(source, plain, archive.num_unpacked, ends, advance)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{source} is damaged or cut off ({error}): download it again") from error
    status = os.stat(path)
    return OpenedAs(path, (status.st_size, status.st_mtime_ns))


def _copy(source: Path, plain: BinaryIO, length: int, ends: Sequence[int], advance: Callable[[int], object]) -> None:
    """Decompresses the tar ``source``, and writes the first ``length`` decompressed bytes to ``plain``.

    ``ends`` holds the sorted offsets in ``plain`` at which members end. ``advance`` is called after each step with the
    number of members that the step completed.
    """
    written = 0
    with open_regular(source) as file, gzip.GzipFile(fileobj=file) as packed:
        while piece := packed.read(min(length - written, _PIECE_BYTES)):
            plain.write(piece)
            advance(bisect_right(ends, written + len(piece)) - bisect_right(ends, written))
            written += len(piece)
    if written < length:
        raise EOFError("it became shorter while it was read")
