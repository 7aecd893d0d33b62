"""Finds the tars that the user specified, and assigns each a name in the data set."""

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.errors import InputError
from shards.files.archives import archive_kind, unpack_first
from shards.files.folder_walk import walk_folder

__all__ = ["SIDECAR_ENDS", "NamedTar", "find_tars", "folder_of", "name_tars"]

SIDECAR_ENDS = (".sidecar", ".sidecar.tar", ".sidecar.parquet")
"""File name endings of sidecars and of their manifests, including those in older data sets."""


@dataclass(frozen=True)
class NamedTar:
    """A tar made elsewhere, with its path and names."""

    path: Path
    name: str
    """Path relative to the data set's folder, which identifies the tar in the manifest."""
    stem: str
    """File name of the tar's sidecar without ``.sidecar``. Unique among the tars."""
    below: str = ""
    """Path relative to the folder that holds all tars. Folder names in this path may be labels."""

    @property
    def known_as(self) -> list[str]:
        """The names by which a list may refer to the tar.

        These are the full path and each of its trailing parts, down to the file name alone, with and without the file
        extension. ``name`` comes last.
        """
        parts = self.path.as_posix().split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        return [form for end in ends for form in (end, os.path.splitext(end)[0])] + [self.name]


def find_tars(paths: Sequence[Path]) -> list[Path]:
    """Returns the tars that ``paths`` refer to, sorted and without duplicates.

    A folder stands for all tars at any depth in it, except sidecars. A path that does not exist may be a glob pattern.
    A tar reached through a symbolic link, as in a cache, keeps the link's name. Raises ``InputError`` for a compressed
    tar, or a path that does not refer to any tar.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(path.resolve() / tar.relative_to(path) for tar in _in_folder(path)))
        elif path.exists():
            kind = archive_kind(path)
            if kind not in ("", "tar"):
                raise InputError(unpack_first(path, kind, "a plain .tar"))
            found[path.parent.resolve() / path.name] = None
        else:
            found.update(dict.fromkeys(tar.parent.resolve() / tar.name for tar in _matching(path)))
    return _each_once(sorted(found))


def _each_once(tars: Sequence[Path]) -> list[Path]:
    """Returns ``tars`` without those that are symbolic links to other tars in the list.

    Raises ``InputError`` if several of them are links to the same tar and that tar itself is not in the list.
    """
    taken: dict[Path, Path] = {}
    for tar in sorted(tars, key=lambda tar: tar != tar.resolve()):
        other = taken.setdefault(tar.resolve(), tar)
        if other not in (tar, tar.resolve()):
            raise InputError(f"{other} and {tar} are links to the same tar, {tar.resolve()}: remove one of them")
    return sorted(taken.values())


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar") and not name.lower().endswith(SIDECAR_ENDS)


def _matching(pattern: Path) -> list[Path]:
    text = str(pattern)
    try:
        names = glob.glob(text, recursive=True) if glob.has_magic(text) else []
    except RecursionError:
        raise InputError(f"{text} searches too many levels of folders: give a deeper folder") from None
    matches = [Path(name) for name in names if _is_tar(name) and os.path.isfile(name)]
    if not matches:
        raise InputError(f"{pattern} does not exist: give tars, or folders that hold them")
    return matches


def _in_folder(folder: Path) -> list[Path]:
    """Returns the tars below a folder, at any depth. Skips a compressed tar if its uncompressed version is next to it.

    Raises ``InputError`` for any other compressed tar, if there are no tars, or if the folder cannot be read.
    """
    found: list[Path] = []
    compressed: list[Path] = []
    others: list[str] = []
    try:
        for here, names in walk_folder(folder):
            found += [Path(here) / name for name in names if _is_tar(name)]
            compressed += [Path(here) / name for name in names if _is_compressed(name)]
            others += names[: 6 - len(others)]
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error
    unpacked = set(found)
    for path in compressed:
        kind = archive_kind(path)
        if kind not in ("", "tar") and not unpacked & {path.with_suffix(""), path.with_suffix(".tar")}:
            raise InputError(unpack_first(path, kind, "a plain .tar"))
    if not found:
        what = ", ".join(others[:5]) + (" …" if len(others) > 5 else "") or "nothing"
        raise InputError(f"{folder} holds no .tar files, but {what}: give tars, or folders that hold them")
    return found


def _is_compressed(name: str) -> bool:
    return re.search(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst)$", name.lower()) is not None


def folder_of(paths: Sequence[Path], tars: Sequence[Path]) -> Path:
    """Returns the default data set folder for ``tars``: the given folder, or the one that holds all the tars.

    Raises ``InputError`` if no single folder was given and the tars are in different folders.
    """
    if len(paths) == 1 and paths[0].is_dir():
        return paths[0].resolve()
    folders = {tar.parent for tar in tars}
    if len(folders) > 1:
        raise InputError(f"the tars are in {len(folders)} folders: give a folder for the data set with --out")
    return folders.pop()


def name_tars(paths: Sequence[Path], out: Path) -> list[NamedTar]:
    """Names the tars at ``paths`` for the data set in the folder ``out``."""
    above = Path(os.path.commonpath([path.parent for path in paths])) if paths else out
    stems = _stems(paths)
    return [
        NamedTar(path, Path(os.path.relpath(path, out.resolve())).as_posix(), stem, path.relative_to(above).as_posix())
        for path, stem in zip(paths, stems, strict=True)
    ]


def _stems(paths: Sequence[Path]) -> list[str]:
    """Returns a name for each tar's sidecar. The names are unique even if case is ignored.

    The name is the tar's file name without its extension. If several tars share it, it is prefixed with the tar's
    index.
    """
    taken = Counter(path.stem.casefold() for path in paths)
    stems: list[str] = []
    for number, path in enumerate(paths):
        stem = path.stem
        if taken[stem.casefold()] > 1:
            stem = f"{number:06d}-{stem}"
            while stem.casefold() in taken:
                stem = f"{number:06d}-{stem}"
        stems.append(stem)
    return stems
