"""After a machine problem, no checkpoint counts as damaged, and no image receives a verdict."""

import errno
from pathlib import Path

import pytest
import torch

from glass.predict.image_sources import BytesSource, LoadedImage
from glass.predict.options import PredictOptions
from glass.predict.preparation import prepare
from glass.train.checkpoint import CheckpointStore
from loaders import LoaderConfig
from shards.errors import MachineTrouble
from shards.images.rejection import RejectedImage
from tests.machine.failing_files import fail_openings, note_pauses

CONFIG = LoaderConfig(num_crops=2, crop_size=16, global_size=16, global_batch_size=1)


class FailingSource:
    """An image source whose loading raises ``error``."""

    name = "folder/a.jpg"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def load(self) -> LoadedImage:
        raise self._error


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_prediction_ends_with_the_cause_and_the_image(error):
    """A prediction stops if there is too little memory or there are too few file descriptors. Formerly, it produced a
    row that called the image too_large or corrupt."""
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
    """Makes the next ``times`` attempts to open model weights fail with the error ``number``."""
    fail_openings(monkeypatch, "model.safetensors", number, times)


def test_no_sound_checkpoint_is_set_aside_for_want_of_descriptors(store, monkeypatch):
    failing(monkeypatch, errno.EMFILE, times=1)
    with pytest.raises(MachineTrouble, match="cannot open more files"):
        store.newest()
    assert [path.name for path in sorted(store.folder.iterdir())] == ["step-00000001", "step-00000002"]


def test_nor_because_a_disk_failed_once(store, monkeypatch):
    note_pauses(monkeypatch)
    failing(monkeypatch, errno.EIO, times=2)
    newest = store.newest()
    assert newest is not None
    assert newest.name == "step-00000002"


def test_weights_that_cannot_be_opened_are_not_damaged(store, monkeypatch):
    """Weights that cannot be opened raise ``MachineTrouble``, even though safetensors hides the system's error in a
    ``RuntimeError``. Formerly, they were reported as damaged, with the advice to remove the checkpoint."""

    def fail(*_: object) -> None:
        raise RuntimeError("Too many open files (os error 24)")

    monkeypatch.setattr("safetensors.torch.load_file", fail)
    failing(monkeypatch, errno.EMFILE, times=1)
    with pytest.raises(MachineTrouble, match="cannot open more files"):
        store.read(store.folder / "step-00000002")
