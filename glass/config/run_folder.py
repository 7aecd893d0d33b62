"""Manages a training run's folder: its settings, its progress, and its model.

The folder holds:

* ``run.json``: settings, data, versions, hardware, and whether the run is finished;
* ``run.toml``: the settings, in the format that ``--config`` reads, for starting other runs;
* ``learnt_ids.parquet``: the images that the run learns from;
* ``metrics.jsonl``: one line per epoch;
* ``checkpoints/`` and ``tensorboard/``;
* ``model/``: the exported model of the best epoch.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from glass.config.dataset_digest import DatasetDigest
from glass.config.learnt_ids import LEARNT_FILE
from glass.config.overrides import flat_settings
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_file import run_file_text
from glass.config.versions import installed_versions
from shards.errors import InputError
from shards.files.atomic import final_name, remove_temporaries, write_text_atomic
from shards.files.documents import Number, document_text, typed_document, versioned_document
from shards.files.json_file import parse_json, read_json, read_json_bytes
from shards.files.locks import holder, try_lock
from shards.files.outputs import refuse_address

__all__ = ["EpochLine", "RunFolder", "RunRecord", "TrainedOn", "read_record"]

FORMAT_VERSION = 1

FREE_TO_CHANGE = frozenset(
    {"cpu_threads", "max_bad_samples", "loader.verify"}
    | {f"loader.{name}" for name in ("backend", "decode", "num_threads", "prefetch_batches")}
    | {"loader.remote_reads", "process_timeout_s", "train.trackers"}
    | {"loader.device"}
)
"""Settings that may change when a run is resumed: they concern hardware, speed, error limits and trackers."""

WRITTEN_UNDER_THE_LOCK = frozenset({"run.json", "run.toml", "metrics.jsonl", "bad_samples.jsonl", LEARNT_FILE})
MODEL_FILES = frozenset({"model.safetensors", "config.json"})
"""``WRITTEN_UNDER_THE_LOCK`` lists the files that training writes into the run's folder, ``MODEL_FILES`` those that it
writes into ``model/``. Only leftover temporary versions of these files are deleted; those of other files may belong to
an evaluation or a calibration that is running at the same time."""


class TrainedOn(DatasetDigest):
    """The data set that a run was trained on."""

    path: NotRequired[str]
    """The data set's folder or address at training time; used to find its audit. Absent in older documents."""


class RunRecord(TypedDict):
    """The content of ``run.json``."""

    format_version: int
    preset: NotRequired[str]
    config: dict[str, Any]
    """The settings, see :func:`glass.config.run_config.config_to_dict`."""
    data: TrainedOn
    environment: NotRequired[dict[str, Any]]
    """The hardware and system that the run uses."""
    versions: NotRequired[dict[str, str]]
    backbones: NotRequired[dict[str, Any] | None]
    """Maps each backbone to its timm ``name`` and the ``weights_sha256`` of its initial weights; null before the first
    step."""
    finished: dict[str, Any] | None
    """An object with two entries: ``best`` (the metrics of the epoch whose model was exported) and ``steps`` (the
    number of optimiser steps). Null until the run is finished."""


class EpochLine(TypedDict):
    """A line of ``metrics.jsonl``. Only the entries that this project reads back are declared."""

    epoch: int
    """Index of the epoch, starting at 1."""
    step: NotRequired[int]
    train_loss: NotRequired[Number]
    train_images: NotRequired[Number]
    train_time_s: NotRequired[Number]
    data_wait_s: NotRequired[Number]
    images_per_s: NotRequired[Number]
    valid_loss: NotRequired[Number | None]
    valid_auroc: NotRequired[Number | None]
    valid_accuracy: NotRequired[Number | None]
    epoch_time_s: NotRequired[Number]


def read_record(path: Path) -> RunRecord:
    """Returns the content of the ``run.json`` at ``path``.

    Raises ``OSError`` if it cannot be read, and ``ValueError`` naming the first entry that does not match
    :class:`RunRecord`.
    """
    return versioned_document(read_json(path), RunRecord, FORMAT_VERSION)


