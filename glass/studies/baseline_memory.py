"""Peak memory and epoch time of the resize-only baselines, all at the batch of the crop studies."""

from pathlib import Path
from typing import Any

from glass.config.documents import Map, Maybe
from glass.config.run_config import RunConfig
from glass.studies.plan_file import PLAN_FILE, settle_plan
from glass.studies.training_cost import MemoryMeters, free_memory, measured_settings, training_cost, why_it_does_not_fit
from glass.studies.usable import check_usable
from loaders.reading.open_shards import OpenShards
from shards.files.output_folder import make_folder

__all__ = ["BASELINE_ROW", "baseline_memory"]

BASELINE_ROW: dict[str, Any] = {
    "name": str,
    "family": str,
    "batch": int,
    "memory": Map(float),  # of a training step
    "step_time_s": Maybe(float),
    "epoch_time_s": Maybe(float),  # at this batch, as long as the epochs of the crop studies
    "why": Maybe(str),  # it was not measured
}


def baseline_memory(
    data: OpenShards, config: RunConfig, steps: int | None, folder: Path, meters: MemoryMeters
) -> dict[str, Any]:
    """The measured part of a ``BASELINE_ROW``, kept in ``folder``.

    Raises ``TrainingStopped`` where a signal asked to stop.
    """
    make_folder(folder)
    if not (folder / PLAN_FILE).exists():
        check_usable(data.dataset, config)
    settings = measured_settings(data, config, steps)
    settle_plan(folder / PLAN_FILE, "a baseline's memory study", settings)
    row: dict[str, Any] = {
        "batch": config.loader.global_batch_size * config.grad_accum_steps,
        "memory": {},
        "step_time_s": None,
        "epoch_time_s": None,
        "why": None,
    }
    try:
        found = training_cost(data, config, steps, folder, meters)
        return row | {name: found[name] for name in ("memory", "step_time_s", "epoch_time_s")}
    except Exception as error:
        row["why"] = why_it_does_not_fit(error)
        if row["why"] is None:
            raise
    free_memory()
    return row
