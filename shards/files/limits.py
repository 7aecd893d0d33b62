"""Size limits for untrusted input files: larger ones are refused.

Each limit is a setting: the environment variable ``GLASS_<NAME>`` overrides its default. They bound
what a file of a few kilobytes can make a program allocate, and lie far above what data needs.
"""

import os

from shards.errors import InputError

__all__ = ["MOST_THREADS", "limit"]

MOST_THREADS = 1024
"""Threads of one process. Beyond some number a system refuses more, and OpenMP then ends the process
without a message."""

_DEFAULTS = {
    "MAX_IMAGE_BYTES": 2 << 30,  # of one image's file; 200 megapixels of 16 bits are 1.6 GB
    "MAX_JSON_BYTES": 256 << 20,  # dataset.json takes 250 bytes per shard
    "MAX_LIST_ROWS": 100_000_000,  # of a source list or a Parquet file: a few bytes can claim 2⁶³
    "MAX_PARQUET_BYTES": 64 << 30,  # unpacked, as the file itself declares
    "MAX_PNG_TEXT_BYTES": 64 << 20,  # of a PNG's texts and profile, unpacked
    "MAX_TAR_HEADER_BYTES": 32 << 10,  # of one extended header: long names, PAX records
    "MAX_UNPACKED_RATIO": 200,  # unpacked ÷ packed bytes of an image or a .tar.gz, beyond the first 64 MiB
}
"""Name → default."""


def limit(name: str) -> int:
    """The limit called ``name``. Raises ``InputError`` if the variable is not a number."""
    text = os.environ.get(f"GLASS_{name}", "")
    if not text:
        return _DEFAULTS[name]
    if not text.isdecimal():
        raise InputError(f"GLASS_{name}={text!r} must be a whole number")
    return int(text)
