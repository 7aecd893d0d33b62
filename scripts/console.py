"""``glass COMMAND …``: all commands under one name.

A command's module is imported only when the command is called, so ``glass --help`` does not import any. A command takes
the same arguments as ``python -m scripts.NAME``.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from shards.cli.command import CommandParser, called_as, run_command
from shards.cli.wording import similar

__all__ = ["COMMANDS", "Command", "glass_parser", "main", "run"]


@dataclass(frozen=True)
class Command:
    """A subcommand."""

    module: str
    """A module with ``parser()`` and ``main(argv)``; imported when the command is called."""
    about: str


def _own(module: str, about: str) -> Command:
    """A command in this package, which is called ``scripts`` in a clone and ``glass_commands`` in a wheel."""
    return Command(f"{__package__}.{module}", about)


COMMANDS = {
    "make-demo": _own(
        "make_demo", "make demo images: real ones by a camera model, generated ones by simulated generators"
    ),
    "download-data": _own("download_data", "download the study's images from Kaggle"),
    "build": _own("build_shards", "pack images into shards"),
    "index": _own("index_shards", "make a data set from existing WebDataset tars"),
    "verify": _own("verify_shards", "check a data set byte by byte"),
    "data-stats": _own("data_stats", "show counts, sizes, formats and channel means of a data set"),
    "audit": _own("audit", "look for what gives the classes away, and for leaks between splits"),
    "presets": _own("presets", "show the presets and their settings"),
    "plan": _own("plan", "show which batch sizes, numbers of crops and chunks fit into a GPU's memory"),
    "train": _own("train", "train a detector, in one process"),
    "evaluate": _own("evaluate", "score a split and report metrics with intervals"),
    "calibrate": _own("calibrate", "choose temperature and threshold on a split reserved for calibration"),
    "robustness": _own("robustness", "score images after re-saving, resizing, blur and noise"),
    "report": _own("report", "write one page about evaluated runs, side by side"),
    "predict": _own("predict", "give verdicts on files, folders and shards"),
    "demo": _own("demo", "serve a web page that gives verdicts on images dropped on it"),
    "export": _own("export", "export a run's model: to a folder, the hub or ONNX"),
    "tune": _own("tune", "search the settings of a preset"),
    "final-runs": _own("final_runs", "train with several seeds and test each model once"),
    "crop-study": _own("crop_study", "measure what more crops cost and what they gain"),
    "study": _own("study", "run the whole reference study"),
    "bench": Command("bench.__main__", "run a benchmark; glass bench lists them"),
    "completion": _own("completion", "print the completion of this command for a shell"),
}


def run() -> NoReturn:
    """Entry point for the console command ``glass``."""
    run_command(main)


def main(argv: list[str] | None = None) -> int:
    """Runs the command named by the first word. Returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    parser = glass_parser()
    if not words:
        parser.print_help()
        return 0
    if words[0] == "--version":
        from .versions import version_lines  # imports libraries to ask them

        print(*version_lines(), sep="\n")
        return 0
    while words[0] == "help":
        words = [*words[1:], "--help"]
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        parser.error(_unknown(words[0]))
    name = parser.parse_args(words[:1]).command
    with called_as(f"glass {name}"):
        return int(importlib.import_module(COMMANDS[name].module).main(words[1:]))


def _unknown(word: str) -> str:
    """Returns the error message for a word that is not a command. It suggests one with a similar command or module
    name.
    """
    names = {command.module.rpartition(".")[2]: name for name, command in COMMANDS.items()}
    names |= {name: name for name in (*COMMANDS, "help")}
    return f"no command is called {word!r}{similar(word, names, cutoff=0.6)}"


def glass_parser(arguments: Callable[[str], Sequence[CommandParser]] = lambda _: ()) -> CommandParser:
    """Returns the parser for ``glass``, whose first argument is a command name.

    ``arguments`` takes a command name and returns the parsers whose arguments the command accepts.
    """
    parser = CommandParser(prog="glass", description="Train and run detectors of AI-generated images.")
    parser.add_argument(
        "--version", action="store_true", help="print the versions of the libraries that decide the pixels, and exit"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.about, parents=arguments(name), add_help=not arguments(name))
    return parser


if __name__ == "__main__":
    run()
