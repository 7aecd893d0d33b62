"""``best.json``: the settings that a search found, as ``--params`` of train.py takes them."""

from collections.abc import Collection
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


def apply_params(config: RunConfig, path: Path) -> RunConfig:
    """``config`` with the settings of a ``best.json``.

    Raises ``InputError`` where the file is none, or was found for another preset.
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
    return apply_overrides(config, [f"{key}={value}" for key, value in settings.items()])
