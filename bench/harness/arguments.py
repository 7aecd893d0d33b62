"""Command-line arguments that the benches share."""

import argparse
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.harness.pinning import choose_cores
from shards.cli.command import CommandParser, program_name
from shards.errors import InputError
from shards.files.outputs import make_folder

__all__ = [
    "add_measuring",
    "bench_parser",
    "check_at_least",
    "check_measuring",
    "check_output",
    "names_among",
    "numbers",
    "progress",
    "scratch_folder",
    "whole_numbers",
]


class _InformativeDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Appends "(default: 5)" to a help text, unless there is no default to report or the text already mentions it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said = action.help is not None and "default" in action.help
        return action.help if said or action.default in (None, False, []) else super()._get_help_string(action)


def bench_parser(name: str, about: str) -> CommandParser:
    """A parser for ``glass bench NAME``."""
    return CommandParser(
        prog=program_name(f"python -m bench {name}"), description=about, formatter_class=_InformativeDefaults
    )


def add_measuring(parser: CommandParser, threads: str) -> None:
    """Adds the arguments for rounds, threads and output. ``threads`` is the default value of ``--threads``."""
    group = parser.add_argument_group("measuring")
    group.add_argument("--threads", default=threads, metavar="T,…", help="numbers of threads, such as 1,2")
    group.add_argument("--rounds", type=int, default=5, help="rounds; in each, every method has one turn")
    group.add_argument(
        "--seconds-per-round",
        type=float,
        default=1.0,
        metavar="S",
        help="length of a turn, in seconds: passes over the images are repeated until it lasts about this long",
    )
    group.add_argument(
        "--output", type=Path, metavar="DIR", help="also write the JSON document and plots to this folder"
    )


def check_measuring(options: argparse.Namespace) -> dict[int, list[int]]:
    """Checks the arguments added by :func:`add_measuring`. Returns a mapping from each number of threads to the cores
    to which a process with that many threads is pinned. Raises ``InputError`` naming the argument at fault."""
    check_at_least(1, options, "rounds")
    if not 0 < options.seconds_per_round <= 600:
        raise InputError(f"--seconds-per-round {options.seconds_per_round:g}: must be above 0 and at most 600")
    check_output(options)
    asked = whole_numbers("--threads", options.threads)
    return {threads: choose_cores(threads) for threads in asked}


def check_at_least(least: int, options: argparse.Namespace, *names: str) -> None:
    """Raises ``InputError`` naming the argument if an option in ``names``, such as ``batch_size``, is less than
    ``least``. Options that are None are not checked."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be at least {least}")


def check_output(options: argparse.Namespace) -> None:
    """Creates the folder of ``--output``. Raises ``InputError`` if it cannot be written to."""
    if options.output is None:
        return
    if options.output.is_file():
        raise InputError(f"--output {options.output} is a file: give a folder")
    make_folder(options.output)


def whole_numbers(name: str, text: str) -> list[int]:
    """Parses ``"1,2,4"`` to [1, 2, 4]: numbers of at least 1, without duplicates. Raises ``InputError`` naming the
    argument ``name``."""
    values = numbers(name, text)
    if any(value != int(value) for value in values):
        raise InputError(f"{name} {text}: must be whole numbers such as 1,2,4")
    return [int(value) for value in values]


def numbers(name: str, text: str) -> list[float]:
    """Parses ``"0.5,3"`` to [0.5, 3.0]: numbers above 0, without duplicates. Raises ``InputError`` naming the argument
    ``name``."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name} {text}: must be numbers separated by commas") from None
    if not all(0 < value < 1e6 for value in values):
        raise InputError(f"{name} {text}: all must be above 0")
    return list(dict.fromkeys(values))


def names_among(name: str, text: str, known: Collection[str]) -> list[str]:
    """Parses ``"a,b"`` to ["a", "b"], without duplicates. Raises ``InputError`` listing ``known`` if a name is not in
    it."""
    names = list(dict.fromkeys(text.split(",")))
    for found in names:
        if found not in known:
            raise InputError(f"{name}: {found!r} is unknown: choose from {', '.join(known)}")
    return names


def progress(message: str) -> None:
    """Prints a progress message to standard error, since a bench may run for minutes."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Context manager: a temporary folder, which is removed afterwards."""
    with TemporaryDirectory(prefix="glass-bench-") as folder:
        yield Path(folder)
