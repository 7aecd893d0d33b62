"""Runs a training from its first to its last epoch: trains, validates, saves checkpoints and exports the best model."""

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.measure.metrics import binary_metrics
from glass.train.bad_samples import BadSampleLedger
from glass.train.best_model import BestModel
from glass.train.checkpoint import CheckpointStore
from glass.train.divergence import require_finite_loss, require_finite_scores
from glass.train.metrics_line import describe, epoch_line, epochs_without_gain
from glass.train.processes import StopSignal, any_process
from glass.train.progress import ProgressDisplay, report_if_slow
from glass.train.state import BatchLoader, RunState
from glass.train.step import Engine, Totals, grouped
from glass.train.validation import validation_scores
from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["CHECK_EVERY", "Trainer"]

logger = logging.getLogger(__name__)

CHECK_EVERY = 10
"""How often, in steps, the loss is checked and the processes agree on whether to stop. Each check waits for the
device."""


class Trainer:
    """Trains all epochs in ``config``; each process has one trainer.

    It saves a checkpoint after each epoch and, if ``checkpoint_every`` is given, every ``checkpoint_every`` steps.
    ``on_epoch`` is called with each epoch's metrics and stops the run by returning False.
    """

    def __init__(
        self,
        config: RunConfig,
        state: RunState,
        valid_loader: BatchLoader,
        folder: RunFolder,
        *,
        precision: str,
        class_weights: tuple[float, float] | None = None,
        checkpoint_every: int | None = None,
        on_epoch: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        self.config, self.state, self.accelerator = config, state, state.accelerator
        self.valid_loader, self.folder, self.precision = valid_loader, folder, precision
        self.checkpoint_every, self.on_epoch = checkpoint_every, on_epoch
        self.store = CheckpointStore(folder.checkpoints)
        self.ledger = BadSampleLedger(folder.path / "bad_samples.jsonl", self.accelerator, config.max_bad_samples)
        self.best = BestModel(config, state, folder)
        self._warm = False
        self.engine = Engine(config, self.accelerator, state.model, state.optimizer, class_weights)

    def resume(self) -> bool:
        """Resumes from the newest checkpoint and logs which; returns False if there is none."""
        if self.accelerator.is_main_process:
            self.store.remove_unfinished()
        self.ledger.load_earlier()
        found, progress = self.state.load(self.store), self.state.progress
        if found is None:
            return False
        if self.accelerator.is_main_process:  # drops lines for epochs after this checkpoint
            self.folder.write_metrics(progress.history)
        self.best.restore()
        logger.info("continuing from %s: epoch %d, step %d", found, progress.epoch + 1, progress.step)
        return True

    def refuse_if_still_bad(self, dataset: ShardDataset) -> None:
        """Retries the samples that the run could not read before it was interrupted.

        Raises ``InputError`` if too many still cannot be read.
        """
        loaders = {self.config.train_split: self.state.loader, self.config.valid_split: self.valid_loader}
        summaries = [
            self.ledger.count_still_bad(split, loader.num_samples, dataset, self.config.loader)
            for split, loader in loaders.items()
        ]
        if any(summaries):
            raise InputError("; ".join(summary for summary in summaries if summary))

    def fit(self) -> bool:
        """Trains until the last epoch is done or patience runs out, and returns True.

        If a signal or ``on_epoch`` stops it earlier, saves a checkpoint from which the run can be resumed and returns
        False.
        """
        with StopSignal() as stop:
            while not self._is_over():
                line = self._finish_epoch(stop) if self._train_epoch(stop) else None
                self.state.save(self.store)
                if line is None:
                    return False
                self.best.export()
                wanted = self.on_epoch is None or self.on_epoch(line)
                if any_process(self.accelerator, stop.received is not None or not wanted):
                    break
        over = self._is_over()
        if over and self.state.progress.epoch < self.config.epochs:
            waited = counted(self.config.train.patience or 0, "epoch")
            logger.info("no better %s for %s: stopping early", self.config.select_by, waited)
        return over

    def _is_over(self) -> bool:
        """Whether the run is finished. This depends only on the history, so a resumed run ends at the same epoch."""
        progress, patience = self.state.progress, self.config.train.patience
        if progress.epoch >= self.config.epochs:
            return True
        if patience is None or progress.step_in_epoch:
            return False
        return epochs_without_gain(progress.history, self.config.select_by) >= patience

    def _train_epoch(self, stop: StopSignal) -> bool:
        """Trains the rest of the current epoch; returns False if it was stopped before the end."""
        progress, totals, loader = self.state.progress, self.state.totals, self.state.loader
        if not progress.step_in_epoch:  # otherwise the position was loaded
            loader.set_epoch(progress.epoch)
        steps = math.ceil(len(loader) / self.config.grad_accum_steps)
        self.state.model.train()
        with self._display(steps) as display:
            clock = time.perf_counter()
            for batches in self._groups(loader, totals):
                self.engine.step(batches, totals)
                before, clock = clock, time.perf_counter()
                totals.train_time_s += clock - before
                progress.step += 1
                progress.step_in_epoch += 1
                self.state.follow()
                self._look(display)
                if progress.step_in_epoch == steps:  # the checkpoint follows at the end of the epoch
                    # An epoch too short for a check is trained again once the shards are repaired.
                    self._require_readable(save=steps > CHECK_EVERY)
                    break
                if progress.step % CHECK_EVERY == 0:
                    self._require_readable()
                if self._stopped(stop, progress.step):
                    return False
                if self.checkpoint_every and progress.step % self.checkpoint_every == 0:
                    self.state.save(self.store)
                    clock = time.perf_counter()
        return True

    def _groups(self, loader: BatchLoader, totals: Totals) -> Iterator[list[dict[str, Any]]]:
        """Yields each step's batches, and logs an explanation if the process's first step is slow.

        Before and during that step, kernels are compiled and selected, and the loader's readers start up, which may
        take half a minute.
        """
        groups = grouped(loader, self.config.grad_accum_steps, totals)
        if not self._warm:
            with report_if_slow("preparing the first step: compiling kernels, reading the first samples"):
                first = next(groups, None)
                if first is None:
                    return
            with report_if_slow("taking the first step, which is slower than those after it"):
                yield first
            self._warm = True
        yield from groups

    def _display(self, steps: int) -> ProgressDisplay:
        progress = self.state.progress
        return ProgressDisplay(
            f"epoch {progress.epoch + 1}/{self.config.epochs}",
            total=steps,
            done=progress.step_in_epoch,
            later=(self.config.epochs - progress.epoch - 1) * steps,
            shown=self.accelerator.is_main_process,
        )

    def _look(self, display: ProgressDisplay) -> None:
        """Advances the display. Every ``CHECK_EVERY`` steps, also reads and displays the loss, and raises
        ``TrainingDiverged`` if it is not finite.
        """
        progress, totals = self.state.progress, self.state.totals
        if progress.step % CHECK_EVERY:
            display.advance()
            return
        seen = totals.read(self.accelerator)
        require_finite_loss(seen["loss"], progress, CHECK_EVERY)
        seconds = max(totals.train_time_s, 1e-9)
        display.advance(
            loss=seen["loss"], images_per_s=seen["samples"] / seconds, wait_share=totals.data_wait_s / seconds
        )
        self.accelerator.log({"train/loss": seen["loss"]}, step=progress.step)

    def _require_readable(self, save: bool = True) -> None:
        """Records the samples that could not be read, and raises ``InputError`` if there are too many.

        If ``save`` is true, saves a checkpoint before raising, so that once the shards are repaired, the run can resume
        from here rather than from the previous checkpoint.
        """
        summaries = (
            self.ledger.collect(self.config.train_split, self.state.loader),
            self.ledger.collect(self.config.valid_split, self.valid_loader),
        )
        if not any(summaries):
            return
        if save:
            self.state.save(self.store)
        raise InputError("; ".join(summary for summary in summaries if summary))

    def _stopped(self, stop: StopSignal, number: int) -> bool:
        """Whether to stop at step ``number``, or at validation batch ``number``.

        A single process may stop at any step or batch. Several processes stop only at multiples of ``CHECK_EVERY``,
        where they share whether any of them has received a signal.
        """
        if self.accelerator.num_processes == 1:
            return stop.received is not None
        return number % CHECK_EVERY == 0 and any_process(self.accelerator, stop.received is not None)

    def _finish_epoch(self, stop: StopSignal) -> dict[str, Any] | None:
        """Validates the epoch, records its metrics, and advances the schedule. Returns None if a signal interrupts
        validation.

        After an interruption, the saved position is still the epoch's last step, and the resumed run starts with
        validation. A signal has to interrupt validation, because it may take longer than the time a cluster allows
        before killing a job.
        """
        state, progress = self.state, self.state.progress
        trained = state.totals.read(self.accelerator)
        require_finite_loss(trained["loss"], progress, CHECK_EVERY)
        started = time.perf_counter()
        valid = self._validated(stop)
        if valid is None:
            return None
        self._require_readable()  # before the epoch counts: it will be validated again
        line = epoch_line(
            progress, trained, state.totals, valid, time.perf_counter() - started, state.optimizer.param_groups
        )
        with warnings.catch_warnings():
            # A resumed run may start with validation, before it has taken a step itself.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            state.schedule.step()
        progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        state.totals = Totals(self.accelerator.device)
        self._note(line)
        return line

    def _validated(self, stop: StopSignal) -> dict[str, float | None] | None:
        """Returns the metrics on the validation split, or None if a signal interrupted validation."""
        predictions = validation_scores(
            self.state, self.valid_loader, self.precision, lambda number: self._stopped(stop, number)
        )
        if predictions is None:
            return None
        require_finite_scores(predictions.logits, self.state.progress)
        return binary_metrics(predictions.label, predictions.probability)

    def _note(self, line: dict[str, Any]) -> None:
        """Adds the epoch's ``line`` to the history, ``metrics.jsonl``, the trackers and the log."""
        progress = self.state.progress
        progress.history.append(line)
        better = self.best.consider(line)
        if self.accelerator.is_main_process:
            self.folder.write_metrics(progress.history)
        numbers = {f"epoch/{name}": value for name, value in line.items() if value is not None}
        self.accelerator.log(numbers, step=progress.step)
        logger.info("%s", describe(line, self.config.epochs, better))
