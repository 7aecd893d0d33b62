"""The contents of a WebDataset tar made elsewhere: samples, their members and where they lie.

The tar is not trusted and never unpacked. A sample is what shares a key, the name up to the first
dot of its last part; its members need not be neighbours here.
"""

import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from shards.cli.wording import counted
from shards.errors import InputError, require_sound_machine
from shards.files.archives import compressed_with, unpack_first
from shards.files.limits import limit
from shards.files.patience import read_or_end
from shards.files.regular_file import open_regular
from shards.images.formats import FILE_SUFFIXES

__all__ = [
    "BadMember",
    "TarListing",
    "TarMember",
    "TarSample",
    "is_image_name",
    "list_tar",
    "member_fault",
    "split_name",
    "walk_tar",
]

_RECORD_BYTES = 1 << 20
"""Zeros that may fill up the last record of a tar; GNU tar writes 10 kB by default."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar."""

    name: str
    offset: int
    """Offset of its first byte in the tar."""
    length: int


@dataclass(frozen=True, slots=True)
class TarSample:
    """Members that share a key, by extension in lower case: ``jpg``, ``cls``, ``seg.png``."""

    key: str
    members: dict[str, TarMember]


@dataclass(frozen=True, slots=True)
class BadMember:
    """A member that is left out; ``reason`` is a key of ``shards.images.rejection.REASONS``."""

    name: str
    reason: str
    detail: str


def is_image_name(name: str) -> bool:
    """Whether a member or an extension is, by what stands behind its last dot, an image."""
    return "." + name.rpartition(".")[2].lower() in FILE_SUFFIXES


@dataclass(slots=True)
class TarListing:
    """The contents of a tar."""

    samples: list[TarSample] = field(default_factory=list)
    """In the order of their first members."""
    bad: list[BadMember] = field(default_factory=list)
    passed_over: int = 0
    """Files without an extension, which belong to no sample."""
    unread: list[str] = field(default_factory=list)
    """Notes on the tar's end, a sentence each: bytes behind it, no mark."""


def list_tar(path: Path, last_dot: bool = False) -> TarListing:
    """Walks through the headers of a tar (ustar, GNU or PAX).

    A key ends at the first dot of a name, or at its last one with ``last_dot``. Links, devices, and
    names that lead out of the tar are bad members, and so is all of a sample of which a name comes
    twice. Raises ``InputError`` where the file is no tar, is damaged or cut off.
    """
    listing = TarListing()
    samples: dict[str, TarSample] = {}
    twice: dict[str, list[str]] = {}
    for info in walk_tar(path, listing.unread):
        if info.isdir():
            continue
        reason, detail = member_fault(info)
        if reason:
            name = info.name.encode("utf-8", "backslashreplace").decode()
            listing.bad.append(BadMember(name, reason, detail))
            continue
        key, extension = split_name(info.name, last_dot)
        if not extension:
            listing.passed_over += 1
            continue
        sample = samples.setdefault(key, TarSample(key, {}))
        if extension in sample.members:
            twice.setdefault(key, []).append(info.name)
        else:
            sample.members[extension] = TarMember(info.name, info.offset_data, info.size)
    for key, names in twice.items():
        listing.bad += _doubled(samples.pop(key), names)
    listing.samples = list(samples.values())
    return listing


def _doubled(sample: TarSample, again: list[str]) -> Iterator[BadMember]:
    """The images of a sample of which the names ``again`` came a second time, each counted; where
    none is an image, those names."""
    names = [member.name for member in sample.members.values()] + again
    for name in [name for name in names if is_image_name(name)] or again:
        what = "the name comes twice" if name in again else f"{again[0]} comes twice"
        yield BadMember(name, "duplicate_key", what)


def _size_and_beginning(path: Path) -> tuple[int, bytes]:
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size, file.read(8)


