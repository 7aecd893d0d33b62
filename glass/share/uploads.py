"""Stores files uploaded to the ``glass demo`` page, accessible only to the user who started the command, and deletes
them after :data:`KEPT_FOR_S` seconds.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

__all__ = ["KEPT_FOR_S", "MAX_UPLOAD_BYTES", "delete_old", "fetch_nothing", "upload_folder"]

MAX_UPLOAD_BYTES = 64 << 20
"""Maximum size of an uploaded file, in bytes. A photograph of 100 megapixels takes about half of it."""
KEPT_FOR_S = 15 * 60
"""Seconds after which an upload and the images drawn from it are deleted."""

_PRIVATE = 0o077
"""The umask that makes new files accessible only to their owner."""


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Context manager: creates a private folder for uploads and temporary files, and deletes it on exit.

    The folder has mode 700, and its files have mode 600. The context must be entered before Gradio is first imported,
    because Gradio reads ``GRADIO_TEMP_DIR`` on import.
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
    """Deletes the files below ``folder`` that were last modified at least ``KEPT_FOR_S`` seconds before ``now``.

    ``now`` is a ``time.time`` value; None means the current time. Returns the number of deleted files.
    """
    deadline, deleted = (time.time() if now is None else now) - KEPT_FOR_S, 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # Gradio deletes some itself
            if not path.is_dir() and path.lstat().st_mtime <= deadline:
                path.unlink()
                deleted += 1
    return deleted


def fetch_nothing() -> None:
    """Stops Gradio from fetching URLs at a caller's request.

    Gradio would otherwise fetch a URL sent in place of an uploaded file, without a size limit, and would fetch and
    return the URL in a request for ``/gradio_api/file=URL``. In both cases, it uses the library safehttpx, which this
    function disables. Callers can send the file itself instead. A test checks this with the installed Gradio.
    """
    import safehttpx

    async def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError("addresses are not fetched: send the file itself")

    safehttpx.get = safehttpx.async_validate_url = refuse