class RunFolder:
    """The paths and records of one run. Only the run's main process may write them."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Context manager: creates the folder, locks it against other training runs, and deletes leftover temporary
        files.

        Raises ``InputError`` if the folder cannot be created, holds something other than a run, or is in use.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.refuse_foreign()
            descriptor = try_lock(self.path / ".lock")
        except OSError as error:
            raise InputError(
                f"the folder {self.path} cannot be created ({error.strerror}): give another --output"
            ) from error
        if descriptor is None:
            raise InputError(
                f"another process is training in {self.path}, {holder(self.path / '.lock')}: wait"
                " for it or give another --output"
            )
        try:
            self._sweep()
            yield
        finally:
            os.close(descriptor)  # releases the lock

    def require_idle(self, remedy: str) -> None:
        """Raises ``InputError``, which ends with ``remedy``, if another process is training in the folder."""
        lock = self.path / ".lock"
        if not lock.exists():
            return
        try:
            descriptor = try_lock(lock)
        except OSError:  # a folder that this user may only read
            return
        if descriptor is None:
            raise InputError(f"another process is training in {self.path}, {holder(lock)}: {remedy}")
        os.close(descriptor)

    def refuse_foreign(self) -> None:
        """Raises ``InputError`` if the path is an address, a file, or a folder that holds something other than a
        run."""
        refuse_address(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: give a new folder as --output")
        if self.path.is_dir() and not self._record_path.exists() and any(self._foreign_entries()):
            raise InputError(f"{self.path} holds other files: give a new folder as --output")

    def _foreign_entries(self) -> Iterator[Path]:
        return (
            entry
            for entry in self.path.iterdir()
            if entry.name != ".lock" and final_name(entry.name) not in WRITTEN_UNDER_THE_LOCK
        )

    def _sweep(self) -> None:
        remove_temporaries(self.path, WRITTEN_UNDER_THE_LOCK.__contains__)
        if self.model.is_dir():
            remove_temporaries(self.model, MODEL_FILES.__contains__)

    @property
    def _record_path(self) -> Path:
        return self.path / "run.json"

    def record(self) -> RunRecord | None:
        """Returns the content of ``run.json``, or None if no run was started here. Raises ``InputError`` if it cannot
        be read."""
        if not self._record_path.exists():
            return None
        try:
            return read_record(self._record_path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self._record_path} is not the record of a run of this version ({error}): give another folder as "
                "--output"
            ) from error

    def begin(self, config: RunConfig, data: TrainedOn, environment: dict[str, Any]) -> None:
        """Writes ``run.json`` and, for a new run, ``run.toml``.

        ``data`` holds the data set's digest and its path; ``environment`` describes the hardware and system. If the
        folder already holds a run that is finished or has a checkpoint, its data and settings must match ``data`` and
        ``config``. Settings in ``FREE_TO_CHANGE`` may differ. Raises ``InputError`` naming the first other difference.
        """
        before = self.record()
        goes_on = before is not None and self._worth_keeping(before)
        if before is not None and goes_on:
            self._check_same(before, config, data)
        record: RunRecord = {
            "format_version": FORMAT_VERSION,
            "preset": config.preset,
            "config": config_to_dict(config),
            "data": data,
            "environment": environment,
            "versions": installed_versions(),
            "backbones": before.get("backbones") if before is not None else None,
            "finished": None,
        }
        self._write(record)
        settings = self.path / "run.toml"
        if not (goes_on and settings.exists()):  # a user may have added comments to it
            write_text_atomic(settings, run_file_text(config))

    def note_backbones(self, backbones: dict[str, Any]) -> None:
        """Records the backbones in ``run.json``.

        ``backbones`` maps each backbone to its timm ``name`` and the ``weights_sha256`` of its initial weights
        (:func:`glass.model.backbones.weights_digest`).
        """
        record = self.record()
        assert record is not None
        record["backbones"] = backbones
        self._write(record)

    def is_finished(self, config: RunConfig, data: DatasetDigest) -> bool:
        """Whether the folder holds a finished run with these settings and data.

        Raises ``InputError`` if the settings or data differ from those of a run in the folder that is finished or has a
        checkpoint (see :meth:`begin`).
        """
        record = self.record()
        if record is None or not self._worth_keeping(record):
            return False
        self._check_same(record, config, data)
        return record["finished"] is not None

    def data_note(self) -> str:
        """The training data set's note; ``""`` if it has none."""
        record = self.record()
        return "" if record is None else record["data"].get("note", "")

    def has_checkpoints(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return any(self.checkpoints.glob("step-*"))

    def _worth_keeping(self, record: RunRecord) -> bool:
        """Whether ``record`` belongs to a run that is finished or has a checkpoint, so its settings must not change."""
        return record["finished"] is not None or self.has_checkpoints()

    def _check_same(self, before: RunRecord, config: RunConfig, data: DatasetDigest) -> None:
        # Settings added since the run was started take their defaults, which reproduce its behaviour.
        then = flat_settings(config_to_dict(RunConfig())) | flat_settings(before["config"])
        now = flat_settings(config_to_dict(config))
        for key in [*now, *(key for key in then if key not in now)]:
            if key not in FREE_TO_CHANGE and then.get(key) != now.get(key):
                raise InputError(
                    f"{self.path} holds a run with {key}={then.get(key)!r}, not {now.get(key)!r}: give another folder "
                    "as --output, or the settings with which it was started"
                )
        if before["data"]["dataset_json_sha256"] != data["dataset_json_sha256"]:
            name, other = data["name"], before["data"]["name"]
            which = f"{other}, now {name}" if other != name else f"{name} before it was built again"
            raise InputError(f"{self.path} holds a run on another data set ({which}): give another folder as --output")

    def finish(self, summary: dict[str, Any]) -> None:
        """Marks the run as finished in ``run.json``, and records a ``summary`` of its result."""
        record = self.record()
        assert record is not None
        record["finished"] = summary
        self._write(record)

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Rewrites ``metrics.jsonl``, one line per epoch.

        Lines are never appended, so a run that resumed from an earlier checkpoint does not list any epoch twice.
        """
        lines = [json.dumps(entry, allow_nan=False) + "\n" for entry in history]
        write_text_atomic(self.path / "metrics.jsonl", "".join(lines))

    def read_metrics(self) -> list[EpochLine]:
        """Returns the lines of ``metrics.jsonl``; an empty list before the first epoch. Raises ``InputError`` if the
        file is damaged."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        try:
            return [typed_document(parse_json(line), EpochLine, "line") for line in read_json_bytes(path).splitlines()]
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is damaged ({error}): delete {self.path} and run the same command again"
            ) from error

    def _write(self, record: RunRecord) -> None:
        write_text_atomic(self._record_path, document_text(record, RunRecord, ascii_only=True))
