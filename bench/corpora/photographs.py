"""Finds the JPEG photographs in a user's folder that are suitable for a bench."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from shards.errors import InputError
from shards.files.folder_walk import walk_folder

__all__ = ["FoundPhotographs", "find_photographs"]

IMAGE_SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".avif",
    ".heic",
    ".heif",
}
JPEG_START = b"\xff\xd8\xff"
EXACT_MODES = ("RGB", "L")
"""Pillow modes of the JPEGs that libjpeg-turbo, DALI and Pillow decode to the same pixels. CMYK is excluded, because
each library converts it differently."""


@dataclass(frozen=True)
class FoundPhotographs:
    """The photographs found under a folder."""

    paths: list[Path]
    """Sorted paths with symbolic links resolved, one path for each distinct file content."""
    skipped: dict[str, int]
    """Maps each reason for leaving out files to the number of such files."""


def find_photographs(folder: Path, min_megapixels: float) -> FoundPhotographs:
    """Finds the JPEGs under ``folder``, at any depth.

    Symbolic links are followed, and links to the same file count as one file. Files are omitted if they are copies,
    unreadable, in another format, in a colour mode that decoders convert differently, or smaller than
    ``min_megapixels`` (thumbnails). ``skipped`` gives the number of files omitted for each reason. Raises
    ``InputError`` if ``folder`` is not a folder or no photograph remains.
    """
    if not folder.is_dir():
        raise InputError(f"--photos {folder}: no such folder")
    seen: set[bytes] = set()
    paths, skipped = [], Counter[str]()
    found = (Path(here, name) for here, names in walk_folder(folder) for name in names)
    for path in sorted({path.resolve() for path in found if _is_image(path)}):
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        reason = "copy of another file" if digest in seen else _why_not(path, data, min_megapixels)
        seen.add(digest)
        if reason:
            skipped[reason] += 1
        else:
            paths.append(path)
    if not paths:
        left_out = ", ".join(f"{number} {reason}" for reason, number in skipped.items())
        raise InputError(
            f"--photos {folder}: contains no JPEG that can be measured"
            + (f" ({left_out})" if left_out else "; give a folder of photographs")
        )
    return FoundPhotographs(paths, dict(skipped))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _why_not(path: Path, data: bytes, min_megapixels: float) -> str | None:
    if not data.startswith(JPEG_START):
        return f"not a JPEG but {path.suffix.lower().removeprefix('.')}"
    try:
        with Image.open(path) as image:
            if image.mode not in EXACT_MODES:
                return f"{image.mode}, which decoders convert differently"
            if image.width * image.height < min_megapixels * 1e6:
                return f"below {min_megapixels:g} megapixels"
    except (OSError, ValueError, Image.DecompressionBombError):
        return "unreadable"
    return None
