"""``glass bench NAME …`` runs a bench. Each bench prints a table, then one JSON document."""

import importlib
import sys

import shards.cli.installed  # noqa: F401, first of all
from bench.registry import BENCHES
from shards.cli.command import called_as, program_name, run_command
from shards.errors import InputError

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the bench named by the first argument."""
    arguments = sys.argv[1:] if argv is None else argv
    program = program_name("python -m bench")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: {program} NAME [--help] …\n")
        for name, bench in BENCHES.items():
            print(f"  {name:8} {bench.about}")
        return 0
    name, *rest = arguments
    if name not in BENCHES:
        raise InputError(f"no bench is called {name!r}: choose from {', '.join(BENCHES)}")
    with called_as(f"{program} {name}"):
        return int(importlib.import_module(BENCHES[name].module).main(rest))


if __name__ == "__main__":
    run_command(main)
