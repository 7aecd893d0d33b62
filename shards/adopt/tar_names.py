"""The tars that a person means, and the name of each in the data set over them."""

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
"""Ends of the names of sidecars, those of older data sets among them, and of their manifests."""


@dataclass(frozen=True)
class NamedTar:
    """A tar made elsewhere, by its names."""

    path: Path
    name: str
    """Relative to the data set's folder; says in the manifest which tar it is."""
    stem: str
    """Stem of its sidecar's name, no other tar's."""
    below: str = ""
    """Relative to the folder that holds all tars: the names of the folders in it may be labels."""

    @property
    def known_as(self) -> list[str]:
        """The names by which a list may refer to the tar, the longest first: its path, with fewer and fewer leading
        folders, each with and without its extension."""
        parts = self.path.as_posix().split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        return [form for end in ends for form in (end, os.path.splitext(end)[0])] + [self.name]


def find_tars(paths: Sequence[Path]) -> list[Path]:
    """The tars that ``paths`` name, each once, sorted. A folder stands for all tars below it except sidecars, and a
    path that does not exist may be a pattern. A link to a tar, as caches contain them, keeps its own name. Raises
    ``InputError`` for a path that leads to no tar, and for compressed tars."""
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
    """The tars without links to others among them. Raises ``InputError`` where several links lead to one."""
    taken: dict[Path, Path] = {}
    for tar in sorted(tars, key=lambda tar: tar != tar.resolve()):
        other = taken.setdefault(tar.resolve(), tar)
        if other not in (tar, tar.resolve()):
            raise InputError(f"{other} and {tar} lead to one tar, {tar.resolve()}: take one of the links out")
    return sorted(taken.values())


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar") and not name.lower().endswith(SIDECAR_ENDS)


def _matching(pattern: Path) -> list[Path]:
    text = str(pattern)
    try:
        names = glob.glob(text, recursive=True) if glob.has_magic(text) else []
    except RecursionError:
        raise InputError(f"{text} leads through too many folders: name a deeper one") from None
    matches = [Path(name) for name in names if _is_tar(name) and os.path.isfile(name)]
    if not matches:
        raise InputError(f"{pattern} does not exist: give tars, or folders that hold them")
    return matches


def _in_folder(folder: Path) -> list[Path]:
    """The tars below a folder, at any depth. A compressed one is passed over where it lies there unpacked."""
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
        raise InputError(f"{folder} holds no .tar files, but {what}: give tars, or folders of them")
    return found


def _is_compressed(name: str) -> bool:
    return re.search(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst)$", name.lower()) is not None


def folder_of(paths: Sequence[Path], tars: Sequence[Path]) -> Path:
    """The folder that a data set over ``tars`` goes into where none is given: the one that was given for them, or
    that all lie in. Raises ``InputError`` where there are several."""
    if len(paths) == 1 and paths[0].is_dir():
        return paths[0].resolve()
    folders = {tar.parent for tar in tars}
    if len(folders) > 1:
        raise InputError(f"the tars lie in {len(folders)} folders: say with --out where the data set shall go")
    return folders.pop()


def name_tars(paths: Sequence[Path], out: Path) -> list[NamedTar]:
    """The tars with their names in the data set ``out``."""
    above = Path(os.path.commonpath([path.parent for path in paths])) if paths else out
    stems = _stems(paths)
    return [
        NamedTar(path, Path(os.path.relpath(path, out.resolve())).as_posix(), stem, path.relative_to(above).as_posix())
        for path, stem in zip(paths, stems, strict=True)
    ]


def _stems(paths: Sequence[Path]) -> list[str]:
    """A name for the sidecar of each, none twice: by its file's name where no other has that, with
    its number in front elsewhere. Some file systems take A and a for one name."""
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
