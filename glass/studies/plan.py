"""Checks, before a study's first run, that its settings can be trained, and records them in the study's folder.

When an interrupted study is resumed, its settings are compared with this record, so that one table never mixes results
from different settings, data or devices.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, TypedDict

import torch

from glass.config.overrides import NETWORKS, flat_settings
from glass.config.run_config import RunConfig, config_to_dict
from glass.model.architectures import architecture, shapes_only
from glass.model.model import build_model
from glass.studies.search_space import Choice, Dimension, settings_at
from loaders.fits import check_fits
from shards.errors import InputError
from shards.files.documents import read_document, write_document
from shards.manifest.dataset import ShardDataset

__all__ = ["PLAN_FILE", "check_network", "check_options", "check_trainable", "settle_plan"]

PLAN_FILE = "plan.json"
FORMAT_VERSION = 1


class Plan(TypedDict):
    """The contents of ``plan.json``: the kind and settings of the study in the same folder."""

    format_version: int
    study: str
    """The kind of study, with an article: "a crop study", for example."""
    settings: dict[str, Any]
    """All settings that must not change when the study is resumed."""


def check_trainable(dataset: ShardDataset, config: RunConfig) -> None:
    """Raises ``InputError`` if the splits, the network or the weights files that ``config`` names are not available.

    Downloads nothing. Must be called before :func:`settle_plan`: once an untrainable plan has been recorded, its
    corrected settings would be rejected as belonging to another study.
    """
    for split in (config.train_split, config.valid_split):
        check_fits(dataset, split, config.loader)
    state = torch.random.get_rng_state()
    build_model(replace(config, model=replace(config.model, pretrained=False)))
    torch.random.set_rng_state(state)


def check_network(config: RunConfig) -> None:
    """Raises ``InputError`` if the network's settings do not suit each other. Reads no weights and takes no memory."""
    with shapes_only():
        build_model(config, with_weights=False)


def check_options(config: RunConfig, space: Sequence[Dimension]) -> None:
    """Raises ``InputError`` if an option of a search cannot be trained with any options of the other dimensions.

    Must be called before the search is recorded, like :func:`check_trainable`.
    """
    shaping = [d for d in space if isinstance(d, Choice) and any(map(_shapes_network, d.settings))]
    if not shaping:
        check_network(config)
    for dimension in shaping:
        _check_names(config, dimension)  # first, since combinations may take minutes
    for dimension in shaping:
        for option in dimension.options:
            _check_option(config, [Choice(d.name, d.settings, (option,)) if d is dimension else d for d in shaping])


def _check_names(config: RunConfig, dimension: Choice) -> None:
    """Raises ``InputError`` if an option of ``dimension`` is the name of a network that does not exist."""
    for option in dimension.options:
        flat = flat_settings(config_to_dict(settings_at(config, (dimension,), {dimension.name: option})))
        for key in set(NETWORKS) & set(dimension.settings):
            if flat[key] is not None:
                architecture(flat[key])


def _check_option(config: RunConfig, space: Sequence[Choice]) -> None:
    """Raises ``InputError`` if no point of ``space`` can be trained."""
    first: InputError | None = None
    for values in product(*(dimension.options for dimension in space)):
        point = {dimension.name: value for dimension, value in zip(space, values, strict=True)}
        try:
            check_network(settings_at(config, space, point))
        except InputError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def _shapes_network(setting: str) -> bool:
    return (setting.startswith("model.") and setting != "model.dropout") or setting == "loader.crop_size"


def settle_plan(path: Path, study: str, settings: dict[str, Any]) -> None:
    """Writes ``settings`` (nested plain values) to ``path`` or, if the file already exists, compares them with its
    contents.

    Raises ``InputError``, naming the first difference, if they differ. Also raises it if the file is damaged or cannot
    be written, or if the folder contains other files but no plan.
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
