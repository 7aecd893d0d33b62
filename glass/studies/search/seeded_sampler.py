"""TPE whose every draw is a function of (seed, trial number, parameter) and the trials before it.

A study that is opened again with ``TPESampler(seed=…)`` repeats its first proposals, since the
generator starts afresh with the process. Here it starts afresh with every draw instead, so a study
that was killed and goes on proposes what it would have proposed.
"""

import hashlib
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

__all__ = ["SAMPLER_SEED", "SeededTPE"]

SAMPLER_SEED = 606


class SeededTPE(BaseSampler):
    """Optuna's TPE, each parameter by itself as is its default, without a state of its own."""

    def __init__(self, seed: int = SAMPLER_SEED) -> None:
        self.seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: every parameter is drawn independently."""
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
