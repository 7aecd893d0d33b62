"""What a search found, as files: ``tuning.json``, and ``best.json`` for ``train.py --params``."""

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from glass.config.documents import Map, Maybe, write_document
from glass.config.run_config import RunConfig
from glass.studies.search.best_params import BEST_SCHEMA, fixed_settings
from glass.studies.search.space import Dimension, settings_of

__all__ = ["TUNING_SCHEMA", "trial_rows", "write_records"]

FORMAT_VERSION = 1

TUNING_SCHEMA: dict[str, Any] = {
    "format_version": int,
    "study": str,
    "metric": str,
    "settings": dict,  # what the study is a study of, see glass.studies.search.store
    "states": {"complete": int, "pruned": int, "failed": int, "running": int},
    "trials": [
        {
            "number": int,
            "state": str,  # complete | pruned | fail | running
            "value": Maybe(float),
            "params": Map((int, float, str)),
            "epochs": int,  # trained, of the most that a trial may take
            "why": Maybe(str),  # of a failed trial
        }
    ],
    "importance": Maybe(Map(float)),  # parameter → share; null where too few trials are complete
}


def trial_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """One plain row per trial, by number; see ``TUNING_SCHEMA``."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": None if trial.value is None else float(trial.value),
            "params": dict(trial.params),
            "epochs": len(trial.intermediate_values),
            "why": trial.user_attrs.get("why"),
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def write_records(study: optuna.Study, config: RunConfig, space: tuple[Dimension, ...], output: Path) -> dict[str, Any]:
    """Writes both files into ``output`` (``best.json`` once a trial is complete), and returns the
    document of ``tuning.json``."""
    rows = trial_rows(study)
    count = {name: sum(row["state"] == name for row in rows) for name in ("complete", "pruned", "fail", "running")}
    document = {
        "format_version": FORMAT_VERSION,
        "study": study.study_name,
        "metric": config.select_by,
        "settings": study.user_attrs["settings"],
        "states": {
            "complete": count["complete"],
            "pruned": count["pruned"],
            "failed": count["fail"],
            "running": count["running"],
        },
        "trials": rows,
        "importance": _importance(study),
    }
    write_document(output / "tuning.json", document, TUNING_SCHEMA)
    if count["complete"]:
        best = study.best_trial
        varied = [key for dimension in space for key in dimension.settings]
        found = {
            "format_version": FORMAT_VERSION,
            "preset": config.preset,
            "kind": config.model.kind,
            "metric": config.select_by,
            "value": best.value,
            "trial": best.number,
            "trials": sum(row["state"] != "running" for row in rows),
            "params": dict(best.params),
            "settings": dict(settings_of(config, space, best.params)),
            "fixed": fixed_settings(config, varied),
        }
        write_document(output / "best.json", found, BEST_SCHEMA)
    return document


def _importance(study: optuna.Study) -> dict[str, float] | None:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 3 or len({trial.value for trial in complete}) < 2:
        return None  # nothing varies, or not enough of it, to be explained
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}
