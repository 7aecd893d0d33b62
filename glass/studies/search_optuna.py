"""Optuna's sampler and pruner, made repeatable: an interrupted search decides as it would have without interruption."""

import hashlib
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from glass.studies.search_space import SAMPLER_SEED

__all__ = ["REDUCTION_FACTOR", "RepeatableHyperband", "SeededTPE"]

REDUCTION_FACTOR = 3
"""One in this many trials continues at each rung."""


class SeededTPE(BaseSampler):
    """Optuna's TPE, which draws each parameter independently (its default), but without internal state.

    Every draw is a function of (seed, trial number, parameter) and the trials before it. ``TPESampler(seed=…)`` itself
    restarts its generator with the process, so a reopened study would repeat its first proposals.
    """

    def __init__(self, seed: int = SAMPLER_SEED) -> None:
        self.seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Empty: every parameter is drawn independently."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Empty, see :meth:`infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of one parameter of one trial."""
        text = f"{self.seed} {trial.number} {param_name}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        tpe = TPESampler(seed=seed)
        return tpe.sample_independent(study, trial, param_name, param_distribution)


class RepeatableHyperband(HyperbandPruner):
    """Optuna's Hyperband, but a repeated question gets the same answer. Every trial must report after every epoch.

    Optuna's own pruner stores that a trial has reached a rung before it decides. If the process is killed between the
    two and the pruner is asked again, it takes the rung for passed. This class derives the rung from the values that
    trials have reported at the rung's epoch, so it stores nothing. It must be a ``HyperbandPruner``: only for that
    class does TPE keep the trials of different brackets apart.
    """

    def __init__(self, min_epochs: int, max_epochs: int) -> None:
        super().__init__(min_resource=min_epochs, max_resource=max_epochs, reduction_factor=REDUCTION_FACTOR)
        # Optuna's pruner puts every trial into its first bracket until its first decision, so a reopened study
        # would propose other settings than one that was not interrupted.
        self._try_initialization(None)  # needs no study, since the largest resource is a number
        self._first_rung = min_epochs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether ``trial``, at its last epoch, is at a rung and not among the best third of its bracket there."""
        epoch, bracket = trial.last_step, self._get_bracket_id(study, trial)
        if epoch is None or not self._is_rung(epoch, bracket):
            return False
        value = trial.intermediate_values[epoch]
        values = [value] + [
            other.intermediate_values[epoch]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and epoch in other.intermediate_values
            and self._get_bracket_id(study, other) == bracket
        ]
        maximize = study.direction == StudyDirection.MAXIMIZE
        values.sort(reverse=maximize)
        # Of the first trials of a rung, the best one continues.
        last_to_go_on = values[max(len(values) // REDUCTION_FACTOR, 1) - 1]
        return value < last_to_go_on if maximize else value > last_to_go_on

    def _is_rung(self, epoch: int, bracket: int) -> bool:
        rung = self._first_rung * REDUCTION_FACTOR**bracket
        while rung < epoch:
            rung *= REDUCTION_FACTOR
        return rung == epoch
