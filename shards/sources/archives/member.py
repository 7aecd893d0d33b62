"""Describes an image in an archive: where its bytes are, and how to read them without unpacking the rest."""

import gzip
import os
import struct
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from shards.errors import InputError
from shards.files.patience import patiently
from shards.files.regular_file import open_regular
from shards.images.rejection import RejectedImage
from shards.sources.files import Stamp, require_size, unread

__all__ = ["ZIP_HEADER_BYTES", "OpenedAs", "PackedMember", "is_hidden", "is_unsafe", "plain_name", "read_member"]

_ZIP_HEADER = struct.Struct("<4s22xHH")  # signature; at the end, lengths of name and extra field
ZIP_HEADER_BYTES = _ZIP_HEADER.size


@dataclass(frozen=True, slots=True)
class OpenedAs:
    """An archive, identified by its path and by its stamp when its members were listed."""

    path: Path
    stamp: Stamp
    gzipped: bool = False
    """Whether the file is a gzipped tar. If so, offsets refer to the uncompressed tar, and reading at an offset
    decompresses everything before it."""


@dataclass(frozen=True, slots=True)
class PackedMember:
    """A file in an archive. Kept small, because there may be millions of them."""

    archive: str
    """Name of the archive."""
    start: int
    """Offset of the file's first byte in a tar, or of its header in a zip."""
    num_packed: int
    num_bytes: int
    crc32: int | None = None
    """CRC-32 of the file's bytes; ``None`` in a tar, which does not store one."""
    deflated: bool = False
    fault: tuple[str, str] | None = None
    """``(reason, detail)`` of the rejection if the member must not be read, otherwise ``None``."""


def plain_name(name: str) -> str:
    """Normalises a member's name to a relative path: ``./a//b.jpg`` → ``a/b.jpg``."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def is_unsafe(name: str) -> bool:
    """Whether a member's name could refer to a file outside the folder to which the archive is unpacked."""
    return name.startswith("/") or ".." in name.split("/") or "\0" in name or name[1:3] == ":/"


def is_hidden(name: str) -> bool:
    """Whether a file or a folder on its path is hidden, like the files that macOS adds to zips."""
    return name.startswith(".") or "/." in name


def read_member(archive: OpenedAs, member: PackedMember) -> bytes:
    """Returns the bytes of a member.

    Raises ``RejectedImage`` if the member is damaged, is too large or must not be read. Raises ``InputError`` if the
    archive has changed since it was listed, and ``MachineTrouble`` if the machine is at fault.
    """
    if member.fault is not None:
        raise RejectedImage(*member.fault)
    require_size(max(member.num_bytes, member.num_packed))
    try:
        packed = patiently(lambda: _read_packed(archive, member))
    except OSError as error:
        raise unread(error, archive.path) from error
    except (EOFError, zlib.error) as error:  # from a gzipped file
        raise RejectedImage("corrupt", f"cannot be unpacked: {error}") from error
    data = _inflated(packed, member) if member.deflated else packed
    if len(data) != member.num_bytes or (member.crc32 is not None and zlib.crc32(data) != member.crc32):
        raise RejectedImage("corrupt", "the bytes do not match their checksum or length in the archive")
    return data


def _read_packed(archive: OpenedAs, member: PackedMember) -> bytes:
    with ExitStack() as held:
        try:
            file: BinaryIO = held.enter_context(open_regular(archive.path))
        except FileNotFoundError as error:
            raise InputError(f"{archive.path} is gone: bring it back and run the same command again") from error
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != archive.stamp:
            raise InputError(f"{archive.path} changed while it was read: run the same command again")
        if archive.gzipped:
            file = cast(BinaryIO, held.enter_context(gzip.GzipFile(fileobj=file)))
        file.seek(member.start)
        if member.crc32 is not None:
            signature, *lengths = _ZIP_HEADER.unpack(_exactly(file, ZIP_HEADER_BYTES))
            if signature != b"PK\3\4":
                raise RejectedImage("corrupt", "no member of the zip begins at the place given in its directory")
            file.seek(sum(lengths), os.SEEK_CUR)
        return _exactly(file, member.num_packed)


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise RejectedImage("truncated", "the archive ends before the image does")
    return data


def _inflated(packed: bytes, member: PackedMember) -> bytes:
    """Decompresses ``packed``, but at most one byte more than the declared size: enough to detect a false one."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return inflater.decompress(packed, member.num_bytes + 1)
    except zlib.error as error:
        raise RejectedImage("corrupt", f"cannot be unpacked: {error}") from error
