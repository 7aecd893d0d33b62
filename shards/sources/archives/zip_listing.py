"""Lists the members of a zip from its central directory. Unpacks nothing and trusts none of the declared sizes."""

import struct
import zipfile
from pathlib import Path
from stat import S_ISLNK
from typing import BinaryIO

from shards.errors import InputError
from shards.files.limits import limit
from shards.files.patience import read_or_end
from shards.files.regular_file import open_regular
from shards.files.tar_headers import most_unpacked
from shards.images.formats import FILE_SUFFIXES
from shards.sources.archives.member import ZIP_HEADER_BYTES, PackedMember, is_unsafe

__all__ = ["has_zip_end", "join_parts", "list_zip"]

_END, _END64 = struct.Struct("<4sHHHHLLH"), struct.Struct("<4sQHHLLQQQQ")
_LOCATOR_BYTES = 20
_LONGEST_END = _END.size + (1 << 16) + _LOCATOR_BYTES + _END64.size  # the last record ends with a comment
_ENTRY_BYTES = 46  # minimum size of an entry
_METHODS = {zipfile.ZIP_STORED: False, zipfile.ZIP_DEFLATED: True}
_OTHER_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 99: "AES encryption"}


def join_parts(path: Path) -> str:
    """The error message for ``path``, one part of a split zip. It says how to join the parts."""
    whole = path.with_suffix(".zip").name
    if path.suffix[1:].isdecimal():
        how = f"cat {path.stem}.[0-9]* > whole.zip"
    else:
        how = f"zip -s 0 {whole} --out whole.zip"
    return (
        f"{path} is one part of a split zip: join the parts with {how} in their folder and give the result, or unpack "
        "them with 7-Zip"
    )


def has_zip_end(path: Path) -> bool:
    """Whether a file ends with a zip's central directory, however it begins.

    Raises ``OSError`` if it cannot be read.
    """
    with open_regular(path) as file:
        return _end_of_directory(file) is not None


def list_zip(path: Path, archive: str) -> list[tuple[str, PackedMember]]:
    """Lists the files in a zip as (name, member), ordered by offset. Folders in names are separated by ``/``.

    A member's ``fault`` says why it must not be read. Raises ``InputError`` if the zip is damaged or split, lists too
    many files, or has images that are encrypted or compressed by an unsupported method.
    """
    try:
        infos, directory = read_or_end(path, lambda: _directory(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    # Errors that zipfile itself raises for nonsensical directories.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, ArithmeticError, LookupError) as error:
        raise InputError(f"{path} is not a zip or is cut off ({error}): download it again or leave it out") from error
    found = []
    last = directory
    for info in sorted(infos, key=lambda info: -info.header_offset):
        name = _name(info)
        if not name.endswith("/"):
            if name.lower().endswith(tuple(FILE_SUFFIXES)):
                _require_readable(path, info)
            found.append((info.header_offset, name, _member(info, name, archive, last)))
        last = info.header_offset
    return [(name, member) for _, name, member in sorted(found, key=lambda row: row[0])]


def _directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """Returns the entries of a zip's central directory, and an upper bound on the offset at which it begins."""
    with open_regular(path) as file:
        end = _end_of_directory(file)
        if end is None:
            raise zipfile.BadZipFile("the directory at its end is missing")
        disk, num_bytes, begins_by = end
        if disk:
            raise InputError(join_parts(path))
        if num_bytes > (most := limit("MAX_LIST_ROWS")) * _ENTRY_BYTES:
            raise InputError(f"{path} may list more files than GLASS_MAX_LIST_ROWS={most}: unpack it to a folder first")
        with zipfile.ZipFile(file) as opened:
            return opened.infolist(), begins_by


def _end_of_directory(file: BinaryIO) -> tuple[int, int, int] | None:
    """Reads the end-of-central-directory record of a zip.

    Returns ``(part index, size of the central directory in bytes, upper bound on the directory's offset)``, or ``None``
    if the file is not a zip.
    """
    size = file.seek(0, 2)
    start = file.seek(max(size - _LONGEST_END, 0))
    tail = file.read(_LONGEST_END)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + _END.size:
        return None
    _, disk, _, _, _, num_bytes, _, _ = _END.unpack_from(tail, at)
    long_at = at - _LOCATOR_BYTES - _END64.size
    if long_at >= 0 and tail.startswith(b"PK\6\6", long_at):
        _, _, _, _, disk, _, _, _, num_bytes, _ = _END64.unpack_from(tail, long_at)
        at = long_at
    return disk, num_bytes, start + at - num_bytes


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name, with slashes between folders, and decoded as UTF-8 if possible.

    Some Windows tools write backslashes. Some Unix tools write UTF-8 without setting the flag for it, and ``zipfile``
    decodes such names as code page 437.
    """
    name = info.filename
    if not name.isascii() and not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/")


def _require_readable(path: Path, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise InputError(f"{path} is encrypted: unpack it to a folder first, with its password")
    if info.compress_type not in _METHODS:
        method = _OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise InputError(f"{path} is compressed by {method}, which is not supported: unpack it to a folder first")


def _member(info: zipfile.ZipInfo, name: str, archive: str, end: int) -> PackedMember:
    fault = None
    if is_unsafe(name):
        fault = "unsafe_member", "the name leads out of the zip"
    elif S_ISLNK(info.external_attr >> 16):
        fault = "unsafe_member", "a link"
    elif not 0 <= info.header_offset <= end - ZIP_HEADER_BYTES - info.compress_size:
        fault = "corrupt", "overlaps what follows it in the zip"
    elif info.file_size > most_unpacked(info.compress_size):
        fault = "too_large", f"unpacks to {info.file_size:,} bytes, above GLASS_MAX_UNPACKED_RATIO"
    deflated = _METHODS.get(info.compress_type, False)
    return PackedMember(archive, info.header_offset, info.compress_size, info.file_size, info.CRC, deflated, fault)
