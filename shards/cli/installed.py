"""When imported, ends the program with a sentence and exit code 2 if this Python lacks the project's libraries.

Every program imports this module first. Libraries are missing, for example, if the environment is not activated.
"""

import importlib.util
import sys

__all__ = ["not_installed"]

_LIBRARIES = ("accelerate", "msgspec", "numba", "numpy", "PIL", "pyarrow", "rich", "timm", "torch", "tqdm")


def not_installed() -> str:
    """A sentence that names the libraries that this Python lacks, and the remedy; empty if it has all of them."""
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
