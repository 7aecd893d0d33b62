"""All files below a folder, in one order, whatever the file system's: for every command alike."""

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
    """Yields (folder, sorted names of the files in it) for ``root`` and all folders below it, at any depth. Hidden
    files and folders are left out.

    Links to folders are followed last, and no folder is visited twice, so a folder that lies below ``root`` itself is
    reported there and not at a link. A folder that cannot be listed raises ``OSError`` or, given ``on_error``, is
    passed to it and skipped. ``on_again`` gets each link to a folder that was already visited, and the path by which it
    was.
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
    except OSError:  # a link that leads nowhere, or round in a circle
        return False
