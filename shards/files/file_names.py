"""Checks untrusted strings that become file names, both where they are read and where they are used.

A data set's description, a manifest, a build plan or a store listing may contain any string. A string used as a file
name must be a digest or a plain name, so that it cannot lead out of the folder that it is appended to.
"""

import os
import re
from pathlib import Path

from shards.errors import InputError

__all__ = ["is_digest", "is_file_name", "is_relative_path", "within"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Maximum lengths of a file name and of a path on Linux, in bytes."""


def is_digest(text: str) -> bool:
    """Whether ``text`` is a SHA-256 as this project writes it: 64 hexadecimal digits in lower case."""
    return _DIGEST.fullmatch(text) is not None


def is_file_name(text: str) -> bool:
    """Whether ``text`` is a plain name: joined to a folder, it names a file directly in that folder."""
    return "/" not in text and text not in ("", ".", "..") and _is_nameable(text, _LONGEST_NAME)


def is_relative_path(text: str) -> bool:
    """Whether ``text`` is a valid relative path. It may lead out of the folder that it is joined to."""
    return bool(text) and not text.startswith("/") and _is_nameable(text, _LONGEST_PATH)


def within(folder: Path, name: str) -> Path:
    """The path to the file ``name`` in ``folder``. Raises ``InputError`` if ``name`` is not a plain name."""
    if not is_file_name(name):
        raise InputError(
            f"{name[:100]!r} is not the name of a file in a folder: the file that names it is damaged or not to be "
            "trusted"
        )
    return folder / name


def _is_nameable(text: str, longest: int) -> bool:
    try:
        return "\0" not in text and len(os.fsencode(text)) <= longest
    except UnicodeEncodeError:  # a lone surrogate, which JSON allows
        return False
