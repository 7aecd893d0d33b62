"""Recognises archives and compressed files, which may contain images but are not images, by their first bytes."""

from pathlib import Path

from shards.files.patience import read_or_end
from shards.files.regular_file import open_regular

__all__ = ["archive_kind", "compressed_with", "unpack_first"]

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"(\xb5/\xfd": "zstd",
    b"\x04\x22M\x18": "lz4",
}
_UNPACKERS = {"gzip": "gunzip", "bzip2": "bunzip2", "xz": "unxz", "zstd": "unzstd", "lz4": "unlz4"}
_ARCHIVES = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar"}


def _by_start(start: bytes, kinds: dict[bytes, str]) -> str:
    return next((kind for magic, kind in kinds.items() if start.startswith(magic)), "")


def compressed_with(start: bytes) -> str:
    """Identifies the program that packed a file (zip, 7z, gzip …) from ``start``, the file's first bytes.

    Returns ``""`` if the file is not packed. Eight bytes are enough.
    """
    return _by_start(start, _COMPRESSED | _ARCHIVES)


def archive_kind(path: Path) -> str:
    """Returns the archive type of a file, such as ``zip``, ``gzip`` or ``tar``; ``""`` if it is not an archive.

    Also returns ``""`` if the file cannot be opened. Raises ``MachineTrouble`` for machine faults such as a failing
    disk, so that an unreadable archive is not skipped silently.
    """
    try:
        start = read_or_end(path, lambda: _beginning(path))
    except OSError:
        return ""
    return compressed_with(start) or ("tar" if start[257:262] == b"ustar" else "")


def _beginning(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(512)


def unpack_first(path: Path, packer: str, into: str) -> str:
    """Returns the error message for a file packed with ``packer``; ``into`` says where to unpack it."""
    command = f" ({_UNPACKERS[packer]} '{path}')" if packer in _UNPACKERS else ""
    return (
        f"{path} is compressed or packed with {packer}, so its contents cannot be read without unpacking: unpack it to "
        f"{into} first{command}"
    )
