"""The tars that a person means, and the name of each in the data set over them."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.archives import archive_kind, unpack_first

__all__ = ["SIDECAR_ENDS", "NamedTar", "common_folder", "find_tars", "name_tars"]

SIDECAR_ENDS = (".sidecar", ".sidecar.tar", ".sidecar.parquet")
"""Ends of the names of sidecars, those of older data sets among them, and of their manifests."""

_SEARCHED_FOLDERS = 10_000
"""Folders that are looked through to advise a person where the tars lie."""


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
        """The names by which a list may call it, the longest first: its path, with ever fewer
        folders in front, with and without its extension."""
        parts = self.path.as_posix().split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        return [form for end in ends for form in (end, os.path.splitext(end)[0])] + [self.name]


def find_tars(paths: Sequence[Path]) -> list[Path]:
    """The tars, each once, sorted; of folders those directly inside, sidecars left out. A path that
    does not exist may be a pattern. Raises ``InputError``."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(p.resolve() for p in _in_folder(path)))
        elif path.exists():
            kind = archive_kind(path)
            if kind not in ("", "tar"):
                raise InputError(unpack_first(path, kind, "a plain .tar"))
            found[path.resolve()] = None
        else:
            found.update(dict.fromkeys(p.resolve() for p in _matching(path)))
    return sorted(found)


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
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    inside = [folder / name for name in names if _is_tar(name)]
    if inside:
        return inside
    deeper = _deeper(folder)
    if deeper:
        raise InputError(
            f"{folder} holds no .tar files itself, but {counted(deeper, 'tar')} in its folders: "
            f"give '{folder}/**/*.tar', and with --out where the data set shall go"
        )
    what = ", ".join(names[:5]) + (" …" if len(names) > 5 else "") or "nothing"
    raise InputError(f"{folder} holds no .tar files, but {what}: give tars, or folders of them")


def _deeper(folder: Path) -> int:
    """How many tars lie in the folders of ``folder``, as far as it was looked."""
    waiting, count = [str(folder)], 0
    for _ in range(_SEARCHED_FOLDERS):
        if not waiting:
            break
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        count += _is_tar(entry.name)
        except OSError:  # advice only: what cannot be listed adds nothing to it
            continue
    return count


def common_folder(tars: Sequence[Path]) -> Path:
    """The folder that all tars lie in. Raises ``InputError`` where there are several."""
    folders = {path.parent for path in tars}
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