def walk_tar(path: Path, unread: list[str] | None = None) -> Iterator[tarfile.TarInfo]:
    """The headers of all members, one after the other, none kept. Raises ``InputError``.

    A note on the tar's end is added to ``unread``. Python's ``tarfile`` trusts
    sizes: a negative one makes it walk in circles, and a long name may claim gigabytes. So sizes
    are looked at, and headers are read through a limit. And it takes a header that makes no sense
    for the end of the tar, so what stands there is looked at as well.
    """
    try:
        num_bytes, beginning = read_or_end(path, lambda: _size_and_beginning(path))
        if packer := compressed_with(beginning):
            raise InputError(unpack_first(path, packer, "a plain .tar"))
        with _HeaderFile(path) as headers, tarfile.open(fileobj=headers, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else it keeps every header of a tar of millions
                if info.size < 0:
                    raise tarfile.ReadError(f"a member of {info.size} bytes")
                if info.offset_data + _stored_bytes(tar, info) > num_bytes:
                    raise InputError(f"{path} is cut off inside {info.name}: fetch it again")
                yield info
            note = _end_of(path, tar.offset, num_bytes)
            if note and unread is not None:
                unread.append(note)
    except OSError as error:
        require_sound_machine(error, path)
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    # tarfile's own, on headers that make no sense
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is no tar or is cut off ({error}): fetch it again or leave it out") from error


def _stored_bytes(tar: tarfile.TarFile, info: tarfile.TarInfo) -> int:
    """How many bytes a member takes in the tar, at least: a sparse one takes fewer."""
    if not info.issparse():
        return info.size
    return max(tar.offset - info.offset_data - tarfile.BLOCKSIZE + 1, 0)


def _end_of(path: Path, offset: int, num_bytes: int) -> str:
    """A note on a tar whose last member ends at ``offset``, empty for a sound one.

    Raises ``InputError`` where a damaged header stands there.
    """
    if offset >= num_bytes:
        return (
            "it has no end mark, so it may have been cut off behind its last member: compare it with where it came from"
        )
    with open_regular(path) as file:
        file.seek(offset)
        block = file.read(tarfile.BLOCKSIZE)
        if block.strip(b"\0"):
            raise InputError(
                f"{path} is damaged at byte {offset:,}, where no member begins and the tar does not"
                " end: fetch it again or leave it out"
            )
        rest = num_bytes - file.tell()
        if rest <= _RECORD_BYTES and not file.read(rest).strip(b"\0"):
            return ""
    return (
        f"{counted(num_bytes - offset, 'byte')} behind its end were not read: where tars were "
        "joined by cat, give each by itself or join them with tar -A"
    )


class _HeaderFile(io.FileIO):
    """A file of which only headers are read: whatever asks for more is refused."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._most = limit("MAX_TAR_HEADER_BYTES")

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self._most:
            raise tarfile.ReadError("a header larger than GLASS_MAX_TAR_HEADER_BYTES")
        data = cast(bytes, super().read(size))
        # tarfile searches PAX records by an expression that takes quadratic time over digits.
        if size > tarfile.BLOCKSIZE and _LONG_NUMBER.search(data):
            raise tarfile.ReadError("a header with a number of hundreds of digits")
        return data


_LONG_NUMBER = re.compile(rb"\d{256}")


def member_fault(info: tarfile.TarInfo) -> tuple[str, str]:
    """(reason, detail), empty for a member that is fine."""
    if info.issparse():
        return "unsafe_member", "stored as a sparse file, in pieces: pack the tar without --sparse"
    if not info.isreg():
        return "unsafe_member", "a link, a device or a pipe"
    parts = info.name.split("/")
    if info.name.startswith("/") or ".." in parts or "\0" in info.name:
        return "unsafe_member", "the name leads out of the tar"
    try:
        info.name.encode("utf-8")
    except UnicodeEncodeError:
        return "file_name", ""
    return "", ""


def split_name(name: str, last_dot: bool = False) -> tuple[str, str]:
    """(key, extension) as WebDataset has them, or with ``last_dot`` at the last dot; no extension
    where the file belongs to no sample."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.rpartition(".") if last_dot else base.partition(".")
    if not stem:
        return name, ""
    return folder + slash + stem, extension.lower()
