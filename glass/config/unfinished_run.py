"""Warns of a model whose training was stopped before its last epoch."""

from pathlib import Path

from glass.config.run_folder import RunFolder, read_record
from shards.errors import InputError

__all__ = ["unfinished_warning"]


def unfinished_warning(model: Path) -> str | None:
    """Returns a warning if ``model``, the folder of a model, lies in a run that is not finished, else None.

    An exported model has no record of its run, and a damaged record says nothing: None, too.
    """
    run = model.parent
    try:
        record, epochs = read_record(run / "run.json"), len(RunFolder(run).read_metrics())
    except (OSError, ValueError, InputError):
        return None
    if model.name != "model" or record["finished"] is not None or "epochs" not in record["config"]:
        return None
    return f"warning: the run {run} is not finished: {epochs} of {record['config']['epochs']} epochs"
