"""Imports optional packages on use, with a one-sentence error message if one is missing."""

import importlib
import importlib.util
from functools import cache
from types import ModuleType

from shards.errors import InputError

__all__ = ["is_installed", "optional", "require_installed", "required"]


@cache
def optional(name: str) -> ModuleType | None:
    """Returns the module ``name``, or ``None`` if it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def required(name: str, purpose: str) -> ModuleType:
    """Imports and returns the module ``name``.

    Raises ``InputError``, with a message that begins with ``purpose``, if it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(name, purpose, str(error)) from error


def is_installed(name: str) -> bool:
    """Whether a module ``name`` is installed. Does not import it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # raised by the import of a parent package
        return False


def require_installed(name: str, purpose: str) -> None:
    """Raises ``InputError``, as :func:`required` does, if no module ``name`` is installed. Does not import the module.

    Commands call this before they start any work.
    """
    if not is_installed(name):
        raise _missing(name, purpose, "it is not installed")


def _missing(name: str, purpose: str, why: str) -> InputError:
    return InputError(f"{purpose} needs the package {name} ({why}): pip install -e .")
