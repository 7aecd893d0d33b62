"""Every command's flags, defaults and help texts are those of ``tests/golden/help.txt``.

After an intended change, run ``python -m tests.scripts.cli.test_command_help`` to write the file anew, and read its
diff.
"""

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.registry import BENCHES

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/golden/help.txt"
COMMANDS = [
    *sorted(f"scripts.{p.stem}" for p in (ROOT / "scripts").glob("*.py") if "def parser(" in p.read_text()),
    *sorted(bench.module for bench in BENCHES.values()),
]
CORES = 97
"""The number of cores of the machine in these tests, unusual enough to recognise defaults that depend on it."""


def parser_of(module: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser of the command ``module``, created as on a machine with :data:`CORES` cores."""
    with monkeypatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: CORES)
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
        default = "the machine's cores" if action.default == CORES else action.default
        facts = {
            "metavar": action.metavar,
            "nargs": action.nargs,
            "choices": action.choices and [*action.choices],
            "default": None if default is argparse.SUPPRESS else default,
            "required": action.required and bool(action.option_strings),
        }
        known = " ".join(f"{name}={value}" for name, value in facts.items() if value not in (None, False))
        yield f"{indent}  {', '.join(action.option_strings) or action.dest}  {known}".rstrip()
        yield f"{indent}      {action.help or ''}".rstrip()


def section_of(module: str, monkeypatch: pytest.MonkeyPatch) -> str:
    parser = parser_of(module, monkeypatch)
    return "\n".join([f"== {module} ({parser.prog})", *lines_of(parser)]).replace(str(ROOT), "ROOT").rstrip()


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_the_golden_one(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {text.split(" ", 1)[0]: "== " + text.rstrip() for text in GOLDEN.read_text().split("== ")[1:]}
    assert section_of(module, monkeypatch) == sections.get(module), "see the head of this file"


def test_the_golden_file_has_no_other_command() -> None:
    found = [text.split(" ", 1)[0] for text in GOLDEN.read_text().split("== ")[1:]]
    assert sorted(found) == sorted(COMMANDS)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        sections = []
        for command in COMMANDS:
            sections.append(section_of(command, patch))
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("\n\n".join(sections) + "\n")
