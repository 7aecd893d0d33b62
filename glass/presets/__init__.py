"""Presets: ready-made settings for training runs. ``--preset NAME`` loads the file ``NAME.py`` in this folder."""

import importlib
import pkgutil

from glass.config.run_config import RunConfig
from shards.cli.wording import similar
from shards.errors import InputError

__all__ = ["load_preset", "preset_names"]


def preset_names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_preset(name: str) -> RunConfig:
    """Returns the settings of preset ``name``.

    Raises ``InputError`` if there is no such preset. Its message suggests a similar one, or else lists all.
    """
    if name not in preset_names():
        remedy = (
            similar(name, {preset: preset for preset in preset_names()}) or f": choose from {', '.join(preset_names())}"
        )
        raise InputError(f"there is no preset called {name!r}{remedy}")
    return importlib.import_module(f"glass.presets.{name}").preset()
