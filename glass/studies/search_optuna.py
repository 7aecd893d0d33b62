"""Optuna's sampler and pruner, made repeatable: a search that was killed decides as it would have without the kill."""

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
"""One of this many trials continues at each rung."""


class SeededTPE(BaseSampler):
    """Optuna's TPE, each parameter drawn independently (its default), with no state of its own.

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
        """See :meth:`infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One parameter of one trial."""
        text = f"{self.seed} {trial.number} {param_name}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        tpe = TPESampler(seed=seed)
        return tpe.sample_independent(study, trial, param_name, param_distribution)


class RepeatableHyperband(HyperbandPruner):
    """Optuna's brackets and rule; asked twice, it gives the same answer. Every trial must report after every epoch.

    Optuna's own pruner stores that a trial has reached a rung before it decides: asked again after a kill in between,
    it takes the rung as passed. Here a rung is derived from the values that trials have reported at its epoch, so
    nothing is stored. It must be a ``HyperbandPruner``: TPE recognises brackets, which do not learn from each other,
    by the class.
    """

    def __init__(self, min_epochs: int, max_epochs: int) -> None:
        super().__init__(min_resource=min_epochs, max_resource=max_epochs, reduction_factor=REDUCTION_FACTOR)
        # Optuna's would put every trial into its first bracket until it is asked for the first
        # time, so a reopened study would propose other settings than one that went on.
        self._try_initialization(None)  # needs no study, since the largest resource is a number
        self._first_rung = min_epochs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether ``trial``, at its last epoch, is not among the best third of its bracket."""
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
