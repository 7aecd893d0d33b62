"""Writes a folder of images, and the same files as archives of several kinds."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares

__all__ = ["FORMS", "SETTINGS", "Killed", "build", "files_below", "killed", "write_folder", "write_tar", "write_zip"]

SETTINGS = BuildSettings(split_shares=parse_shares("0.5,0.25,0.25"), samples_per_shard=12, global_size=32)


def build(source, out, workers=1):
    return build_dataset(source, out, SETTINGS, workers, progress=False)


def write_folder(root: Path, encode_image: Callable[..., bytes], coded_image: Callable[..., Any]) -> Path:
    """Writes 12 images in one folder per class, one of them a PNG and the others JPEGs, and a text file."""
    for index in range(12):
        below = root / ("train/real" if index % 2 else f"train/fake/gan_{'ab'[index // 2 % 2]}")
        below.mkdir(parents=True, exist_ok=True)
        kind, suffix = ("PNG", "png") if index == 3 else ("JPEG", "jpg")
        (below / f"{index:02d}.{suffix}").write_bytes(encode_image(coded_image(index, 40 + index, 30), kind))
    (root / "readme.txt").write_text("how it was made")
    return root


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_zip(path, files, method=zipfile.ZIP_STORED, system=3):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.create_system = method, system
            archive.writestr(info, data)
    return path


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


FORMS = {
    "stored zip": lambda path, files: write_zip(path / "a.zip", files),
    "deflated zip": lambda path, files: write_zip(path / "a.zip", files, zipfile.ZIP_DEFLATED),
    "zip of Windows": lambda path, files: write_zip(
        path / "a.zip", {name.replace("/", "\\"): data for name, data in files.items()}, system=0
    ),
    "zip behind a program": lambda path, files: behind(write_zip(path / "a.zip", files), b"#!/bin/sh\n" * 9),
    "tar": lambda path, files: write_tar(path / "a.tar", files),
    "tar of .": lambda path, files: write_tar(path / "a.tar", {f"./{name}": data for name, data in files.items()}),
    "tar.gz": lambda path, files: write_tar(path / "a.tar.gz", files, "w:gz"),
    "tgz": lambda path, files: write_tar(path / "a.TGZ", files, "w:gz"),
}


def behind(path, start):
    path.write_bytes(start + path.read_bytes())
    return path


class Killed(BaseException):
    """Raised where a real process would be killed."""


def killed(*arguments):
    raise Killed
