"""Packages that only a part of the work needs: imported where they are used, and their absence in one sentence."""

import importlib
import importlib.util
from functools import cache
from types import ModuleType

from shards.errors import InputError

__all__ = ["is_installed", "optional", "require_installed", "required"]


@cache
def optional(name: str) -> ModuleType | None:
    """The module ``name``, or ``None`` where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def required(name: str, purpose: str) -> ModuleType:
    """The module ``name``. Raises ``InputError``, a sentence that begins with ``purpose``, where it cannot be
    imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(name, purpose, str(error)) from error


def is_installed(name: str) -> bool:
    """Whether there is a module ``name``; does not import it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # of a package around it
        return False


def require_installed(name: str, purpose: str) -> None:
    """Raises the ``InputError`` of :func:`required` where there is no module ``name``, before the work begins."""
    if not is_installed(name):
        raise _missing(name, purpose, "it is not installed")


def _missing(name: str, purpose: str, why: str) -> InputError:
    return InputError(f"{purpose} needs the package {name} ({why}): pip install -e .")
