"""All files below a folder, in one order, whatever the file system's: for every command alike."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["walk_folder"]


def walk_folder(root: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of the files in it, sorted) for ``root`` and all folders below, hidden files
    and folders left out.

    Links to folders are followed, and no folder is visited twice, so a link that leads back up ends
    nothing. Folders may lie any number deep. What cannot be listed raises ``OSError``, or is given
    to ``on_error`` and passed over.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [str(root)]
    while waiting:
        here = waiting.pop()
        files: list[str] = []
        folders: list[str] = []
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        (folders if _is_folder(entry) else files).append(entry.name)
        except OSError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        yield here, sorted(files)
        waiting += [os.path.join(here, name) for name in sorted(folders, reverse=True)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, or round in a circle
        return False
