"""Hyperband whose decision can be asked for again, which a killed search has to do.

Optuna's writes down that a trial has reached a rung before it says whether the trial goes on: asked
again after a kill in between, it takes the rung for passed. Here a rung is read off the values that
trials have reported at its epoch, so nothing is written, and the answer is the same.
"""

from optuna.pruners import HyperbandPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

__all__ = ["REDUCTION_FACTOR", "RepeatableHyperband"]

REDUCTION_FACTOR = 3
"""One of so many trials goes on at each rung."""


class RepeatableHyperband(HyperbandPruner):
    """Optuna's brackets and rule; TPE knows by the class that brackets do not learn from each
    other. Every trial must report after every epoch."""

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
        # Of the first trials of a rung, the best one goes on.
        last_to_go_on = values[max(len(values) // REDUCTION_FACTOR, 1) - 1]
        return value < last_to_go_on if maximize else value > last_to_go_on

    def _is_rung(self, epoch: int, bracket: int) -> bool:
        rung = self._first_rung * REDUCTION_FACTOR**bracket
        while rung < epoch:
            rung *= REDUCTION_FACTOR
        return rung == epoch
