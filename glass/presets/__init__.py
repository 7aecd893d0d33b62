"""Ready-made settings, one Python file each; ``--preset NAME`` loads ``NAME.py`` of this folder."""

import importlib
import pkgutil

from glass.config.run_config import RunConfig
from shards.errors import InputError

__all__ = ["load_preset", "preset_names"]


def preset_names() -> list[str]:
    """The presets that exist, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_preset(name: str) -> RunConfig:
    """The settings of preset ``name``; ``InputError`` listing the presets if there is none."""
    if name not in preset_names():
        raise InputError(f"there is no preset called {name!r}; there are {', '.join(preset_names())}")
    return importlib.import_module(f"glass.presets.{name}").preset()
