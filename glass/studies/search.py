"""Searches over settings. Each trial trains a model, may be pruned early, and can be resumed after an interruption.

Each trial trains in its own folder with checkpoints, and reports each epoch to the storage. A killed search resumes its
trial in the epoch where it was interrupted, and produces the same result as an uninterrupted search. The shards stay
open between trials.
"""

import gc
import json
import logging
import shutil
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.memory.out_of_memory import DoesNotFit, is_out_of_memory
from glass.studies.plan import check_network, check_options, check_trainable
from glass.studies.search_records import Tuning, write_records
from glass.studies.search_space import Dimension, LogRange, SearchPlan, settings_at
from glass.studies.search_store import TRIALS, Claim, SearchStore
from glass.train.divergence import TrainingDiverged
from glass.train.run import TrainingStopped, train
from loaders.reading.open_shards import OpenShards
from shards.cli.shown_url import safe_text, safe_words, without_secrets
from shards.cli.wording import counted
from shards.errors import InputError, MachineTrouble, trouble_of
from shards.files.atomic import write_text_atomic

__all__ = ["Search"]

logger = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 3
"""The search ends with an error after this many consecutive failed trials, not counting those that diverged or ran out
of memory."""
MAX_RESUMES = 3
"""How many times in a row a killed trial is resumed without finishing another epoch. A trial whose process is killed
every time probably runs out of memory."""


class _Pruned(Exception):
    """The pruner ended the trial."""


class _Unsuitable(Exception):
    """Says why the trial's settings, each of which can be trained, cannot be trained together."""


