"""``python -m bench all``: several benches in turn, and a line for each in a file of results.

Each bench runs as a process of its own with its own defaults; the document that it prints is kept
as one line of ``bench/results/MACHINE.jsonl``. To add your machine: run this on it while nothing
else runs, and send the file. ``python -m bench report`` sets machines side by side.

    python -m bench all --data data/shards --machine ryzen-9950x --benches loader,train,scale
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.arguments import bench_parser, names_among, progress
from bench.schemas import check_result
from shards.atomic import write_text_atomic
from shards.command import InputError

__all__ = ["RESULTS", "append_line", "main"]

BENCH = "all"
RESULTS = Path(__file__).parent / "results"
NEEDS_DATA = ("loader", "train")
NEEDS_NOTHING = ("doctor", "scale")


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 1 where a bench failed; the others are kept."""
    options = _parse(argv)
    names = names_among("--benches", options.benches, (*NEEDS_DATA, *NEEDS_NOTHING, "memory"))
    if options.data is None and set(names) & set(NEEDS_DATA):
        raise InputError("--data SHARDS is needed by loader and train: give it, or other --benches")
    path = options.results / f"{options.machine}.jsonl"
    failed = []
    for name in names:
        words = ["--data", str(options.data)] if name in NEEDS_DATA else []
        progress(f"bench {name} {' '.join(words)}".strip())
        done = subprocess.run(
            [sys.executable, "-m", "bench", name, *words], stdout=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        print("\n".join(lines[:-1]), flush=True)
        try:
            document = json.loads(lines[-1]) if lines else None
            if not isinstance(document, dict):
                raise ValueError(f"it ended with exit code {done.returncode} and no result")
            check_result(name, document)
        except (ValueError, TypeError, KeyError) as error:
            failed.append(name)
            print(f"FAILED {name}: {error}")
            continue
        append_line(path, name, options.machine, " ".join([name, *words]), document)
    print(json.dumps({"bench": BENCH, "results": str(path), "failed": failed}))
    return 1 if failed else 0


def append_line(path: Path, bench: str, machine: str, command: str, document: Any) -> None:
    """Adds a line to a file of results."""
    line = {"bench": bench, "machine": machine, "command": command, "document": document}
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text_atomic(path, before + json.dumps(line, allow_nan=False) + "\n")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "Several benches in turn, kept as lines of results.")
    parser.add_argument("--machine", required=True, metavar="NAME", help="as in epyc-2-cores")
    parser.add_argument("--data", type=Path, metavar="SHARDS", help="for loader and train")
    parser.add_argument("--benches", default="doctor,loader,train,scale", metavar="NAME,…")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    options = parser.parse_args(argv)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,60}", options.machine):
        raise InputError(
            f"--machine {options.machine!r}: small letters, digits and . _ - only, it names a file"
        )
    return options
