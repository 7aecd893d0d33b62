"""Starts the trackers that record a run's metrics: TensorBoard and those named in ``train.trackers``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, filter_trackers

from glass.config.overrides import flat_settings
from glass.config.run_config import RunConfig, config_to_dict
from shards.errors import InputError

__all__ = ["check_trackers", "start_trackers"]

PROJECT = "glass-hires"
"""Name of the W&B project or MLflow experiment."""


def check_trackers(config: RunConfig) -> None:
    """Raises ``InputError`` if Accelerate does not have a tracker, or if a tracker's library is not installed."""
    for name in config.train.tracker_names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(set(LOGGER_TYPE_TO_CLASS) - {"tensorboard"}))
            raise InputError(f"train.trackers={name}: there is no such tracker; choose from {known}")
        if not filter_trackers([name], logging_dir="."):
            raise InputError(f"train.trackers={name}: the library {name} is not installed: run pip install {name}")


def start_trackers(
    accelerator: Any, config: RunConfig, folder: Path, step: int, others: Sequence[GeneralTracker] = ()
) -> None:
    """Starts all trackers, including ``others``, and sends the settings to all of them except TensorBoard.

    ``step`` is the step from which the run resumes. TensorBoard hides values that an earlier, interrupted attempt
    recorded after it. In other trackers, a resumed run appears as a new run whose steps start at ``step``.
    """
    made: list[GeneralTracker] = []
    if config.tensorboard:
        made.append(LOGGER_TYPE_TO_CLASS["tensorboard"]("tensorboard", str(folder), purge_step=step + 1))
    beside = [*(_tracker(name, folder) for name in config.train.tracker_names), *others]
    accelerator.log_with = [*made, *beside]
    if not accelerator.log_with:
        return
    accelerator.init_trackers(PROJECT)
    if accelerator.is_main_process:
        for tracker in beside:
            tracker.store_init_configuration(flat_settings(config_to_dict(config)))


def _tracker(name: str, folder: Path) -> GeneralTracker:
    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "wandb":
        return kind(PROJECT, name=folder.resolve().name, dir=str(folder))
    if name == "mlflow":
        return kind(PROJECT, run_name=folder.resolve().name)
    return kind(PROJECT, str(folder)) if kind.requires_logging_directory else kind(PROJECT)
