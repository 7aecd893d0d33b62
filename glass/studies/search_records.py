"""The files of a search: ``tuning.json`` with all trials, and ``best.json``, which ``--params`` of train.py takes."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass.config.documents import Map, Maybe, read_document, write_document
from glass.config.overrides import apply_overrides, flat_settings
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_folder import FREE_TO_CHANGE
from glass.presets import load_preset
from glass.studies.search_space import Dimension, settings_of
from shards.errors import InputError

if TYPE_CHECKING:
    import optuna

__all__ = ["BEST_SCHEMA", "TUNING_SCHEMA", "apply_params", "trial_rows", "write_records"]

FORMAT_VERSION = 1

TUNING_SCHEMA: dict[str, Any] = {
    "format_version": int,
    "study": str,
    "metric": str,
    "settings": dict,  # all that the trials share, see SearchPlan.record
    "states": {"complete": int, "pruned": int, "failed": int, "running": int},
    "trials": [
        {
            "number": int,
            "state": str,  # complete | pruned | fail | running
            "value": Maybe(float),
            "params": Map((int, float, str)),
            "epochs": int,  # trained
            "why": Maybe(str),  # of a failed trial
        }
    ],
    "importance": Maybe(Map(float)),  # parameter → share; null where too few trials are complete
}


BEST_SCHEMA: dict[str, Any] = {
    "format_version": int,
    "preset": str,
    "kind": str,  # glass | single_view
    "metric": str,
    "value": float,  # of the best validation epoch
    "trial": int,
    "trials": int,  # ended, whatever their end
    "params": Map((int, float, str)),  # dimension → value
    "settings": Map((int, float, str)),  # key of --set → value
    "fixed": Map(Maybe((int, float, str, bool))),  # the same, of what all trials had unlike preset
}

NETWORKS = frozenset({"model.global_backbone", "model.local_backbone"})
FILES = frozenset({"model.global_weights", "model.local_weights"})
"""Settings whose value may cause a request to a server, or the reading of a file."""

OF_A_TRIAL = frozenset({"preset", "epochs", "select_by", "tensorboard"})
"""Settings that a search makes for its trials, and that a run with its best values should not take over."""


def trial_rows(study: "optuna.Study") -> list[dict[str, Any]]:
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


def write_records(
    study: "optuna.Study", config: RunConfig, space: tuple[Dimension, ...], output: Path
) -> dict[str, Any]:
    """Writes both files into ``output`` (``best.json`` once a trial is complete); returns that of ``tuning.json``."""
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
        ended = sum(row["state"] != "running" for row in rows)
        write_document(output / "best.json", _best(study.best_trial, config, space, ended), BEST_SCHEMA)
    return document


def _best(
    trial: "optuna.trial.FrozenTrial", config: RunConfig, space: Sequence[Dimension], ended: int
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "preset": config.preset,
        "kind": config.model.kind,
        "metric": config.select_by,
        "value": trial.value,
        "trial": trial.number,
        "trials": ended,
        "params": dict(trial.params),
        "settings": dict(settings_of(config, space, trial.params)),
        "fixed": _fixed_settings(config, {key for dimension in space for key in dimension.settings}),
    }


def _importance(study: "optuna.Study") -> dict[str, float] | None:
    import optuna

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < 3 or len({trial.value for trial in complete}) < 2:
        return None  # too few values, or all equal: there is nothing to explain
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}


def _fixed_settings(config: RunConfig, varied: Collection[str]) -> dict[str, Any]:
    """The settings in which ``config`` differs from its preset: the best values were found with them.

    Without those that were ``varied``, and without those that change nothing but the speed.
    """
    start = load_preset(config.preset) if config.preset else RunConfig()
    before = flat_settings(config_to_dict(start))
    return {
        key: value
        for key, value in flat_settings(config_to_dict(config)).items()
        if value != before[key] and key not in FREE_TO_CHANGE | OF_A_TRIAL and key not in varied
    }


def apply_params(config: RunConfig, path: Path, asked: Sequence[str] = ()) -> RunConfig:
    """``config`` with the settings of a ``best.json``; ``asked`` are those of ``--set``.

    Raises ``InputError`` where the file is no ``best.json``, belongs to another preset, or names a file or a network
    elsewhere that ``asked`` does not name: the file may come from a stranger.
    """
    best = read_document(path, BEST_SCHEMA, "a best.json of scripts.tune")
    if best["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {best['format_version']}, this version reads {FORMAT_VERSION}: tune again"
        )
    if best["preset"] != config.preset:
        raise InputError(
            f"{path} holds settings for --preset {best['preset']}, not for {config.preset}: give"
            " the file of a search on this preset"
        )
    settings = best["fixed"] | best["settings"]
    _require_asked(path, settings, asked)
    return apply_overrides(config, [f"{key}={value}" for key, value in settings.items()])


def _require_asked(path: Path, settings: Mapping[str, Any], asked: Sequence[str]) -> None:
    keys = {word.partition("=")[0] for word in asked}
    for key, value in settings.items():
        elsewhere = (key in NETWORKS and ":" in str(value)) or (key in FILES and value is not None)
        if elsewhere and key not in keys:
            raise InputError(
                f"{path} asks for {key}={value}, which is not part of this program: if that is"
                f" what you mean, give --set {key}={value} beside --params"
            )
