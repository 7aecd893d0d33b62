"""Lists all files below a folder, in the same order on every file system and for every command."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["walk_folder"]


def walk_folder(
    root: Path,
    on_error: Callable[[OSError], None] | None = None,
    on_again: Callable[[str, str], None] = lambda link, folder: None,
) -> Iterator[tuple[str, list[str]]]:
    """Yields ``(folder, sorted file names)`` for ``root`` and all folders below it. Skips hidden files and folders.

    Symbolic links to folders are followed after all real folders, and no folder is visited twice. A folder below
    ``root`` is therefore listed at its own path, never at a link's path. If a folder cannot be listed, ``on_error`` is
    called with the ``OSError`` and the folder is skipped; without ``on_error``, the error is raised. For each link to a
    folder that was already visited, ``on_again`` is called with the link's path and the path at which the folder was
    visited.
    """
    seen: dict[tuple[int, int], str] = {}
    waiting, linked = [str(root)], deque[str]()
    while waiting or linked:
        here = waiting.pop() if waiting else linked.popleft()
        files: list[str] = []
        folders: list[str] = []
        links: list[str] = []
        try:
            status = os.stat(here)
            if (before := seen.setdefault((status.st_dev, status.st_ino), here)) != here:
                on_again(here, before)
                continue
            with os.scandir(here) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        found = files if not _is_folder(entry) else links if entry.is_symlink() else folders
                        found.append(entry.name)
        except OSError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        yield here, sorted(files)
        waiting += [os.path.join(here, name) for name in sorted(folders, reverse=True)]
        linked += [os.path.join(here, name) for name in sorted(links)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a link loop
        return False
