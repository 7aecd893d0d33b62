"""The option ``--set KEY=VALUE``, and what a command says to a person who gives a setting as an option of its own."""

from glass.config.overrides import setting_names
from glass.config.run_config import RunConfig
from shards.cli.command import CommandParser

__all__ = ["add_settings"]

ALSO_CALLED = {"learning_rate": "lr", "weight_decay": "wd"}
"""Maps names that other programs use to the names of settings."""
ELSEWHERE = "loader.device"
"""A setting that is not what ``--device`` means in other commands, so it is not suggested."""
MOST_SUGGESTED = 3


def add_settings(
    parser: CommandParser, about: str = "change a setting of the preset, as in glass train (repeatable)"
) -> None:
    """Adds ``--set KEY=VALUE``, which may be repeated, and advice on how to give ``--epochs 3`` with it."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=about)
    parser.advice = _advice


def _advice(option: str, value: str) -> str:
    """Says how to give ``value`` with ``--set`` if ``option`` is a setting's name or part of it."""
    name = option.lower().replace("-", "_")
    keys = _keys(ALSO_CALLED.get(name, name))
    return f"give {' or '.join(f'--set {key}={value}' for key in keys)}" if keys else ""


def _keys(name: str) -> list[str]:
    """The settings called ``name``, which may be a whole key or its last part. If there are none, those in whose last
    part the words of ``name`` follow each other, as in ``global_batch_size``; none if there are too many."""
    keys = [key for key in setting_names(RunConfig()) if key != ELSEWHERE]
    exact = [key for key in keys if name in (key, key.rpartition(".")[2])]
    parts = exact or [key for key in keys if f"_{name}_" in f"_{key.rpartition('.')[2]}_"]
    return parts if len(parts) <= MOST_SUGGESTED else []
