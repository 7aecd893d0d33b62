"""Checks, before the first run of a study, that training with its settings is possible, and records the settings in the
folder of the study.

When a study is resumed after an interruption, its settings are compared with that record, so that results with
different settings, data or devices are never mixed in one table.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import torch

from glass.config.overrides import flat_settings
from glass.config.run_config import RunConfig
from glass.model.model import build_model
from loaders.fits import check_fits
from shards.errors import InputError
from shards.files.documents import read_document, write_document
from shards.manifest.dataset import ShardDataset

__all__ = ["PLAN_FILE", "check_trainable", "settle_plan"]

PLAN_FILE = "plan.json"
FORMAT_VERSION = 1


class Plan(TypedDict):
    """The content of ``plan.json``: the kind and the settings of the study in a folder."""

    format_version: int
    study: str
    """What kind of study it is, with its article: "a crop study", for example."""
    settings: dict[str, Any]
    """All settings that must not change when the study is resumed."""


def check_trainable(dataset: ShardDataset, config: RunConfig) -> None:
    """Raises ``InputError`` if the splits, the network or the weight files of ``config`` are not available.

    Downloads nothing. Must be called before :func:`settle_plan`: once an untrainable plan has been recorded, its
    corrected settings would be rejected as belonging to another study.
    """
    for split in (config.train_split, config.valid_split):
        check_fits(dataset, split, config.loader)
    state = torch.random.get_rng_state()
    build_model(replace(config, model=replace(config.model, pretrained=False)))
    torch.random.set_rng_state(state)


def settle_plan(path: Path, study: str, settings: dict[str, Any]) -> None:
    """Writes ``settings`` (nested plain values) to ``path`` or, if the file already exists, compares its content with
    ``settings``.

    Raises ``InputError`` naming the first difference. Also raises it if the file is damaged or cannot be written, or if
    the folder holds other files but no plan.
    """
    now: Plan = json.loads(json.dumps({"format_version": FORMAT_VERSION, "study": study, "settings": settings}))
    if not path.exists():
        try:
            _write_first(path, now)
        except OSError as error:
            raise InputError(
                f"the plan {path} cannot be written ({error.strerror or error}): give another --output"
            ) from error
        return
    before = read_document(path, Plan, f"the plan of {study}", "give another --output")
    if before["study"] != study:
        raise InputError(f"{path.parent} holds {before['study']}, not {study}: give another --output")
    then, wanted = flat_settings(before["settings"]), flat_settings(now["settings"])
    for key in [*wanted, *then]:
        if then.get(key) != wanted.get(key):
            raise InputError(
                f"{path.parent} holds {study} with {key}={then.get(key)!r}, not {wanted.get(key)!r}: give another "
                "--output, or the value it was started with"
            )


def _write_first(path: Path, plan: Plan) -> None:
    if any(not entry.name.startswith(".") for entry in path.parent.iterdir()):
        raise InputError(f"{path.parent} holds other files and no {path.name}: give a new folder as --output")
    write_document(path, plan, Plan)
