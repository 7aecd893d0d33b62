"""Lists the contents of a WebDataset tar made elsewhere: the samples, and the names and offsets of their members.

The tar is not trusted and never unpacked. A sample consists of the members that share a key, which is a member's path
up to the first dot in its file name. WebDataset requires a sample's members to be consecutive; this module does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shards.files.tar_headers import member_fault, walk_tar
from shards.images.formats import FILE_SUFFIXES

__all__ = ["BadMember", "TarListing", "TarMember", "TarSample", "is_image_name", "list_tar", "split_name"]


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar."""

    name: str
    offset: int
    """Offset of the file's first byte in the tar."""
    length: int


@dataclass(frozen=True, slots=True)
class TarSample:
    """The members that share a key, as a mapping from lower-case extensions, such as ``jpg`` or ``seg.png``."""

    key: str
    members: dict[str, TarMember]


@dataclass(frozen=True, slots=True)
class BadMember:
    """A member that is left out. ``reason`` is a key of ``shards.images.rejection.REASONS``."""

    name: str
    reason: str
    detail: str


def is_image_name(name: str) -> bool:
    """Whether ``name``, a member's name or extension, ends with an image extension. Case-insensitive."""
    return "." + name.rpartition(".")[2].lower() in FILE_SUFFIXES


@dataclass(slots=True)
class TarListing:
    """The contents of a tar."""

    samples: list[TarSample] = field(default_factory=list)
    """The samples, ordered by the position of their first members in the tar."""
    bad: list[BadMember] = field(default_factory=list)
    passed_over: int = 0
    """Number of files without an extension, which are not part of any sample."""
    unread: list[str] = field(default_factory=list)
    """One note for each fault at the end of the tar: a missing end-of-archive marker, or unread bytes after it."""


def list_tar(path: Path, last_dot: bool = False) -> TarListing:
    """Lists the contents of a tar (ustar, GNU or PAX) from its headers.

    A key extends to the first dot of the file name, or to the last one if ``last_dot`` is true. Links, devices, members
    whose paths point outside the tar, and all images in a sample with a repeated extension are listed as bad. Raises
    ``InputError`` if the file is not a tar, is damaged or is truncated.
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
    """Yields a ``BadMember`` for each image of a sample in which an extension occurs more than once.

    ``again`` holds the names of the members that repeat an extension. If the sample has no image, yields a
    ``BadMember`` for each of these members instead.
    """
    names = [member.name for member in sample.members.values()] + again
    for name in [name for name in names if is_image_name(name)] or again:
        what = "the name occurs twice" if name in again else f"{again[0]} occurs twice"
        yield BadMember(name, "duplicate_key", what)


def split_name(name: str, last_dot: bool = False) -> tuple[str, str]:
    """Splits a member's name into (key, extension) as WebDataset does, or at the last dot if ``last_dot`` is true.

    The extension is ``""`` for a file that is not part of any sample.
    """
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.rpartition(".") if last_dot else base.partition(".")
    if not stem:
        return name, ""
    return folder + slash + stem, extension.lower()
