"""Lists the presets, or prints the settings of one in the format that glass train --config reads.

glass presets [NAME] [--set KEY=VALUE]
"""

import importlib
from typing import Literal

from rich.console import Console
from rich.table import Table

from glass.config.overrides import apply_overrides
from glass.config.run_file import run_file_text
from glass.config.set_option import add_settings
from glass.presets import load_preset, preset_names
from shards.cli.command import CommandParser, run_command
from shards.errors import InputError

from .arguments import script_parser

__all__ = ["main", "parser"]

WIDTH_WITHOUT_TERMINAL = 120


def main(argv: list[str] | None = None) -> int:
    """Prints the presets, or the settings of one. Returns exit code 0."""
    options = parser().parse_args(argv)
    if options.name is not None:
        print(run_file_text(apply_overrides(load_preset(options.name), options.set)), end="")
        return 0
    if options.set:
        raise InputError("--set changes the settings of a preset: give its NAME, too")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(_table())
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("presets", __doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help=", ".join(preset_names()))
    add_settings(parser, "with NAME: change a setting of it, as in glass train (repeatable)")
    return parser


def _table() -> Table:
    table = Table()
    for title in ("preset", "backbone", "views", "batch", "epochs", "in words"):
        # A truncated name cannot be copied, so words are broken instead.
        justify: Literal["left", "right"] = "right" if title in ("batch", "epochs") else "left"
        table.add_column(title, justify=justify, no_wrap=title != "in words", overflow="fold")
    for name in preset_names():
        config = load_preset(name)
        loader = config.loader
        crops = f" + {loader.num_crops} × {loader.crop_size}" if config.model.kind == "glass" else ""
        about = (importlib.import_module(f"glass.presets.{name}").__doc__ or "").partition("\n\n")[0]
        batch = str(loader.global_batch_size * config.grad_accum_steps)
        table.add_row(
            name,
            config.model.global_backbone,
            f"{loader.global_size}{crops}",
            batch,
            str(config.epochs),
            " ".join(about.replace("``", "").split()),
        )
    return table


if __name__ == "__main__":
    run_command(main)
