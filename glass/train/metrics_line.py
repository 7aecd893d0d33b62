"""Builds the ``metrics.jsonl`` line with an epoch's results, compares such lines, and formats them for the log.

The entries are:

* ``epoch`` (from 1) and ``step`` (optimiser steps since the start);
* ``train_loss`` (label smoothing included), ``train_accuracy`` and ``train_images``;
* ``valid_loss`` (nats, no smoothing), and ``valid_*`` for each metric of ``glass.measure.metrics``;
* ``lr_*`` for each parameter group;
* ``train_time_s`` and ``images_per_s``, which cover training only;
* ``data_wait_s``, the part of ``train_time_s`` spent waiting for batches;
* ``valid_time_s``, and ``epoch_time_s``, which is ``train_time_s`` + ``valid_time_s``;
* ``peak_vram_bytes``, on a machine with a GPU.

Undefined metrics are null.
"""

import math
from typing import Any

import torch

from glass.train.state import Progress
from glass.train.step import Totals
from shards.cli.wording import pace, percent

__all__ = ["describe", "epoch_line", "epochs_without_gain", "is_better"]

Line = dict[str, Any]


def epoch_line(
    progress: Progress,
    trained: dict[str, float],
    totals: Totals,
    valid: dict[str, float | None],
    valid_time_s: float,
    groups: list[dict[str, Any]],
) -> Line:
    """Returns the line for the epoch just validated.

    ``trained`` comes from ``totals.read`` and ``valid`` from ``binary_metrics``; ``groups`` are the optimiser's
    parameter groups.
    """
    line: Line = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "train_loss": trained["loss"],
        "train_accuracy": trained["accuracy"],
        "train_images": int(trained["samples"]),
        "valid_loss": valid["nll"],
        **{f"valid_{name}": value for name, value in valid.items()},
        **{f"lr_{group['name']}": group["lr"] for group in groups},
        "images_per_s": trained["samples"] / max(totals.train_time_s, 1e-9),
        "data_wait_s": totals.data_wait_s,
        "train_time_s": totals.train_time_s,
        "valid_time_s": valid_time_s,
        "epoch_time_s": totals.train_time_s + valid_time_s,
    }
    if torch.cuda.is_available():
        line["peak_vram_bytes"] = torch.cuda.max_memory_allocated()
    return line


def is_better(line: Line, best: Line | None, select_by: str) -> bool:
    """Whether ``line`` is better than ``best``, or ``best`` is None.

    Compares the validation metric ``select_by`` (an entry ``valid_*`` without its prefix), breaking ties by AUROC, then
    by loss. For the loss, lower is better; for all other metrics, higher is. An undefined value (None) is worst.
    Returns False if all are equal.
    """
    return best is None or _rank(line, select_by) > _rank(best, select_by)


def epochs_without_gain(history: list[Line], select_by: str) -> int:
    """Returns the number of epochs since the best one by the validation metric ``select_by`` (the first if several
    tie).

    Ties are not broken as in :func:`is_better`: an improvement that this metric does not show is not a reason to
    continue training.
    """
    values = [_value(line, select_by) for line in history]
    return len(values) - 1 - values.index(max(values)) if values else 0


def _rank(line: Line, select_by: str) -> tuple[float, ...]:
    return tuple(_value(line, name) for name in (select_by, "auroc", "loss"))


def _value(line: Line, name: str) -> float:
    """Returns the validation metric ``name``, negated if lower is better; minus infinity if it is undefined."""
    value = line[f"valid_{name}"]
    sign = -1.0 if name == "loss" else 1.0
    return -math.inf if value is None else sign * value


def describe(line: Line, epochs: int, better: bool) -> str:
    """Formats the line for the log. ``epochs`` is the total number of epochs, and ``better`` marks this one as the best
    so far.
    """

    def number(name: str) -> str:
        return "–" if line[name] is None else f"{line[name]:.3f}"

    wait = line["data_wait_s"] / max(line["train_time_s"], 1e-9)
    return (
        f"epoch {line['epoch']}/{epochs}: train loss {number('train_loss')},"
        f" valid loss {number('valid_loss')}, accuracy {number('valid_accuracy')},"
        f" AUROC {number('valid_auroc')}; {pace(line['images_per_s'])},"
        f" {percent(wait, 0)} waiting for data, {line['epoch_time_s']:.1f} s" + (" (best so far)" if better else "")
    )
