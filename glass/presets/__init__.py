"""Presets: ready-made settings for training runs. ``--preset NAME`` loads the file ``NAME.py`` in this folder."""

import importlib
import pkgutil

from glass.config.run_config import RunConfig
from shards.errors import InputError

__all__ = ["load_preset", "preset_names"]


def preset_names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_preset(name: str) -> RunConfig:
    """Returns the settings of preset ``name``. Raises ``InputError`` listing all presets if there is no such preset."""
    if name not in preset_names():
        from difflib import get_close_matches

        close = get_close_matches(name.lower(), preset_names(), n=1, cutoff=0.8)
        remedy = f"did you mean {close[0]}?" if close else f"choose from {', '.join(preset_names())}"
        raise InputError(f"there is no preset called {name!r}: {remedy}")
    return importlib.import_module(f"glass.presets.{name}").preset()
