"""Defines a search's plan and its search space: which settings vary, and within what bounds, including changes made by
``--search``.

The bounds are those of the reference study. A test compares them with the study's values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from glass.config.dataset_digest import dataset_json_sha256
from glass.config.overrides import SHORTHANDS, apply_overrides, flat_settings, nearest, setting_names
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_folder import FREE_TO_CHANGE
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = [
    "GLASS_SPACE",
    "SINGLE_VIEW_SPACE",
    "Choice",
    "Dimension",
    "LogRange",
    "SearchPlan",
    "changed_space",
    "settings_at",
    "settings_of",
    "space_for",
]

SAMPLER_SEED = 606
BATCH = "batch"
"""Name of the dimension whose value is the number of images per optimiser step. A trial's loader batch size is this
value divided by ``grad_accum_steps``."""
OPTIONS = {"epochs": "--epochs", "select_by": "--metric", "loader.device": "--device"}
"""Maps settings that cannot be searched to the command-line options that set them for all trials."""
SAME_FOR_ALL = frozenset(
    {"seed", "loader.seed", "train_split", "valid_split", "model.kind", "loader.global_size", "grad_accum_steps"}
)
"""Settings that all trials must share, for example because results on different samples cannot be compared."""


@dataclass(frozen=True)
class Choice:
    """A search-space dimension with a list of values."""

    name: str
    settings: tuple[str, ...]
    """Settings (``--set`` keys), all of which get the chosen value."""
    options: tuple[int | float | str, ...]


@dataclass(frozen=True)
class LogRange:
    """A search-space dimension: numbers from ``low`` to ``high``, uniform on a logarithmic scale."""

    name: str
    settings: tuple[str, ...]
    low: float
    high: float


Dimension = Choice | LogRange

GLASS_SPACE: tuple[Dimension, ...] = (
    Choice(BATCH, ("loader.global_batch_size",), (16, 32, 64)),
    Choice("dropout", ("model.dropout",), (0.0, 0.1, 0.2, 0.3)),
    LogRange("lr_global", ("optim.lr_global",), 1e-6, 1e-4),
    LogRange("lr_local", ("optim.lr_local",), 1e-6, 1e-4),
    LogRange("lr_head", ("optim.lr_head",), 5e-6, 1e-3),
    LogRange("wd_global", ("optim.wd_global",), 1e-7, 1e-3),
    LogRange("wd_local", ("optim.wd_local",), 1e-7, 1e-3),
    Choice("num_crops", ("loader.num_crops",), (2, 4, 6, 8, 10)),
)

SINGLE_VIEW_SPACE: tuple[Dimension, ...] = (
    LogRange("lr", ("optim.lr_global", "optim.lr_head"), 1e-6, 1e-4),
    LogRange("wd", ("optim.wd_global", "optim.wd_head"), 1e-7, 1e-3),
    Choice(BATCH, ("loader.global_batch_size",), (32, 64, 128)),
    Choice("dropout", ("model.dropout",), (0.0, 0.1, 0.2, 0.3)),
)


def space_for(config: RunConfig) -> tuple[Dimension, ...]:
    """The study's search space for the model kind in ``config``."""
    return GLASS_SPACE if config.model.kind == "glass" else SINGLE_VIEW_SPACE


def changed_space(space: Sequence[Dimension], config: RunConfig, changes: Sequence[str]) -> tuple[Dimension, ...]:
    """Returns ``space`` with dimensions replaced or added by ``changes``: ``"name=low..high"`` or ``"name=a,b,c"``.

    ``name`` is a dimension's name or a ``--set`` key. A setting that does not belong to a dimension yet becomes a new
    one. Raises ``InputError`` for an unknown name, for a setting that all trials must share, and for values that the
    setting does not allow.
    """
    dimensions = {dimension.name: dimension for dimension in space}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not text:
            raise InputError(f"--search {change!r} must be NAME=LOW..HIGH or NAME=A,B,C")
        if name not in dimensions and name not in setting_names(config):
            close = ", ".join(nearest(name, [*dimensions, *setting_names(config)]))
            raise InputError(
                f"--search {name}: there is no such setting; the nearest are {close} (glass train --help lists them "
                "all)"
            )
        owners = {key: dimension.settings for key, dimension in dimensions.items()}
        name = _named_dimension(name, owners, config.grad_accum_steps)
        settings = owners.get(name, (name,))
        dimensions[name] = _dimension(name, settings, text)
    for dimension in dimensions.values():
        options = dimension.options if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        for value in options:
            settings_at(config, (dimension,), {dimension.name: value})
    return tuple(dimensions.values())


