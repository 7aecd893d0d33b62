"""Untrusted words that become names of files: checked where they are read, and where they are used.

A description, a manifest, a plan or a page of a store may hold anything. A word that names a file
is either a plain name, which stays in the folder that it is joined to, or a digest.
"""

import os
import re
from pathlib import Path

from shards.errors import InputError

__all__ = ["is_digest", "is_file_name", "is_relative_path", "within"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Bytes, of Linux."""


def is_digest(text: str) -> bool:
    """Whether ``text`` is a SHA-256 as we write it: 64 hexadecimal digits, small letters."""
    return _DIGEST.fullmatch(text) is not None


def is_file_name(text: str) -> bool:
    """Whether ``text`` names a file that lies right in the folder that it is joined to."""
    return "/" not in text and text not in ("", ".", "..") and _is_nameable(text, _LONGEST_NAME)


def is_relative_path(text: str) -> bool:
    """Whether ``text`` is a path that a file can have and that begins at a folder; it may lead out
    of that folder."""
    return bool(text) and not text.startswith("/") and _is_nameable(text, _LONGEST_PATH)


def within(folder: Path, name: str) -> Path:
    """The file ``name`` of ``folder``. Raises ``InputError`` if the name leads elsewhere."""
    if not is_file_name(name):
        raise InputError(
            f"{name[:100]!r} is no name of a file in a folder: what names it is damaged, or is not to be trusted"
        )
    return folder / name


def _is_nameable(text: str, longest: int) -> bool:
    try:
        return "\0" not in text and len(os.fsencode(text)) <= longest
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can hold
        return False
