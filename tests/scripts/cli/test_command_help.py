"""Every command's flags, defaults and help texts are those of ``tests/golden/help.txt``.

After an intended change, run ``python -m tests.scripts.cli.test_command_help`` to write the file anew, and read its
diff.
"""

import argparse
import importlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bench.registry import BENCHES

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/golden/help.txt"
COMMANDS = [
    *sorted(f"scripts.{p.stem}" for p in (ROOT / "scripts").glob("*.py") if "def parser(" in p.read_text()),
    *sorted(bench.module for bench in BENCHES.values()),
]


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser of the command ``module``."""
    parser = importlib.import_module(module).parser()
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


def lines_of(parser: argparse.ArgumentParser, indent: str = "") -> Iterator[str]:
    """Yields the content of ``--help`` line by line, without Python's layout."""
    yield f"{indent}{parser.description or ''}".rstrip()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield f"{indent}  [{name}]"
                yield from lines_of(sub, indent + "    ")
            continue
        facts = {
            "metavar": action.metavar,
            "nargs": action.nargs,
            "choices": action.choices and [*action.choices],
            "default": None if action.default is argparse.SUPPRESS else action.default,
            "required": action.required and bool(action.option_strings),
        }
        known = " ".join(f"{name}={value}" for name, value in facts.items() if value not in (None, False))
        yield f"{indent}  {', '.join(action.option_strings) or action.dest}  {known}".rstrip()
        yield f"{indent}      {action.help or ''}".rstrip()


def section_of(module: str) -> str:
    parser = parser_of(module)
    return "\n".join([f"== {module} ({parser.prog})", *lines_of(parser)]).replace(str(ROOT), "ROOT").rstrip()


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_the_golden_one(module: str) -> None:
    sections = {text.split(" ", 1)[0]: "== " + text.rstrip() for text in GOLDEN.read_text().split("== ")[1:]}
    assert section_of(module) == sections.get(module), "see the head of this file"


@pytest.mark.parametrize("module", COMMANDS)
def test_every_option_says_what_it_does(module: str) -> None:
    lines = list(lines_of(parser_of(module)))
    assert not [option for option, about in pairwise(lines[1:]) if option.strip() and not about.strip()]


def test_the_golden_file_has_no_other_command() -> None:
    found = [text.split(" ", 1)[0] for text in GOLDEN.read_text().split("== ")[1:]]
    assert sorted(found) == sorted(COMMANDS)


if __name__ == "__main__":
    sections = [section_of(command) for command in COMMANDS]
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("\n\n".join(sections) + "\n")
