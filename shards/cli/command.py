"""Runs a command, and ends it with a one-sentence error message and exit code 2 if the user made a mistake.

>>> def main(argv: list[str] | None = None) -> int: ...
>>> if __name__ == "__main__":
...     run_command(main)
"""

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from shards.allocation import keep_freed_memory
from shards.cli.progress import explain_silence
from shards.cli.shown_url import SafeFormatter, without_secrets
from shards.cli.startup import let_waiting_threads_sleep
from shards.cli.streams import guarded_streams
from shards.cli.wording import similar
from shards.errors import NO_MEMORY, InputError, disk_failed, is_passing, trouble_of

__all__ = ["CommandParser", "called_as", "markdown_text", "one_line", "printable", "program_name", "run_command"]

EXIT_INPUT_ERROR = 2
EXIT_BUG = 1
EXIT_INTERRUPTED = 130

_CALLED_AS: ContextVar[str | None] = ContextVar("called_as", default=None)


@contextmanager
def called_as(program: str) -> Iterator[None]:
    """Context manager: within the block, messages refer to the command as ``program``, the name that the user typed."""
    token = _CALLED_AS.set(program)
    try:
        yield
    finally:
        _CALLED_AS.reset(token)


def program_name(alone: str) -> str:
    """Returns the parser's ``prog``: the name set by :func:`called_as`, or ``alone`` if none is set."""
    return _CALLED_AS.get() or alone


class CommandParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that reports an error as one sentence on stderr, without the usage block."""

    advice: Callable[[str, str], str] | None = None
    """Takes the name of an option that does not exist, without its dashes, and the value that the user gave it. Returns
    what to do instead, or "" if it does not know."""

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Like ``ArgumentParser.parse_args``, but first reports any unknown option, with advice or a similar one, and
        advises ``--data`` for a path that was given without it.

        ``ArgumentParser`` would report a mistyped required option as missing.
        """
        words = sys.argv[1:] if args is None else list(args)
        for place, word in enumerate(words):
            if word in ("--", "-h", "--help"):  # all words after -- are values; help needs no others
                break
            name, equals, value = word.partition("=")
            if name.startswith("--") and " " not in name and not self._may_mean(name):
                if not equals:
                    value = next((word for word in words[place + 1 :][:1] if not word.startswith("-")), "VALUE")
                self._unknown(name, value)
        found, left = self.parse_known_args(words, namespace)
        if left:
            is_data = getattr(found, "data", "") is None and not left[0].startswith("-")
            to_do = f": give --data {left[0]}" if is_data else ""
            self.error(f"unrecognized arguments: {' '.join(left)}{to_do}")
        return found

    def _unknown(self, name: str, value: str) -> NoReturn:
        """Reports that no option is called ``name``, which the user gave with ``value``."""
        options = {option.lstrip("-"): option for option in self._option_string_actions}
        advice = self.advice(name.lstrip("-"), value) if self.advice else ""
        self.error(f"no option is called {name}{f': {advice}' if advice else similar(name.lstrip('-'), options)}")

    def _may_mean(self, name: str) -> bool:
        """Whether ``name`` is an option or the beginning of one."""
        return any(option.startswith(name) for option in self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        # The message quotes arguments, which may be addresses with a password.
        message = one_line(without_secrets(message))
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def printable(text: str) -> str:
    """Escapes control characters except line breaks: terminals obey them, and file names in ``text`` are untrusted."""
    if text.replace("\n", "").isprintable():  # the usual case; a page may hold a megabyte of text
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


_MARKUP = ("\\", "|", "`", "[", "]", "*")


def markdown_text(text: str) -> str:
    """Returns untrusted ``text`` as one line of Markdown, with all markup escaped.

    The line contains no tags, links or images (which a reader's browser would fetch), and cannot end a table cell.
    """
    escaped = printable(text).replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
    for character in _MARKUP:
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def one_line(text: str) -> str:
    """Like :func:`printable`, but also escapes line breaks, so that a file name cannot start a new line."""
    return printable(text).replace("\n", "\\n")


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Runs ``main()`` and ends the process with the exit code that it returns.

    An ``InputError`` or a machine fault is printed as one line and gives exit code 2. If the reader of stdout closes
    the pipe, the command goes on and ends with its own code. If output is lost, for example because a disk is full, an
    error is printed and the code is not 0.
    """
    keep_freed_memory()
    let_waiting_threads_sleep()
    if logging.lastResort is not None:  # prints warnings if a command sets up no logging
        logging.lastResort.setFormatter(SafeFormatter("%(message)s"))
    with guarded_streams() as output:
        code = _code_of(main)
        sys.stdout.flush()
        if output.lost is not None:
            _print_error(f"the output could not be printed and is lost: {output.lost.strerror or output.lost}")
            code = code or EXIT_INPUT_ERROR
    sys.exit(code)


def _code_of(main: Callable[[], int | None]) -> int:
    """Runs ``main()`` and returns its exit code.

    Prints a sentence for a user's mistake or a machine fault, and a traceback for a bug.
    """
    try:
        with explain_silence():
            return main() or 0
    except SystemExit as error:  # raised by the parser, which has printed its message
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        _print_error(str(error.code))
        return 1
    except InputError as error:
        _print_error(str(error))
    except MemoryError as error:
        _print_error(str(error) or NO_MEMORY)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        trouble = trouble_of(error) or _of_a_file(error)
        if trouble is None:  # a bug: print Python's traceback, without secrets
            print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
            return EXIT_BUG
        _print_error(str(trouble))
    return EXIT_INPUT_ERROR


def _of_a_file(error: Exception) -> Exception | None:
    """Converts an ``OSError`` from a failing disk or a denied permission to an error with a one-sentence message.

    Returns ``MachineTrouble`` if a disk or a network file system failed, and ``InputError`` if permission for a named
    file was denied. Returns ``None`` for any other error.
    """
    if not isinstance(error, OSError):
        return None
    if is_passing(error):
        return disk_failed(error.filename or "a file", error.strerror or str(error))
    if isinstance(error, PermissionError) and error.filename:
        return InputError(f"{error.filename}: permission denied: give your user access to it")
    return None


def _print_error(sentence: str) -> None:
    print(f"error: {one_line(without_secrets(sentence))}", file=sys.stderr)
