"""Saves and loads checkpoints, which are written atomically, verified by checksums, and cannot execute code when
loaded.

``RUN/checkpoints/step-00000120/`` holds ``model.safetensors``; ``optimizer.pt`` and ``training.pt`` (tensors and plain
containers, read with ``weights_only=True``); and, written last, ``checkpoint.json`` with the SHA-256 of each of the
others. The ``KEEP`` newest checkpoints are kept. If the newest one is damaged, the one before it is used, and the
damaged one is renamed to ``damaged-step-00000120``.
"""

import json
import logging
import os
import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from shards.errors import InputError, require_openable, require_sound_machine
from shards.files.json_file import read_json
from shards.files.patience import patiently
from shards.files.regular_file import file_sha256

__all__ = ["KEEP", "CheckpointStore"]

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
KEEP = 2
"""Number of checkpoints kept: the newest and the one before it."""
MODEL, OPTIMIZER, TRAINING, INDEX = ("model.safetensors", "optimizer.pt", "training.pt", "checkpoint.json")
REPLACED, GONE = ".replaced.tmp", ".gone.tmp"
"""Suffixes of checkpoint folders that are being replaced with a newer checkpoint from the same step, and of those being
deleted."""


class _Damaged(Exception):
    """Says why a checkpoint cannot be used."""


class CheckpointStore:
    """The checkpoints in one folder. One process writes; any process may read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, step: int, model: dict[str, torch.Tensor], optimizer: dict[str, Any], training: dict[str, Any]
    ) -> Path:
        """Writes the state after optimiser step ``step`` and deletes all but the ``KEEP`` newest checkpoints.

        ``optimizer`` and ``training`` contain tensors and plain containers. Raises ``InputError`` if writing fails;
        earlier checkpoints then remain untouched.
        """
        final = self.folder / f"step-{step:08d}"
        temporary = self.folder / f".{final.name}.tmp"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            tensors = {name: tensor.cpu().contiguous() for name, tensor in model.items()}
            safetensors.torch.save_file(tensors, temporary / MODEL, metadata={"format": "pt"})
            torch.save(optimizer, temporary / OPTIMIZER)
            torch.save(training, temporary / TRAINING)
            _write_index(temporary, step)
            replaced = _renamed(final, REPLACED) if final.exists() else None  # of the same step
            os.replace(temporary, final)
            if replaced is not None:
                shutil.rmtree(_renamed(replaced, GONE))
            _sync(self.folder)
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            self.remove_unfinished()
            raise InputError(
                f"the checkpoint {final} cannot be written ({error}): free some disk space or give another --output; "
                "earlier checkpoints are intact"
            ) from error
        for old in self._folders()[KEEP:]:
            shutil.rmtree(_renamed(old, GONE))
        return final

    def remove_unfinished(self) -> None:
        """Deletes what is left of checkpoints that a process was writing or deleting when it was killed.

        If it was replacing a checkpoint with a newer one from the same step, the old one is restored.
        """
        for replaced in self.folder.glob(f".step-*{REPLACED}"):
            final = self.folder / replaced.name[1 : -len(REPLACED)]
            if not final.exists():
                os.replace(replaced, final)
        for folder in self.folder.glob(".step-*.tmp"):
            shutil.rmtree(folder, ignore_errors=True)

    def newest(self) -> Path | None:
        """Returns the newest undamaged checkpoint, or None if there is no checkpoint at all.

        Damaged newer checkpoints are renamed, with a warning: they are kept for inspection, but no longer count towards
        ``KEEP``. Raises ``InputError`` if all checkpoints are damaged.
        """
        folders = self._folders()
        for place, folder in enumerate(folders):
            try:
                _check(folder)
            except _Damaged as reason:
                logger.warning("checkpoint %s is damaged (%s): trying the one before it", folder, reason)
            else:
                for damaged in folders[:place]:
                    self._set_aside(damaged)
                return folder
        if folders:
            raise InputError(
                f"every checkpoint in {self.folder} is damaged: remove that folder to train from"
                " the start, or give another --output"
            )
        return None

    def _set_aside(self, folder: Path) -> None:
        aside = folder.with_name(f"damaged-{folder.name}")
        number = 2
        while aside.exists():
            aside = folder.with_name(f"damaged-{folder.name}-{number}")
            number += 1
        os.replace(folder, aside)
        logger.warning("the damaged checkpoint is kept as %s; you may delete it", aside)

    def _folders(self) -> list[Path]:
        """The checkpoint folders, newest first. Unfinished ones, whose names begin with a dot, are left out."""
        return sorted(self.folder.glob("step-*"), reverse=True)

    @staticmethod
    def read(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any]]:
        """Returns (model, optimizer, training) as passed to :meth:`save`, with all tensors on the CPU.

        Raises ``InputError`` if the files cannot have been written by :meth:`save`.
        """
        try:
            return (
                safetensors.torch.load_file(folder / MODEL),
                _load_plain(folder / OPTIMIZER),
                _load_plain(folder / TRAINING),
            )
        except Exception as error:  # pickle, zip and safetensors errors have no common ancestor
            require_sound_machine(error, folder)
            require_openable(folder / MODEL)
            raise InputError(
                f"the checkpoint {folder} cannot be read ({type(error).__name__}): remove it to continue from the one "
                "before"
            ) from error


def _renamed(folder: Path, ending: str) -> Path:
    """Renames a checkpoint that is about to be deleted, and returns its new path.

    If a process were killed while deleting it under its old name, the remaining files would look like a damaged
    checkpoint.
    """
    name = "." + folder.name.removeprefix(".").removesuffix(REPLACED) + ending
    renamed = folder.with_name(name)
    shutil.rmtree(renamed, ignore_errors=True)
    os.replace(folder, renamed)
    return renamed


def _load_plain(path: Path) -> Any:
    """Loads tensors and plain containers from a file that ``torch.save`` wrote.

    Raises ``ValueError`` if the file, a zip archive, has compressed or overlapping members, which could expand to any
    size.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("packed members")
    if unpacked > path.stat().st_size:
        raise ValueError("members that overlap")
    return torch.load(path, map_location="cpu", weights_only=True)


def _write_index(folder: Path, step: int) -> None:
    files = {}
    for name in (MODEL, OPTIMIZER, TRAINING):
        _sync(folder / name)
        files[name] = file_sha256(folder / name)
    index = {"format_version": FORMAT_VERSION, "step": step, "sha256": files}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    _sync(folder / INDEX)
    _sync(folder)


def _check(folder: Path) -> None:
    """Raises ``_Damaged`` unless every file exists and has its recorded SHA-256."""
    try:
        index = read_json(folder / INDEX)
        version, digests = index["format_version"], index["sha256"]
        if version != FORMAT_VERSION:
            raise InputError(
                f"the checkpoint {folder} has format_version {version!r}, this version reads"
                f" {FORMAT_VERSION}: use the version of this project that wrote it"
            )
        for name in (MODEL, OPTIMIZER, TRAINING):
            if patiently(partial(file_sha256, folder / name)) != digests[name]:
                raise _Damaged(f"{name} has changed since it was written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        require_sound_machine(error, folder)  # a machine fault must not set sound checkpoints aside
        raise _Damaged(f"{type(error).__name__}: {error}") from error


def _sync(path: Path) -> None:
    """Flushes the contents of ``path`` to disk, so that a later rename cannot reach the disk before they do."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
