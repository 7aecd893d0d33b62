"""How every command speaks to a person: one clear sentence and exit code 2 for a mistake of theirs.

>>> def main(argv: list[str] | None = None) -> int: ...
>>> if __name__ == "__main__":
...     run_command(main)
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from shards.shown_url import SafeFormatter, without_secrets
from shards.silence import said_while_silent

__all__ = ["CommandParser", "InputError", "run_command"]

EXIT_INPUT_ERROR = 2
EXIT_BUG = 1
EXIT_INTERRUPTED = 130
_NO_MEMORY = "there is not enough memory: close other programs, or use fewer workers or threads"


class InputError(Exception):
    """A mistake of the person's. The message is one sentence that names the thing and what to
    do."""


class CommandParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are one sentence on stderr, without the usage block."""

    def error(self, message: str) -> NoReturn:
        # It quotes what was typed, which may be an address with a password in it.
        message = printable(without_secrets(message))
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def printable(text: str) -> str:
    """``text`` with control characters escaped: names of files are untrusted, terminals obey."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Runs ``main()`` and exits with its code; an ``InputError`` becomes one line and exit code
    2."""
    if logging.lastResort is not None:  # what shows warnings where a command sets up nothing else
        logging.lastResort.setFormatter(SafeFormatter("%(message)s"))
    try:
        with said_while_silent():
            code = main() or 0
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {printable(without_secrets(str(error)))}", file=sys.stderr)
        code = EXIT_INPUT_ERROR
    except MemoryError as error:
        print(f"error: {printable(str(error) or _NO_MEMORY)}", file=sys.stderr)
        code = EXIT_INPUT_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # `… | head` closed the pipe: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception:  # a mistake of ours: its trace, as Python prints it, but for secrets in it
        print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
        code = EXIT_BUG
    sys.exit(code)
