"""Size limits for untrusted input files; larger files are rejected.

Without them, a file of a few kilobytes could make a program allocate any amount of memory. The limits are far above
what real data needs. The environment variable ``GLASS_<NAME>`` overrides the default for the limit ``<NAME>``.
"""

import os

from shards.errors import InputError

__all__ = ["MOST_THREADS", "limit"]

MOST_THREADS = 1024
"""Maximum number of threads in one process. If a system refuses to start more threads, OpenMP ends the process
silently."""

_DEFAULTS = {
    "MAX_IMAGE_BYTES": 2 << 30,  # one image file; 200 megapixels of 16 bits are 1.6 GB
    "MAX_JSON_BYTES": 256 << 20,  # dataset.json takes 250 bytes per shard
    "MAX_LIST_ROWS": 100_000_000,  # rows of a source list or a Parquet file, which can claim 2⁶³ in a few bytes
    "MAX_PARQUET_BYTES": 64 << 30,  # unpacked, as the file itself declares
    "MAX_PNG_TEXT_BYTES": 64 << 20,  # texts and profile of a PNG, unpacked
    "MAX_TAR_HEADER_BYTES": 32 << 10,  # one extended header: long names, PAX records
    "MAX_UNPACKED_RATIO": 200,  # unpacked ÷ packed bytes of an image or a .tar.gz, beyond the first 64 MiB
}
"""Maps limit names to default values."""


def limit(name: str) -> int:
    """Returns the value of the limit ``name``. Raises ``InputError`` if its environment variable is not a whole
    number."""
    text = os.environ.get(f"GLASS_{name}", "")
    if not text:
        return _DEFAULTS[name]
    if not text.isdecimal():
        raise InputError(f"GLASS_{name}={text!r} must be a whole number")
    return int(text)
