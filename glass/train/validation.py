"""Scores the validation split, unless a signal stops it halfway."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import distributed

from glass.measure.scoring import Predictions, score
from glass.train.state import BatchLoader, RunState

__all__ = ["validation_scores"]


class _Stopped(Exception):
    """A signal was received while the split was being scored."""


def validation_scores(
    state: RunState, loader: BatchLoader, precision: str, is_stopped: Callable[[int], bool]
) -> Predictions | None:
    """Scores the validation split with the model; returns None if stopped.

    The scores are gathered from all processes and are the same on each. ``is_stopped`` is called with a batch's index
    before that batch is scored, and must return the same value on all processes. ``precision`` is the run's setting. If
    there are several processes, the model's buffers, such as running statistics, are overwritten with those of the main
    process.
    """
    model = state.judged_model
    if state.accelerator.num_processes > 1:
        # Each process has updated its own batch statistics since the last exchange. The model that is
        # validated must be the one that is exported, so all processes take those of the main process.
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
    try:
        return score(model, _until_stopped(loader, is_stopped), state.accelerator.device, precision)
    except _Stopped:
        return None


def _until_stopped(loader: BatchLoader, is_stopped: Callable[[int], bool]) -> Iterator[dict[str, Any]]:
    for number, batch in enumerate(loader):
        if is_stopped(number):
            raise _Stopped
        yield batch
