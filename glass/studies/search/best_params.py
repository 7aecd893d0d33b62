"""``best.json``: the settings that a search found, as ``--params`` of train.py takes them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from glass.config.documents import Map, Maybe, read_document
from glass.config.overrides import apply_overrides, flat_settings
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_folder import FREE_TO_CHANGE
from glass.presets import load_preset
from shards.errors import InputError

__all__ = ["BEST_SCHEMA", "apply_params", "fixed_settings"]

FORMAT_VERSION = 1

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
"""Settings by which a request may be sent, or a file read."""

OF_A_TRIAL = frozenset({"preset", "epochs", "select_by", "tensorboard"})
"""What a search sets for its trials, and nobody wants of a run that follows."""


def fixed_settings(config: RunConfig, varied: Collection[str]) -> dict[str, Any]:
    """Settings in which ``config`` differs from its preset, without those that were ``varied`` and
    those that change nothing but the speed: the best values are best beside them."""
    start = load_preset(config.preset) if config.preset else RunConfig()
    before = flat_settings(config_to_dict(start))
    return {
        key: value
        for key, value in flat_settings(config_to_dict(config)).items()
        if value != before[key] and key not in FREE_TO_CHANGE | OF_A_TRIAL and key not in varied
    }


def apply_params(config: RunConfig, path: Path, asked: Sequence[str] = ()) -> RunConfig:
    """``config`` with the settings of a ``best.json``; ``asked`` are those of ``--set``.

    Raises ``InputError`` where the file is none, was found for another preset, or names a file or
    a network elsewhere that ``asked`` does not name: the file may be a stranger's.
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
