"""``glass bench all``: runs several benches one after another and appends one line per bench to a results file.

Each bench runs in its own process with default settings, and prints a JSON document. That document becomes one line of
``bench/results/MACHINE.jsonl``. If a target was missed or a method crashed, the bench exits with a non-zero code, but
its document is stored all the same. The line and this command's own document both record the exit code. To contribute
results from your machine, run this command while the machine is otherwise idle, and send the file. ``glass bench
report`` compares machines.

    glass bench all --data data/shards --machine ryzen-9950x [--photos DIR]
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.harness.arguments import bench_parser, names_among, progress
from bench.harness.schemas import check_line, print_result
from bench.registry import BENCHES
from shards.cli.command import CommandParser, printable
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.json_file import parse_json
from shards.files.outputs import make_folder
from shards.manifest.dataset import ShardDataset

__all__ = ["RESULTS", "append_line", "main"]

BENCH = "all"
RESULTS = Path(__file__).parent / "results"
KNOWN = tuple(name for name in BENCHES if name not in (BENCH, "report"))
DEFAULT = ("doctor", "build", "decode", "loader", "train", "memory", "scale")
NEEDS_DATA = ("loader", "train", "remote")
NEEDS_IMAGES = ("build", "decode")
WITHOUT_PHOTOS = ("--megapixels", "3,12")
"""Command-line arguments that make a bench use synthetic photographs of 3 and 12 megapixels. Passed to benches that
need images if the user provides no photographs."""


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if a bench produced no result or exited with a non-zero code."""
    options = _parse(argv)
    path = options.results / f"{options.machine}.jsonl"
    runs = [_run(name, options, path) for name in _names(options)]
    print_result({"bench": BENCH, "results": str(path), "runs": runs}, None, BENCH)
    return 1 if any(run["words"] for run in runs) else 0


def _run(name: str, options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Runs a bench, prints its table and appends its result to ``path``. Returns the bench's entry for the document's
    ``runs`` list: its name, its exit code, whether its result was stored, and a description of any problem."""
    arguments = [name, *_arguments(name, options)]
    command = shlex.join(arguments)
    progress(f"bench {command}")
    done = subprocess.run([sys.executable, "-m", "bench", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    *table, last = done.stdout.splitlines() or [""]
    print("\n".join(table), flush=True)
    code, kept = done.returncode, True
    words = f"ended with exit code {code}; its result is kept" if code else ""
    try:
        append_line(path, name, options.machine, command, code, _document(last))
    except OSError as error:
        print(last, flush=True)
        why = f"its result (the line above) cannot be written to {path}: {error.strerror}"
        kept, words = False, f"exit code {code}; {why}"
    except (ValueError, TypeError, KeyError) as error:
        kept, words = False, f"exit code {code}, and no result: {error}"
    if words:
        print(printable(f"{'NOTE' if kept else 'FAILED'} {name}: {words}"))
    return {"bench": name, "exit_code": code, "kept": kept, "words": words}


def _document(last: str) -> Any:
    """Parses a bench's last line of output as its JSON document. Raises ``ValueError`` if the line is not JSON."""
    try:
        return parse_json(last.encode())
    except json.JSONDecodeError:
        raise ValueError("its last line is not a JSON document") from None


def append_line(path: Path, bench: str, machine: str, command: str, exit_code: int, document: Any) -> None:
    """Appends one line to a results file. Raises ``ValueError`` if ``document`` is not a valid result of ``bench``."""
    line = {"bench": bench, "machine": machine, "command": command, "exit_code": exit_code, "document": document}
    check_line(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text_atomic(path, before + json.dumps(line, allow_nan=False) + "\n")


def _names(options: argparse.Namespace) -> list[str]:
    """Returns the names of the benches to run, as given by ``--benches``. Raises ``InputError`` if a name is unknown,
    if a bench needs ``--data`` but it was not given, if the data set cannot be opened, or if the photograph folder does
    not exist."""
    names = names_among("--benches", options.benches, KNOWN)
    on_data = [name for name in names if name in NEEDS_DATA]
    if on_data and options.data is None:
        raise InputError(f"--data SHARDS is required by {' and '.join(on_data)}: give it, or choose other --benches")
    if options.data is not None:
        ShardDataset.open(options.data)  # now, not after an hour of other benches
    if options.photos is not None and not options.photos.is_dir():
        raise InputError(f"--photos {options.photos}: no such folder")
    return names


def _arguments(name: str, options: argparse.Namespace) -> list[str]:
    """Returns the arguments that tell a bench which data set or images to use. All other settings keep their
    defaults."""
    if name in NEEDS_DATA:
        return ["--data", str(options.data)]
    if name in NEEDS_IMAGES:
        photos = options.photos
        return list(WITHOUT_PHOTOS) if photos is None else ["--photos", str(photos)]
    return []


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Runs several benches in turn, and keeps their results as lines of a file.")
    parser.add_argument(
        "--machine",
        required=True,
        metavar="NAME",
        help="name of this machine in the file of results, such as xeon-2-cores",
    )
    parser.add_argument("--data", type=Path, metavar="SHARDS", help=f"data set for {', '.join(NEEDS_DATA)}")
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help=f"JPEGs for {' and '.join(NEEDS_IMAGES)}; by default synthetic ones are drawn",
    )
    parser.add_argument(
        "--benches", default=",".join(DEFAULT), metavar="NAME,…", help=f"benches to run, of {', '.join(KNOWN)}"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="folder for the results")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,60}", options.machine):
        raise InputError(
            f"--machine {options.machine!r}: use only lower-case letters, digits and . _ -, because it becomes a file "
            "name"
        )
    _check_results(options)
    return options


def _check_results(options: argparse.Namespace) -> None:
    """Creates the results folder if necessary. Raises ``InputError`` if that fails, or if an existing results file is
    not readable."""
    make_folder(options.results, "--results")
    path = options.results / f"{options.machine}.jsonl"
    try:
        if path.exists():
            path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give another --machine") from error
