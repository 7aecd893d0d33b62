"""The machine's own trouble makes no checkpoint damaged, and gives no image a verdict."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from glass.predict.image_sources import BytesSource, LoadedImage
from glass.predict.options import PredictOptions
from glass.predict.preparation import prepare
from glass.train.checkpoint import CheckpointStore
from loaders import LoaderConfig
from shards.files import patience
from shards.files.clock import Clock
from shards.images.rejection import RejectedImage
from shards.machine_trouble import MachineTrouble

CONFIG = LoaderConfig(num_crops=2, crop_size=16, global_size=16, global_batch_size=1)


class FailingSource:
    """An image that raises."""

    name = "folder/a.jpg"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def load(self) -> LoadedImage:
        raise self._error


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_prediction_ends_with_the_cause_and_the_image(error):
    """It was a row: too_large, or corrupt."""
    with pytest.raises(MachineTrouble, match=r"folder/a\.jpg: (there is not enough|this process)"):
        prepare(FailingSource(error), CONFIG, PredictOptions())


def test_other_errors_are_a_row_as_ever():
    for error in (ValueError("x"), OSError("x"), RejectedImage("io", "Input/output error")):
        assert isinstance(prepare(FailingSource(error), CONFIG, PredictOptions()), RejectedImage)
    assert isinstance(prepare(BytesSource("x", b"x"), CONFIG, PredictOptions()), RejectedImage)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    made = CheckpointStore(tmp_path / "checkpoints")
    for step in (1, 2):
        made.save(step, {"w": torch.ones(3)}, {"lr": 0.1}, {"step": step})
    return made


def failing(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> None:
    """The next openings of weights fail."""
    opened, opened_by_number, failed = Path.open, os.open, []

    def fail_once_more(path: Any) -> None:
        is_meant = isinstance(path, str | os.PathLike) and Path(path).name == "model.safetensors"
        if is_meant and len(failed) < times:
            failed.append(path)
            raise OSError(number, os.strerror(number), str(path))

    def open_or_fail(path: Path, *arguments: Any, **named: Any) -> Any:
        fail_once_more(path)
        return opened(path, *arguments, **named)

    def open_by_number_or_fail(path: Any, *arguments: Any, **named: Any) -> int:
        fail_once_more(path)
        return opened_by_number(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_or_fail)
    monkeypatch.setattr(os, "open", open_by_number_or_fail)


def test_no_sound_checkpoint_is_set_aside_for_want_of_descriptors(store, monkeypatch):
    failing(monkeypatch, errno.EMFILE, times=1)
    with pytest.raises(MachineTrouble, match="may open no more files"):
        store.newest()
    assert [path.name for path in sorted(store.folder.iterdir())] == ["step-00000001", "step-00000002"]


def test_nor_because_a_disk_failed_once(store, monkeypatch):
    monkeypatch.setattr(patience, "CLOCK", Clock(sleep=lambda _: None))
    failing(monkeypatch, errno.EIO, times=2)
    newest = store.newest()
    assert newest is not None
    assert newest.name == "step-00000002"


def test_weights_that_cannot_be_opened_are_not_damaged(store, monkeypatch):
    """safetensors does not pass the system's error on; the advice was to remove the checkpoint."""

    def fail(*_: object) -> None:
        raise RuntimeError("Too many open files (os error 24)")

    monkeypatch.setattr("safetensors.torch.load_file", fail)
    failing(monkeypatch, errno.EMFILE, times=1)
    with pytest.raises(MachineTrouble, match="may open no more files"):
        store.read(store.folder / "step-00000002")