def _named_dimension(name: str, space: Mapping[str, tuple[str, ...]], steps: int) -> str:
    """Returns the name of the dimension that ``name`` refers to. ``space`` maps dimension names to their settings.

    ``name`` is a dimension's name or a setting's key. A key that does not belong to a dimension is returned unchanged.
    ``steps`` is the number of micro-steps per batch. Raises ``InputError`` if the setting cannot be searched, or if
    another dimension already sets it: only one of the two values would take effect, but the records would list both.
    """
    if name in space:
        return name
    _refuse_fixed(name)
    keys = SHORTHANDS.get(name, (name,))
    owners = [owner for owner, settings in space.items() if set(settings) & set(keys)]
    if not owners:
        return name
    if space[owners[0]] != (name,) or (name == "loader.global_batch_size" and steps > 1):
        instead = " or ".join(f"{owner}=…" for owner in owners)
        raise InputError(f"--search {name}: another dimension sets this setting: give --search {instead}")
    return owners[0]


def _refuse_fixed(name: str) -> None:
    if name in OPTIONS:
        raise InputError(f"--search {name}: this setting must be the same for all trials: give {OPTIONS[name]}")
    if name in SAME_FOR_ALL:
        raise InputError(f"--search {name}: trials with different values cannot be compared: give --set {name}=…")
    if name in FREE_TO_CHANGE:
        raise InputError(
            f"--search {name}: this setting changes the speed or length of trials, not their results: give --set "
            f"{name}=…"
        )
    if name in ("tensorboard", "train.trackers"):
        raise InputError(f"--search {name}: trials do not write these: leave it out")


def _dimension(name: str, settings: tuple[str, ...], text: str) -> Dimension:
    if ".." not in text:
        options = tuple(_value(part) for part in text.split(","))
        if len(set(options)) != len(options):
            raise InputError(f"--search {name}={text}: give every value only once")
        return Choice(name, settings, options)
    try:
        low, high = (float(part) for part in text.split(".."))
    except ValueError:
        low = high = 0.0
    if not 0 < low < high:
        raise InputError(f"--search {name}={text}: give two numbers, 0 < LOW < HIGH, such as 1e-6..1e-4")
    return LogRange(name, settings, low, high)


def _value(text: str) -> int | float | str:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def settings_at(config: RunConfig, space: Sequence[Dimension], point: Mapping[str, Any]) -> RunConfig:
    """Returns ``config`` with the settings at ``point``, which maps dimension names to values.

    Raises ``InputError`` for values that the configuration does not allow.
    """
    return apply_overrides(config, [f"{k}={v}" for k, v in settings_of(config, space, point)])


def settings_of(config: RunConfig, space: Sequence[Dimension], point: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The settings at a search-space ``point``, as (``--set`` key, value) pairs."""
    pairs = []
    for dimension in space:
        value = point[dimension.name]
        if dimension.name == BATCH:
            steps = config.grad_accum_steps
            if not isinstance(value, int):
                raise InputError(
                    f"--search batch={value}: a batch is a whole number of images: give values such as batch=16,32"
                )
            if value % steps:
                raise InputError(
                    f"a batch of {value} is not divisible by grad_accum_steps={steps}: give --search batch=… with "
                    f"multiples of {steps}"
                )
            value //= steps
        pairs += [(key, value) for key in dimension.settings]
    return pairs


@dataclass(frozen=True)
class SearchPlan:
    """A search's plan. ``config.epochs`` is how many epochs a trial trains unless it is pruned, and
    ``config.select_by`` is the metric to optimise.
    """

    config: RunConfig
    space: tuple[Dimension, ...]
    name: str = ""
    """The study's name in its storage. If empty, the preset's name is used."""
    min_epochs: int = 5
    """How many epochs a trial trains before it may be pruned; capped at ``config.epochs``."""

    @property
    def direction(self) -> str:
        """The direction in which the metric improves, in Optuna's terms: ``maximize`` or ``minimize``."""
        return "minimize" if self.config.select_by == "loss" else "maximize"

    def record(self, dataset: ShardDataset) -> dict[str, Any]:
        """Returns the settings that identify the search, which are stored; it cannot be resumed with different ones."""
        varied = {key for dimension in self.space for key in dimension.settings}
        flat = flat_settings(config_to_dict(self.config))
        fixed = {k: v for k, v in flat.items() if k not in varied and k not in FREE_TO_CHANGE}
        return {
            **fixed,
            "space": [_plain(dimension) for dimension in self.space],
            "min_epochs": self.min_epochs,
            "sampler_seed": SAMPLER_SEED,
            "data": dataset_json_sha256(dataset.root),
        }


def _plain(dimension: Dimension) -> dict[str, Any]:
    """Converts ``dimension`` to plain values, for JSON."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(dimension).items()}
