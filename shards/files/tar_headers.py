"""Reads the headers of an untrusted tar one by one, without unpacking it.

Python's ``tarfile`` trusts sizes: a negative one makes it loop, and a long name may claim gigabytes. So sizes are
checked here, and the length of a header is limited. ``tarfile`` also mistakes an invalid header for the end of the tar,
so the bytes after the last member are checked as well.
"""

import gzip
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from shards.cli.wording import counted
from shards.errors import InputError, require_sound_machine
from shards.files.archives import compressed_with, unpack_first
from shards.files.limits import limit
from shards.files.patience import read_or_end
from shards.files.regular_file import open_regular

__all__ = ["member_fault", "most_unpacked", "walk_tar"]

_RECORD_BYTES = 1 << 20
"""Maximum number of zero bytes that may follow the end of a tar, filling its last record. GNU tar writes 10 kB records
by default."""

_UNPACKED_FREELY = 64 << 20
"""Any compressed file, however small, may unpack to this many bytes."""


def most_unpacked(num_packed: int) -> int:
    """Returns the maximum number of bytes that ``num_packed`` bytes may unpack to.

    Images are already compressed, so a higher ratio indicates a decompression bomb.
    """
    return max(_UNPACKED_FREELY, limit("MAX_UNPACKED_RATIO") * num_packed)


def walk_tar(path: Path, unread: list[str] | None = None, *, gzipped: bool = False) -> Iterator[tarfile.TarInfo]:
    """Yields all member headers in tar order, keeping none in memory.

    If ``gzipped`` is set, the tar may be gzip-compressed; offsets then refer to the uncompressed tar. Appends a note
    for the user to ``unread`` if the end-of-archive marker is missing or is followed by unread bytes.

    Raises ``InputError`` if the file cannot be read, is not a tar, is damaged or is cut off. Raises ``MachineTrouble``
    if the machine is at fault.
    """
    try:
        num_bytes, beginning = read_or_end(path, lambda: _size_and_beginning(path))
        packer = compressed_with(beginning)
        if packer and not (gzipped and packer == "gzip"):
            raise InputError(unpack_first(path, packer, "a plain .tar"))
        most = most_unpacked(num_bytes) if gzipped else num_bytes
        with ExitStack() as held:
            file: BinaryIO = held.enter_context(open_regular(path))
            if gzipped:
                file = cast(BinaryIO, held.enter_context(gzip.GzipFile(fileobj=file)))
            headers = _Headers(file)
            tar = held.enter_context(tarfile.open(fileobj=cast(BinaryIO, headers), mode="r:"))
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else tarfile keeps all headers in memory
                if info.size < 0:
                    raise tarfile.ReadError(f"a member of {info.size} bytes")
                if info.offset_data + _stored_bytes(tar, info) > most:
                    raise InputError(_too_long(path, info, gzipped))
                yield info
            note = _end_of(path, file, tar.offset)
            if note and unread is not None:
                unread.append(note)
    except OSError as error:
        require_sound_machine(error, path)
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    # Errors that tarfile itself raises for nonsensical headers.
    except (
        *(tarfile.TarError, zlib.error, ValueError, ArithmeticError, LookupError),
        *(EOFError, TypeError, RecursionError),
    ) as error:
        raise InputError(f"{path} is not a tar or is cut off ({error}): download it again or leave it out") from error


def _size_and_beginning(path: Path) -> tuple[int, bytes]:
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size, file.read(8)


def _stored_bytes(tar: tarfile.TarFile, info: tarfile.TarInfo) -> int:
    """Returns a lower bound on the number of bytes that a member takes up in the tar.

    For a sparse member, this is less than its size.
    """
    if not info.issparse():
        return info.size
    return max(tar.offset - info.offset_data - tarfile.BLOCKSIZE + 1, 0)


def _too_long(path: Path, info: tarfile.TarInfo, gzipped: bool) -> str:
    if not gzipped:
        return f"{path} is cut off inside {info.name}: download it again"
    return (
        f"{path} unpacks to more than {limit('MAX_UNPACKED_RATIO'):,} times its size at {info.name}, which images "
        "never do: leave it out, or unpack it to a folder first"
    )


def _end_of(path: Path, file: BinaryIO, offset: int) -> str:
    """Returns a note for the user if a tar does not end properly, otherwise an empty string.

    ``offset`` is the end of the last member. Raises ``InputError`` if a damaged header follows it.
    """
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if not block:
        return (
            "it has no end-of-archive marker, so it may have been cut off after its last member: compare it with its "
            "original"
        )
    if block.strip(b"\0"):
        raise InputError(
            f"{path} is damaged at byte {offset:,}, where neither a member nor the end of the tar follows: download "
            "it again or leave it out"
        )
    rest = file.read(_RECORD_BYTES + 1)
    if len(rest) <= _RECORD_BYTES and not rest.strip(b"\0"):
        return ""
    behind = "bytes" if isinstance(file, gzip.GzipFile) else counted(os.fstat(file.fileno()).st_size - offset, "byte")
    return (
        f"{behind} after its end were not read: if tars were concatenated with cat, give each one "
        "separately, or join them with tar -A"
    )


class _Headers:
    """A file from which only headers are read. Longer reads are rejected."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self._most = limit("MAX_TAR_HEADER_BYTES")

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= self._most:
            raise tarfile.ReadError("a header larger than GLASS_MAX_TAR_HEADER_BYTES")
        data = self._read(size)
        # tarfile searches PAX records with a regular expression that is quadratic in a run of digits.
        if size > tarfile.BLOCKSIZE and _LONG_NUMBER.search(data):
            raise tarfile.ReadError("a number with hundreds of digits in a header")
        return data


_LONG_NUMBER = re.compile(rb"\d{256}")


def member_fault(info: tarfile.TarInfo) -> tuple[str, str]:
    """Returns (reason, detail) if a member cannot become a sample, otherwise two empty strings.

    ``reason`` is a key of ``shards.images.rejection.REASONS``.
    """
    if info.issparse():
        return "unsafe_member", "stored as a sparse file: pack the tar without --sparse"
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
