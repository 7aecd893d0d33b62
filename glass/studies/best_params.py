"""``best.json``: the settings that a search found, as ``--params`` of train.py takes them."""

from pathlib import Path
from typing import Any

from glass.config import RunConfig
from glass.documents import Map, read_document
from glass.overrides import apply_overrides
from shards.command import InputError

__all__ = ["BEST_SCHEMA", "apply_params"]

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
}


def apply_params(config: RunConfig, path: Path) -> RunConfig:
    """``config`` with the settings of a ``best.json``.

    Raises ``InputError`` where the file is none, or was found for another preset.
    """
    best = read_document(path, BEST_SCHEMA, "a best.json of scripts.tune")
    if best["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {best['format_version']}, this version reads"
            f" {FORMAT_VERSION}: tune again"
        )
    if best["preset"] != config.preset:
        raise InputError(
            f"{path} holds settings for --preset {best['preset']}, not for {config.preset}: give"
            " the file of a search on this preset"
        )
    return apply_overrides(config, [f"{key}={value}" for key, value in best["settings"].items()])
