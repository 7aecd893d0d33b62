"""Saves and restores the state that a run needs to resume exactly, gathered from all processes."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from accelerate.utils import broadcast_object_list, gather_object

from glass.export.model_folder import load_state
from glass.model.timm_library import timm
from glass.train.bad_samples import LedgerLoader
from glass.train.checkpoint import CheckpointStore
from glass.train.random_state import get_random_state, seed_all, set_random_state
from glass.train.step import Totals
from shards.errors import InputError

__all__ = ["BatchLoader", "Progress", "RunState"]

logger = logging.getLogger(__name__)


class BatchLoader(LedgerLoader, Protocol):
    """The part of the loader interface that training uses; ``loaders.build_loader`` builds such loaders."""

    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Progress:
    """A run's position, as plain values; part of every checkpoint."""

    epoch: int = 0
    """Number of finished epochs."""
    step: int = 0
    """Optimiser steps since the start."""
    step_in_epoch: int = 0
    """Steps taken in the unfinished epoch."""
    best: dict[str, Any] | None = None
    """The exported model's line in ``history``."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One line per finished epoch, as in ``metrics.jsonl``."""

    def check(self) -> None:
        """Raises ``TypeError`` or ``ValueError`` if no run could have produced these values."""
        for name in ("epoch", "step", "step_in_epoch"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} is {str(value)[:60]!r}")
        if not (isinstance(self.history, list) and len(self.history) == self.epoch):
            raise ValueError("history does not have a line per epoch")
        if self.best is not None and self.best not in self.history:
            raise ValueError("best is not a line of history")
        json.dumps(self.history, allow_nan=False)


@dataclass
class RunState:
    """The parts of a run that change during training.

    The model, the optimiser and the schedule were prepared by ``accelerator``. :meth:`save` and :meth:`load` must be
    called on all processes.
    """

    accelerator: Any
    model: Any
    optimizer: Any
    schedule: Any
    loader: BatchLoader
    seed: int
    average: "timm.utils.ModelEmaV3 | None" = None
    """The moving average of the weights, on every process; None if ``train.ema`` is not set."""
    progress: Progress = field(default_factory=Progress)
    totals: Totals = field(init=False)

    def __post_init__(self) -> None:
        self.totals = Totals(self.accelerator.device)

    @property
    def plain_model(self) -> Any:
        """The model without the wrappers of DistributedDataParallel and ``torch.compile``."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    @property
    def judged_model(self) -> Any:
        """The model that is validated and exported: the moving average if there is one."""
        return self.plain_model if self.average is None else self.average.module

    def follow(self) -> None:
        """Updates the moving average with the model's current weights; at the first step, copies them instead."""
        if self.average is not None:
            self.average.update(self.plain_model, self.progress.step)

    def save(self, store: CheckpointStore) -> None:
        """Saves the state after the last optimiser step as a checkpoint. Only the main process writes."""
        scaler = self.accelerator.scaler
        training = {
            "progress": dict(vars(self.progress)),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
            # Between two epochs there is no position to save: the next epoch starts at its beginning.
            "loader": self.loader.state_dict() if self.progress.step_in_epoch else None,
            "totals": self.totals.state(self.accelerator),
            "random": gather_object([get_random_state(self.accelerator.device)]),
            "average": None if self.average is None else self.average.module.state_dict(),
        }
        if self.accelerator.is_main_process:
            store.save(self.progress.step, self.plain_model.state_dict(), self.optimizer.state_dict(), training)
        self.accelerator.wait_for_everyone()

    def load(self, store: CheckpointStore) -> Path | None:
        """Restores the newest undamaged checkpoint and returns its folder; None if there is none.

        Raises ``InputError`` if the checkpoint belongs to another model or run.
        """
        found = store.newest() if self.accelerator.is_main_process else None
        (found,) = broadcast_object_list([found])
        if found is None:
            return None
        model, optimizer, training = store.read(found)
        load_state(self.plain_model, model, str(found))
        try:
            self._take_up(optimizer, training)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"the checkpoint {found} does not hold the state of this run ({type(error).__name__}: {error}): "
                "remove it to continue from the one before"
            ) from error
        return found

    def _take_up(self, optimizer: dict[str, Any], training: dict[str, Any]) -> None:
        """Restores everything but the weights. Raises exceptions of various types if the states do not belong to this
        run.

        A checkpoint's checksums prove that its files are undamaged, but not that they belong to this run.
        """
        self.optimizer.load_state_dict(optimizer)
        if set(training["schedule"]) != set(self.schedule.state_dict()):
            raise ValueError("the learning-rate schedule differs")
        self.schedule.load_state_dict(training["schedule"])
        if self.accelerator.scaler and training["scaler"]:
            self.accelerator.scaler.load_state_dict(training["scaler"])
        self.progress = Progress(**training["progress"])
        self.progress.check()
        self.totals.load_state(training["totals"], self.accelerator.is_main_process)
        if training["loader"] is not None:
            self.loader.load_state_dict(training["loader"])
        if self.average is not None:
            self.average.module.load_state_dict(training["average"])
        self._restore_random(training["random"])

    def _restore_random(self, states: list[dict[str, Any]]) -> None:
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        if len(states) == processes:
            set_random_state(states[rank], self.accelerator.device)
            return
        logger.info(
            "the checkpoint was written by %d processes, but there are %d now: the batches stay the same, but "
            "dropout masks change",
            len(states),
            processes,
        )
        seed_all(self.seed, stream=(self.progress.step << 16) + rank + 1)
