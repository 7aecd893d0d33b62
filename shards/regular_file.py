"""Files of strangers are looked at before they are opened: opening a pipe waits for ever."""

import errno
import os
import stat
from pathlib import Path

from shards.machine_trouble import machine_spared

__all__ = ["require_regular"]


def require_regular(path: Path) -> None:
    """Raises ``OSError`` where ``path`` is not there, or is a folder, a pipe, a device or a
    socket."""
    with machine_spared(path):
        status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