class Search:
    """Runs a planned search in one process. Several processes may work on the same search in the same folder."""

    def __init__(self, data: OpenShards, plan: SearchPlan, output: Path, storage: str | None = None) -> None:
        """Opens or creates the search in the folder ``output``. ``storage`` has the same meaning as in
        :class:`SearchStore`.

        Raises ``InputError`` if the storage cannot be opened or contains another study, or if the plan cannot be
        trained.
        """
        if not (output / TRIALS).exists():
            check_trainable(data.dataset, plan.config)
        check_options(plan.config, plan.space)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.data, self.plan, self.output = data, plan, output
        settings = json.loads(json.dumps(plan.record(data.dataset)))
        self.store = SearchStore(
            output,
            storage,
            plan.name or plan.config.preset,
            direction=plan.direction,
            min_epochs=min(plan.min_epochs, plan.config.epochs),
            max_epochs=plan.config.epochs,
            settings=settings,
        )
        self._failures = 0

    @property
    def study(self) -> optuna.Study:
        """Optuna's study object."""
        return self.store.study

    def is_finished(self, trials: int) -> bool:
        """Whether there are at least ``trials`` trials and none is running."""
        states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
        return len(states) >= trials and TrialState.RUNNING not in states

    def run(self, trials: int, on_trial: Callable[[optuna.trial.FrozenTrial], None] = lambda _: None) -> Tuning:
        """Calls :meth:`work`, then :meth:`write_records`, and returns the contents of ``tuning.json``."""
        self.work(trials, on_trial)
        return self.write_records()

    def work(self, trials: int, on_trial: Callable[[optuna.trial.FrozenTrial], None] = lambda _: None) -> None:
        """Runs trials until all processes together have started ``trials`` of them. Calls ``on_trial`` with each trial
        that this process has finished.
        """
        while (claim := self.store.claim(trials)) is not None:
            try:
                self._work(claim)
            finally:
                claim.release()
            on_trial(self.study.get_trials(deepcopy=False)[claim.trial.number])

    def write_records(self) -> Tuning:
        """Writes ``tuning.json`` and ``best.json`` for the trials so far; returns the contents of ``tuning.json``."""
        return write_records(self.study, self.plan.config, self.plan.space, self.output)

    def _work(self, claim: Claim) -> None:
        """Trains one trial and reports its outcome. If this process is killed, another one resumes the trial."""
        trial = claim.trial
        folder = self.store.trial_folder(trial.number)
        point = {dimension.name: _suggest(trial, dimension) for dimension in self.plan.space}
        logger.info("trial %d%s: %s", trial.number, " (continued)" if claim.resumes else "", point)
        value, why = None, _killed_too_often(claim)
        try:
            if why is None:
                value = self._train(trial, self._settings(point), folder)
        except _Pruned:
            pass
        except (TrainingDiverged, _Unsuitable) as error:
            why = str(error)
        except DoesNotFit as error:
            why = self._failure(error, folder)
        except (InputError, MachineTrouble, TrainingStopped, KeyboardInterrupt):
            self.store.forget_resumes(trial)  # stopped by a person or the machine, not killed
            raise
        except Exception as error:
            if isinstance(error, OSError) and trouble_of(error) is not None:
                self.store.forget_resumes(trial)  # a machine fault, not the trial's
                raise
            why = self._failure(error, folder)
        trial.set_user_attr("why", why)  # None replaces that of a process killed before the next line
        # A failed trial is also recorded as pruned. TPE ignores trials in the state FAIL, so it would propose their
        # settings again and again.
        self.study.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
        for name in ("checkpoints", "model"):  # gigabytes that are useless once the trial has ended
            shutil.rmtree(folder / name, ignore_errors=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _settings(self, point: Mapping[str, Any]) -> RunConfig:
        """The settings at ``point``, which maps dimension names to values."""
        try:
            config = settings_at(self.plan.config, self.plan.space, point)
            check_network(config)
        except InputError as error:
            raise _Unsuitable(str(error)) from error
        return config

    def _train(self, trial: optuna.trial.Trial, config: RunConfig, folder: Path) -> float:
        """Trains the trial and returns its best value over all epochs. Raises ``_Pruned`` if the pruner ends the
        trial.
        """
        reported = dict(self.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        best = _Best(self.plan.direction)
        # The epochs trained before a kill. The storage may lack the last one; if that epoch ended after the last
        # checkpoint, it is retrained with the same result.
        lines = RunFolder(folder).read_metrics()

        def report(line: Mapping[str, Any]) -> None:
            best.see(line[f"valid_{config.select_by}"], config.select_by)
            if line["epoch"] not in reported:
                trial.report(best.value, line["epoch"])
            # The pruner may not have decided on the last epoch before a kill, so it is asked again.
            elif line is not lines[-1]:
                return
            if trial.should_prune():
                raise _Pruned

        for line in lines:
            report(line)

        def on_epoch(line: dict[str, Any]) -> bool:
            if line["epoch"] > len(lines):
                report(line)
            return True

        finished = train(self.data, config.untracked(), folder, on_epoch=on_epoch)
        if not finished:
            raise TrainingStopped
        return best.value

    def _failure(self, error: Exception, folder: Path) -> str:
        """Logs why a trial failed and returns the reason as text. Raises ``InputError`` after too many consecutive
        failures.
        """
        if is_out_of_memory(error):
            self._failures = 0
            logger.warning("%s does not fit into memory: %s", folder.name, safe_text(error))
            return "out of memory"
        why = safe_words(error)
        self._failures += 1
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / "error.txt", without_secrets(traceback.format_exc()))
        logger.warning("%s failed: %s", folder.name, why)
        if self._failures >= MAX_FAILURES_IN_A_ROW:
            raise InputError(
                f"{counted(self._failures, 'trial')} in a row failed, the last with {why}: see {folder / 'error.txt'}"
            ) from error
        return why


class _Best:
    """Tracks the best value among the epochs so far."""

    def __init__(self, direction: str) -> None:
        self._better: Callable[[float, float], float] = max if direction == "maximize" else min
        self._value: float | None = None

    @property
    def value(self) -> float:
        """The best value. Raises ``RuntimeError`` before the first epoch."""
        if self._value is None:
            raise RuntimeError("no epoch was finished")
        return self._value

    def see(self, value: float | None, metric: str) -> None:
        """Updates the best value with an epoch's ``value``. Raises ``InputError`` if it is None, which means that
        ``metric`` is undefined because the validation split has only one class.
        """
        if value is None:
            raise InputError(
                f"the validation split has no {metric}, because it has images of one class only: choose another "
                "--metric, or build shards with both classes in that split"
            )
        self._value = value if self._value is None else self._better(self._value, value)


def _killed_too_often(claim: Claim) -> str | None:
    """Returns a message that says why the trial will not be resumed again, or None if it may be."""
    if claim.resumes <= MAX_RESUMES:
        return None
    return (
        f"its process was killed {claim.resumes} times before it finished another epoch, probably because memory ran "
        "out"
    )


def _suggest(trial: optuna.trial.Trial, dimension: Dimension) -> Any:
    """Returns the trial's value for one search-space dimension. A resumed trial gets the value stored earlier."""
    if isinstance(dimension, LogRange):
        return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=True)
    return trial.suggest_categorical(dimension.name, dimension.options)
