"""An image that lies in an archive: where its bytes are, and how they are read without the rest."""

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

_ZIP_HEADER = struct.Struct("<4s22xHH")  # signature, then at the end the lengths of name and extra field
ZIP_HEADER_BYTES = _ZIP_HEADER.size


@dataclass(frozen=True, slots=True)
class OpenedAs:
    """An archive as it was when its members were listed."""

    path: Path
    stamp: Stamp
    gzipped: bool = False
    """Members lie where they do when it is unpacked, which is done anew for each, up to its end."""


@dataclass(frozen=True, slots=True)
class PackedMember:
    """A file in an archive. Small: there is one for each of millions of images."""

    archive: str
    """Name of the archive."""
    start: int
    """Place of its first byte in a tar, of the header before it in a zip."""
    num_packed: int
    num_bytes: int
    crc32: int | None = None
    """``None`` in a tar, which has none."""
    deflated: bool = False
    fault: tuple[str, str] | None = None
    """(reason, detail) where it is not to be read."""


def plain_name(name: str) -> str:
    """A member's name as a path of a folder has it: ``./a//b.jpg`` → ``a/b.jpg``."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def is_unsafe(name: str) -> bool:
    """Whether a member's name leads out of its archive."""
    return name.startswith("/") or ".." in name.split("/") or "\0" in name or name[1:3] == ":/"


def is_hidden(name: str) -> bool:
    """Whether the file, or a folder that it lies in, is hidden, as what macOS adds to a zip is."""
    return name.startswith(".") or "/." in name


def read_member(archive: OpenedAs, member: PackedMember) -> bytes:
    """The bytes of a member, never more than an image may have.

    Raises ``RejectedImage`` if they are damaged or refused, ``InputError`` if the archive is no
    longer the one that was listed, and ``MachineTrouble``.
    """
    if member.fault is not None:
        raise RejectedImage(*member.fault)
    require_size(max(member.num_bytes, member.num_packed))
    try:
        packed = patiently(lambda: _read_packed(archive, member))
    except OSError as error:
        raise unread(error, archive.path) from error
    except (EOFError, zlib.error) as error:  # of a gzipped file
        raise RejectedImage("corrupt", f"cannot be unpacked: {error}") from error
    data = _inflated(packed, member) if member.deflated else packed
    if len(data) != member.num_bytes or (member.crc32 is not None and zlib.crc32(data) != member.crc32):
        raise RejectedImage("corrupt", "the bytes do not fit their checksum or length in the archive")
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
                raise RejectedImage("corrupt", "no member of the zip begins where it should")
            file.seek(sum(lengths), os.SEEK_CUR)
        return _exactly(file, member.num_packed)


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise RejectedImage("truncated", "the archive ends before the image does")
    return data


def _inflated(packed: bytes, member: PackedMember) -> bytes:
    """At most one byte more than the member claims: by that a lie shows."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return inflater.decompress(packed, member.num_bytes + 1)
    except zlib.error as error:
        raise RejectedImage("corrupt", f"cannot be unpacked: {error}") from error
