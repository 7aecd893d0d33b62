"""What a WebDataset tar holds that was made elsewhere: samples, their members and where they lie.

The tar is not trusted and never unpacked. A sample is what shares a key, the name up to the first
dot of its last part; its members need not be neighbours here.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from shards.command import InputError
from shards.limits import limit
from shards.machine_trouble import require_sound_machine
from shards.regular_file import require_regular

__all__ = ["BadMember", "TarListing", "TarMember", "TarSample", "list_tar", "walk_tar"]

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
    for info in walk_tar(path):
        if info.isdir():
            continue
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


def walk_tar(path: Path) -> Iterator[tarfile.TarInfo]:
    """The headers of all members, one after the other, none kept. Raises ``InputError``.

    Python's ``tarfile`` trusts sizes: a negative one makes it walk in circles, and a long name may
    claim gigabytes. So sizes are looked at, and headers are read through a limit.
    """
    try:
        require_regular(path)
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            packer = _COMPRESSED.get(file.read(2))
        if packer:
            raise InputError(
                f"{path} is compressed with {packer}: unpack it to a plain .tar first, because "
                "compressed members cannot be read by their places"
            )
        with _HeaderFile(path) as headers, tarfile.open(fileobj=headers, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else it keeps every header of a tar of millions
                if info.size < 0:
                    raise tarfile.ReadError(f"a member of {info.size} bytes")
                if info.offset_data + info.size > num_bytes:
                    raise InputError(f"{path} is cut off inside {info.name}: fetch it again")
                yield info
    except OSError as error:
        require_sound_machine(error, path)
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, TypeError,
            RecursionError) as error:  # fmt: skip  # tarfile's own, on headers that make no sense
        raise InputError(
            f"{path} is no tar or is cut off ({error}): fetch it again or leave it out"
        ) from error


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
