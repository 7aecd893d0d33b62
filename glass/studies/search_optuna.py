"""Provides repeatable versions of Optuna's sampler and pruner: interruptions do not affect their decisions."""

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
"""At each rung (an epoch at which Hyperband prunes), one in this many trials survives."""


class SeededTPE(BaseSampler):
    """Optuna's TPE sampler without internal state. It samples each parameter independently, TPE's default.

    Every value is a function of (seed, trial number, parameter) and of the earlier trials. By contrast,
    ``TPESampler(seed=…)`` restarts its random generator in each process, so a reopened study would repeat its first
    proposals.
    """

    def __init__(self, seed: int = SAMPLER_SEED) -> None:
        self.seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns an empty space, because every parameter is sampled independently."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns no values; see :meth:`infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Samples one parameter's value for one trial."""
        text = f"{self.seed} {trial.number} {param_name}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        tpe = TPESampler(seed=seed)
        return tpe.sample_independent(study, trial, param_name, param_distribution)


class RepeatableHyperband(HyperbandPruner):
    """Optuna's Hyperband, except that asking twice about the same epoch yields the same decision.

    Every trial must report after every epoch. Optuna's own pruner first stores that a trial has reached a rung, and
    then decides. If the process is killed in between, the pruner, when asked again, assumes that the trial has already
    passed the rung. This class stores nothing and decides from the values that trials have reported for the rung's
    epoch. It must be a ``HyperbandPruner``, because TPE keeps trials from different brackets separate only for that
    class.
    """

    def __init__(self, min_epochs: int, max_epochs: int) -> None:
        super().__init__(min_resource=min_epochs, max_resource=max_epochs, reduction_factor=REDUCTION_FACTOR)
        # Optuna's pruner puts every trial into its first bracket until its first decision, so a reopened study would
        # propose different settings from one that was not interrupted.
        self._try_initialization(None)  # needs no study, since the largest resource is a number
        self._first_rung = min_epochs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to prune ``trial``: its last epoch is a rung, and it is not in the best third of its bracket
        there.
        """
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
        # As long as few trials have reached a rung, the best of them continues.
        last_to_go_on = values[max(len(values) // REDUCTION_FACTOR, 1) - 1]
        return value < last_to_go_on if maximize else value > last_to_go_on

    def _is_rung(self, epoch: int, bracket: int) -> bool:
        rung = self._first_rung * REDUCTION_FACTOR**bracket
        while rung < epoch:
            rung *= REDUCTION_FACTOR
        return rung == epoch
