"""The scratch folder inside a build's output, to which sources are unpacked if necessary."""

import shutil
from pathlib import Path

from shards.errors import InputError
from shards.files.atomic import remove_temporaries
from shards.sources.files import SCRATCH_NAME

__all__ = ["open_scratch", "require_room"]


def open_scratch(out: Path) -> Path:
    """Returns the scratch folder, creating it if necessary. Removes temporary files left by a killed build.

    The caller must hold the lock on ``out``.
    """
    scratch = out / SCRATCH_NAME
    scratch.mkdir(exist_ok=True)
    remove_temporaries(scratch, lambda _: True)
    return scratch


def require_room(scratch: Path, num_bytes: int, what: str) -> None:
    """Raises ``InputError`` if there is not enough free space to unpack ``num_bytes`` bytes of ``what``."""
    if num_bytes > (free := shutil.disk_usage(scratch).free):
        raise InputError(
            f"unpacking {what} takes {num_bytes:,} bytes in {scratch}, but only {free:,} are free: free some space, "
            "or build into a folder on a larger disk"
        )
