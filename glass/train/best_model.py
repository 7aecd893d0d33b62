"""Exports the model from a run's best epoch so far, and keeps it consistent with the checkpoints."""

import logging
from typing import Any

from accelerate.utils import broadcast_object_list

from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.export.model_folder import holds_model, save_model
from glass.train.metrics_line import is_better
from glass.train.state import RunState

__all__ = ["BestModel"]

logger = logging.getLogger(__name__)


class BestModel:
    """Chooses and exports the best model.

    Each process has one instance. Its methods must be called on all processes; the main process writes.
    """

    def __init__(self, config: RunConfig, state: RunState, folder: RunFolder) -> None:
        self.config, self.state, self.folder = config, state, folder

    def consider(self, line: dict[str, Any]) -> bool:
        """Records an epoch, given by its metrics ``line``, as the new best if it is better than the best so far.
        Returns whether it is.
        """
        better = is_better(line, self.state.progress.best, self.config.select_by)
        if better:
            self.state.progress.best = line
        return better

    def export(self) -> None:
        """Writes ``model/`` if the last finished epoch is the best so far.

        Call it only after the epoch's checkpoint has been written; otherwise, a killed run might resume from a point
        before the epoch whose model was already exported.
        """
        best = self.state.progress.best
        if self.state.accelerator.is_main_process and best and best["epoch"] == self.state.progress.epoch:
            save_model(self.folder.model, self.state.judged_model, self.config, best, self.folder.data_note())

    def restore(self) -> None:
        """Makes sure, when a run is resumed, that ``model/`` contains the best epoch's model.

        It may contain another epoch's model if the process was killed before the export, or if the run fell back to an
        earlier checkpoint because a later one was damaged. If the best epoch's weights no longer exist, logs a warning
        and discards that epoch. The best epoch is then chosen from those still to come and, if the run resumes at the
        end of an epoch, that epoch.
        """
        progress = self.state.progress
        if progress.best is None:
            return
        whole = self.state.accelerator.is_main_process and holds_model(self.folder.model, progress.best)
        if broadcast_object_list([whole])[0]:
            return
        if progress.best["epoch"] == progress.epoch and not progress.step_in_epoch:
            self.export()
            return
        logger.warning(
            "the model of epoch %d, the best so far, is missing, or was replaced by that of a later epoch that is "
            "now trained again: the best model is chosen among the epochs from here on",
            progress.best["epoch"],
        )
        progress.best = None if progress.step_in_epoch else progress.history[-1]
        if not progress.step_in_epoch:
            self.export()
