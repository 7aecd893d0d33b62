"""Prints the completion of the command glass for a shell, as a script that runs no Python.

glass completion bash > ~/.local/share/bash-completion/completions/glass
glass completion zsh  > DIR/_glass        where DIR is one of $fpath
glass completion fish > ~/.config/fish/completions/glass.fish
"""

import importlib
from pathlib import Path

from bench.registry import BENCHES
from glass.presets import preset_names
from shards.cli.command import CommandParser, run_command
from shards.errors import InputError

from .arguments import script_parser
from .console import COMMANDS, glass_parser

__all__ = ["completion", "main", "parser"]

SHELLS = ("bash", "zsh", "fish")
PLACES = frozenset({"MODEL", "OUT", "PATH", "RUN", "SRC", "TAR"})
"""Metavars of arguments that take a file or folder. Some of them also take an address."""


def main(argv: list[str] | None = None) -> int:
    """Prints the completion script; returns exit code 0."""
    print(completion(parser().parse_args(argv).shell))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("completion", __doc__)
    parser.add_argument(
        "shell",
        choices=SHELLS,
        help="for bash, write it to ~/.local/share/bash-completion/completions/glass; for zsh, as _glass to a folder of"
        " $fpath; for fish, to ~/.config/fish/completions/glass.fish",
    )
    return parser


def completion(shell: str) -> str:
    """Returns the completion script for ``shell``, generated from the parsers of all commands."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise InputError("the completion is written by shtab, which is not installed: run pip install shtab") from error
    return str(shtab.complete(glass_parser(_arguments), shell))


def _arguments(name: str) -> list[CommandParser]:
    if name != "bench":
        return [_completed(COMMANDS[name].module)]
    benches = CommandParser()
    names = benches.add_subparsers(metavar="NAME")
    for bench_name, bench in BENCHES.items():
        names.add_parser(bench_name, help=bench.about, parents=[_completed(bench.module)], add_help=False)
    return [benches]


def _completed(module: str) -> CommandParser:
    """Returns the command's parser, with completion hints for its argument values."""
    import shtab

    parser: CommandParser = importlib.import_module(module).parser()
    for action in parser._actions:  # argparse has no public way to list them
        if action.type is Path or action.metavar in PLACES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        if action.dest == "preset":
            action.choices = preset_names()
    return parser


if __name__ == "__main__":
    run_command(main)
