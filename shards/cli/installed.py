"""Ends the program with an error message and exit code 2, on import, if the project's dependencies are not installed.

Every entry point imports this module first. Dependencies are typically missing because the virtual environment has not
been activated.
"""

import importlib.util
import sys

__all__ = ["not_installed"]

_LIBRARIES = ("accelerate", "msgspec", "numba", "numpy", "PIL", "pyarrow", "rich", "timm", "torch", "tqdm")


def not_installed() -> str:
    """Returns a sentence that names the missing dependencies and the remedy, or ``""`` if none is missing."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return (
        f"{sys.executable} does not have the libraries of this project ({', '.join(missing)}): activate its "
        "environment with '. .venv/bin/activate', or make one as in the README"
    )


if _sentence := not_installed():
    sys.stderr.write(f"error: {_sentence}\n")
    sys.exit(2)
