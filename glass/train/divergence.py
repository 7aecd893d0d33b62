"""Detects a training run that has diverged: its loss or scores are no longer finite."""

import math
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from glass.train.state import Progress
from shards.errors import InputError

__all__ = ["TrainingDiverged", "require_finite_loss", "require_finite_scores"]


class TrainingDiverged(InputError):
    """Raised if the loss or the scores are no longer finite. The cause is in this run's settings, so a study's other
    runs may continue.
    """


def require_finite_loss(loss: float, progress: Progress, steps: int) -> None:
    """Raises ``TrainingDiverged`` if ``loss``, the mean over the epoch so far, is infinite or NaN.

    ``steps`` is the number of steps between checks, from which the message says where the divergence may have begun.
    """
    if not math.isfinite(loss):
        first = (progress.step - 1) // steps * steps + 1
        _give_up(f"the training loss became {loss} in one of the steps {first} to {progress.step}", progress)


def require_finite_scores(logits: npt.NDArray[np.floating], progress: Progress) -> None:
    """Raises ``TrainingDiverged`` if any of the validation ``logits`` is not finite."""
    if not np.isfinite(logits).all():
        _give_up("the scores on the validation split are no longer finite numbers", progress)


def _give_up(what: str, progress: Progress) -> NoReturn:
    raise TrainingDiverged(
        f"{what} (epoch {progress.epoch + 1}): train again into another --output with lower learning rates (--set "
        "optim.lr=…), --set optim.clip_grad_norm=1 or --set precision=float32"
    )
