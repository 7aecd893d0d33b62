"""What a WebDataset tar holds that was made elsewhere: samples, their members and where they lie.

The tar is not trusted and never unpacked. A sample is what shares a key, the name up to the first
dot of its last part; its members need not be neighbours here.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shards.command import InputError

__all__ = ["BadMember", "TarListing", "TarMember", "TarSample", "list_tar"]

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar."""

    name: str
    offset: int
    """Of its first byte in the tar."""
    length: int


@dataclass(frozen=True, slots=True)
class TarSample:
    """Members that share a key, by extension in lower case: ``jpg``, ``cls``, ``seg.png``."""

    key: str
    members: dict[str, TarMember]


@dataclass(frozen=True, slots=True)
class BadMember:
    """A member that is left out; ``reason`` is a key of ``shards.rejection.REASONS``."""

    name: str
    reason: str
    detail: str


@dataclass(slots=True)
class TarListing:
    """The contents of a tar."""

    samples: list[TarSample] = field(default_factory=list)
    """In the order of their first members."""
    bad: list[BadMember] = field(default_factory=list)
    passed_over: int = 0
    """Files without an extension, which belong to no sample."""


def list_tar(path: Path) -> TarListing:
    """Walks through the headers of a tar (ustar, GNU or PAX).

    Links, devices, and names that lead out of the tar are bad members, and so are names that come
    twice, together with the sample they belong to. Raises ``InputError`` where the file is no tar
    or is cut off.
    """
    listing = TarListing()
    samples: dict[str, TarSample] = {}
    twice: set[str] = set()
    for info in _walk(path):
        reason, detail = _fault(info)
        if reason:
            name = info.name.encode("utf-8", "backslashreplace").decode()
            listing.bad.append(BadMember(name, reason, detail))
            continue
        key, extension = _split_name(info.name)
        if not extension:
            listing.passed_over += 1
            continue
        sample = samples.setdefault(key, TarSample(key, {}))
        if extension in sample.members:
            twice.add(key)
            listing.bad.append(BadMember(info.name, "duplicate_key", "the name comes twice"))
        sample.members[extension] = TarMember(info.name, info.offset_data, info.size)
    listing.samples = [sample for key, sample in samples.items() if key not in twice]
    return listing


def _walk(path: Path) -> Iterator[tarfile.TarInfo]:
    """All members but folders. Raises ``InputError``."""
    try:
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            packer = _COMPRESSED.get(file.read(2))
        if packer:
            raise InputError(
                f"{path} is compressed with {packer}: unpack it to a plain .tar first, because "
                "compressed members cannot be read by their places"
            )
        with tarfile.open(path, "r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else it keeps every header of a tar of millions
                if info.offset_data + info.size > num_bytes:
                    raise InputError(f"{path} is cut off inside {info.name}: fetch it again")
                if not info.isdir():
                    yield info
    except tarfile.TarError as error:
        raise InputError(
            f"{path} is no tar or is cut off ({error}): fetch it again or leave it out"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _fault(info: tarfile.TarInfo) -> tuple[str, str]:
    """(reason, detail), empty for a member that is fine."""
    if not info.isreg() or info.issparse():
        return "unsafe_member", "a link, a device or a sparse file"
    parts = info.name.split("/")
    if info.name.startswith("/") or ".." in parts or "\0" in info.name:
        return "unsafe_member", "the name leads out of the tar"
    try:
        info.name.encode("utf-8")
    except UnicodeEncodeError:
        return "file_name", ""
    return "", ""


def _split_name(name: str) -> tuple[str, str]:
    """(key, extension) as WebDataset has them; no extension where the file belongs to no sample."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    if not stem:
        return name, ""
    return folder + slash + stem, extension.lower()
