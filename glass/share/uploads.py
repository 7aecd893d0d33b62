"""Files uploaded to the page of ``glass demo``: private to its process, and deleted after a while."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

__all__ = ["KEPT_FOR_S", "MAX_UPLOAD_BYTES", "delete_old", "fetch_nothing", "upload_folder"]

MAX_UPLOAD_BYTES = 64 << 20
"""Size limit of one file. Photographs of 100 megapixels take half of it."""
KEPT_FOR_S = 15 * 60
"""Longest life of an upload, and of the pictures drawn from it, in seconds."""

_PRIVATE = 0o077
"""The mask under which files are for their owner alone."""


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Context manager: makes a folder of this process's own (mode 700, its files 600), into which Gradio, and whatever
    asks for a temporary file, writes; deletes it with all its files at the end.

    Gradio reads the place of its folder when it is imported, so this must be entered before that.
    """
    place, mask, default = os.environ.get("GRADIO_TEMP_DIR"), os.umask(_PRIVATE), tempfile.tempdir
    try:
        with tempfile.TemporaryDirectory(prefix="glass-demo-") as folder:
            # Gradio receives an upload in the system's folder and moves it to its own.
            os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = folder
            try:
                yield Path(folder)
            finally:
                tempfile.tempdir = default
    finally:
        os.umask(mask)
        if place is None:
            os.environ.pop("GRADIO_TEMP_DIR", None)
        else:
            os.environ["GRADIO_TEMP_DIR"] = place


def delete_old(folder: Path, now: float | None = None) -> int:
    """Deletes the files below ``folder`` that were last changed ``KEPT_FOR_S`` before ``now`` (of
    ``time.time``) or earlier; returns how many."""
    deadline, deleted = (time.time() if now is None else now) - KEPT_FOR_S, 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # Gradio deletes some itself
            if not path.is_dir() and path.lstat().st_mtime <= deadline:
                path.unlink()
                deleted += 1
    return deleted


def fetch_nothing() -> None:
    """Keeps Gradio from fetching addresses that callers give: in place of an uploaded file, which may then be of any
    length, and behind ``/gradio_api/file=``, which passes the contents on. Both use one library, safehttpx.

    Callers can send the file itself, so nothing is lost. A test makes sure that this holds with the installed Gradio.
    """
    import safehttpx

    async def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError("no address is fetched: send the file itself")

    safehttpx.get = safehttpx.async_validate_url = refuse
