"""A search's files: ``tuning.json`` with all trials, and ``best.json`` for ``train.py --params``."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from glass.config.overrides import apply_overrides, flat_settings, require_asked
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_folder import FREE_TO_CHANGE
from glass.presets import load_preset
from glass.studies.search_space import Dimension, settings_of
from shards.errors import InputError
from shards.files.documents import Number, read_document, write_document

if TYPE_CHECKING:
    import optuna

__all__ = [
    "BestParams",
    "Trial",
    "Tuning",
    "Value",
    "apply_params",
    "best_trial",
    "complete_trials",
    "state_of",
    "trial_rows",
    "value_of",
    "why_failed",
    "write_records",
]

FORMAT_VERSION = 1

Value = int | Number | str
"""A value for one search-space dimension."""


class Trial(TypedDict):
    """One trial of a search."""

    number: int
    state: str
    """``complete``, ``pruned``, ``fail`` or ``running``."""
    value: Number | None
    params: dict[str, Value]
    epochs: int
    """Number of epochs that the trial trained."""
    why: str | None
    """Why the trial failed; null if it did not."""


class TrialStates(TypedDict):
    """Number of trials in each state."""

    complete: int
    pruned: int
    failed: int
    running: int


class Tuning(TypedDict):
    """The contents of ``tuning.json``."""

    format_version: int
    study: str
    metric: str
    settings: dict[str, Any]
    """The settings that all trials share, and the search space; see ``SearchPlan.record``."""
    states: TrialStates
    trials: list[Trial]
    importance: dict[str, Number] | None
    """Maps parameter names to the fractions of the metric's variance that they explain; null if too few trials are
    complete."""


class BestParams(TypedDict):
    """The contents of ``best.json``."""

    format_version: int
    preset: str
    kind: str
    """``glass`` or ``single_view``."""
    metric: str
    value: Number
    """The metric's validation value in the best trial's best epoch."""
    trial: int
    trials: int
    """Number of ended trials, whether complete, pruned or failed."""
    params: dict[str, Value]
    """Maps search-space dimensions to their best values."""
    settings: dict[str, Value]
    """Maps ``--set`` keys to their best values."""
    fixed: dict[str, Value | bool | None]
    """Maps ``--set`` keys to values, for settings that were the same in all trials but differ from the preset."""


OF_A_TRIAL = frozenset({"preset", "epochs", "select_by", "tensorboard", "train.trackers"})
"""Settings that a search uses only for its trials. A run that adopts the best values does not inherit them."""


def state_of(trial: "optuna.trial.FrozenTrial") -> str:
    """Returns the trial's state as in :class:`Trial`. Optuna's storage holds failed trials as pruned ones with a
    reason."""
    return "fail" if why_failed(trial) else trial.state.name.lower()


def value_of(trial: "optuna.trial.FrozenTrial") -> float | None:
    """Returns the trial's best value, or None if it failed or has not ended."""
    return None if trial.value is None or why_failed(trial) else float(trial.value)


def why_failed(trial: "optuna.trial.FrozenTrial") -> str | None:
    """Returns why the trial failed, or None if it did not. A running trial may have a reason from a process that was
    killed before it ended the trial."""
    return trial.user_attrs.get("why") if trial.state.is_finished() else None


def trial_rows(study: "optuna.Study") -> list[Trial]:
    """Returns one row per trial, by trial number."""
    return [
        {
            "number": trial.number,
            "state": state_of(trial),
            "value": value_of(trial),
            "params": dict(trial.params),
            "epochs": len(trial.intermediate_values),
            "why": why_failed(trial),
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def complete_trials(trials: Sequence[Trial]) -> list[tuple[float, Trial]]:
    """Returns (value, trial) for each complete trial in ``trials``, in the same order."""
    return [(row["value"], row) for row in trials if row["state"] == "complete" and row["value"] is not None]


def best_trial(trials: Sequence[Trial], metric: str) -> tuple[float, Trial] | None:
    """Returns (value, trial) for the complete trial with the best ``metric`` (the first if several tie); None if no
    trial is complete.
    """
    best = min if metric == "loss" else max
    return best(complete_trials(trials), key=lambda found: found[0], default=None)


def write_records(study: "optuna.Study", config: RunConfig, space: tuple[Dimension, ...], output: Path) -> Tuning:
    """Writes ``tuning.json`` and ``best.json`` into ``output`` and returns the contents of ``tuning.json``.

    ``best.json`` is written only if at least one trial is complete.
    """
    rows = trial_rows(study)
    count = {name: sum(row["state"] == name for row in rows) for name in ("complete", "pruned", "fail", "running")}
    document: Tuning = {
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
    write_document(output / "tuning.json", document, Tuning)
    if count["complete"]:
        ended = sum(row["state"] != "running" for row in rows)
        write_document(output / "best.json", _best(study.best_trial, config, space, ended), BestParams)
    return document


def _best(trial: "optuna.trial.FrozenTrial", config: RunConfig, space: Sequence[Dimension], ended: int) -> BestParams:
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
    """Returns the settings in which ``config`` differs from its preset; the best values were found with them.

    Settings that were ``varied``, that apply only to trials, or that do not change results are omitted.
    """
    start = load_preset(config.preset) if config.preset else RunConfig()
    before = flat_settings(config_to_dict(start))
    return {
        key: value
        for key, value in flat_settings(config_to_dict(config)).items()
        if value != before[key] and key not in FREE_TO_CHANGE | OF_A_TRIAL and key not in varied
    }


def apply_params(config: RunConfig, path: Path, asked: Sequence[str] = ()) -> RunConfig:
    """Returns ``config`` with the settings in the ``best.json`` at ``path``. ``asked`` are the user's ``--set``
    arguments.

    Raises ``InputError`` if the file is not a ``best.json`` or is for another preset. Because it may come from a
    stranger, also raises it if a setting names a file, a service or a network to download, unless ``asked`` sets it,
    too.
    """
    best = read_document(path, BestParams, "a best.json of glass tune")
    if best["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {best['format_version']}, this version reads {FORMAT_VERSION}: run glass tune "
            "again"
        )
    if best["preset"] != config.preset:
        raise InputError(
            f"{path} holds settings for --preset {best['preset']}, not for {config.preset}: give the best.json of a "
            "search on this preset"
        )
    settings = best["fixed"] | best["settings"]
    found = apply_overrides(config, [f"{key}={value}" for key, value in settings.items()])
    require_asked(path, "--params", config, found, asked)
    return found
