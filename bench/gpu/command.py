"""``glass bench gpu``: runs all GPU measurements with one command, in a few minutes.

Question: do decoding, loading and training work on this GPU? How fast are they, are the pixels correct, and how much
memory does training need? Method: the parts run in this order: machine, tests, pixels, loader, training, memory,
compile. Each part gets a share of ``--minutes`` of wall time, and leaves what it does not use to the parts that follow.
Each row is written to ``--out`` as soon as it has been measured, so an interrupted run keeps its rows. When a part's
time is up, its remaining rows are marked ``cut off``. If a part hangs, its process is killed, and the next part begins
in a new process.

    glass bench gpu --minutes 8 --data data/shards --out gpu.json

``--device cpu`` is a rehearsal: it runs all parts on the CPU, with small models.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from bench.gpu.parts import PARTS
from bench.harness.arguments import bench_parser, progress, scratch_folder
from bench.harness.environment import environment
from bench.harness.schemas import check_result, print_result
from shards.cli.command import CommandParser, printable
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.outputs import check_output, is_json_with

__all__ = ["main", "parser"]

BENCH = "gpu"
GRACE_S, GRACE_SHARE = 30.0, 0.3
"""If a part exceeds its time by more than ``GRACE_S`` seconds plus ``GRACE_SHARE`` of that time, its process is killed.
The limits are generous because a new process may have to start and compile kernels, which takes half a minute in a
fresh checkout."""
LAST_S = 2.0
"""Everything is killed this many seconds before the end, to leave time for writing the results."""
START_S = 120.0
WORKER = [sys.executable, "-m", "bench.gpu.worker"]


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if a row failed."""
    options = _parse(argv)
    end = time.monotonic() + 60 * options.minutes
    with scratch_folder() as scratch:
        setting = {
            "device": options.device,
            "data": None if options.data is None else str(options.data.resolve()),
            "scratch": str(scratch),
            "threads": len(os.sched_getaffinity(0)),
        }
        runner = _Runner(setting)
        try:
            document = _measure(runner, setting, end, options)
        finally:
            runner.end()
    for part, verdict in document["verdicts"].items():
        print(printable(f"{part}: {verdict}"))
    print_result(document, None, BENCH)
    return 1 if any(row["state"] == "failed" for row in document["rows"]) else 0


def _measure(runner: "_Runner", setting: dict[str, Any], end: float, options: argparse.Namespace) -> dict[str, Any]:
    document: dict[str, Any] = {
        "bench": BENCH,
        "device": setting["device"],
        "minutes": options.minutes,
        "data": "" if setting["data"] is None else Path(setting["data"]).name,
        "rows": [],
        "verdicts": {},
        "environment": environment(sorted(os.sched_getaffinity(0))),
    }
    runner.start(min(START_S, end - time.monotonic()))
    shares = {name: part.share for name, part in PARTS.items()}
    for name, part in PARTS.items():
        left = end - time.monotonic() - LAST_S
        seconds = max(0.0, left * shares[name] / sum(shares[other] for other in list(PARTS)[list(PARTS).index(name) :]))
        progress(f"{name}: at most {seconds:.0f} s")
        for row in runner.rows(name, seconds, end - LAST_S):
            document["rows"].append(row)
            print(printable(f"{row['state']:>8}  {row['part']}, {row['cell']}: {row['words']}"), flush=True)
            _write(document, options.out)
        document["verdicts"][name] = part.verdict([row for row in document["rows"] if row["part"] == name])
        _write(document, options.out)
    return document


def _write(document: dict[str, Any], out: Path) -> None:
    check_result(BENCH, document)
    write_text_atomic(out, json.dumps(document, indent=1) + "\n")


class _Runner:
    """Runs the measuring process. After the process has been killed, a new one is started for the next part."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self._setting = setting
        self._process: subprocess.Popen[str] | None = None
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._crashed = False

    def start(self, seconds: float) -> None:
        """Starts the process, and waits at most ``seconds`` for its first response. Raises ``InputError`` if the
        process refuses the setting."""
        self._process = subprocess.Popen(WORKER, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines, self._crashed = SimpleQueue(), False
        threading.Thread(target=_forward, args=(self._process, self._lines), daemon=True).start()
        self._send(self._setting)
        answer = self._next(time.monotonic() + seconds)
        if answer is not None and "refused" in answer:
            raise InputError(answer["refused"])

    def rows(self, part: str, seconds: float, end: float) -> Iterator[dict[str, Any]]:
        """Yields a part's rows until the time ``end`` at the latest. If the part hangs or crashes, its remaining rows
        have no figures."""
        end = min(end, time.monotonic() + seconds * (1 + GRACE_SHARE) + GRACE_S)
        owed: list[str] = []
        if self._process is None and seconds > 0:
            self.start(end - time.monotonic())
        if self._process is not None:
            self._send({"part": part, "seconds": seconds})
        while (answer := self._next(end)) is not None:
            if "end" in answer:
                return
            if "cells" in answer:
                owed = answer["cells"]
            elif "cell" in answer:
                owed.remove(answer["cell"])
                yield answer
        crashed = self._crashed
        self.end()
        state, words = ("failed", "the process ended") if crashed else ("cut off", "its time limit was reached")
        for cell in owed or ["all"]:
            yield {"part": part, "cell": cell, "state": state, "words": words, "time_s": 0.0, "figures": {}}
            if crashed:
                state, words = "cut off", "the process had ended"

    def end(self) -> None:
        """Kills the process, even if it is still working."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process = None

    def _send(self, document: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer shows it

    def _next(self, end: float) -> dict[str, Any] | None:
        """The next response of the process. None if there is no process, if it has ended, or if it did not respond by
        the time ``end``."""
        if self._process is None:
            return None
        try:
            line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            return None
        self._crashed = not line  # its output ended
        return json.loads(line) if line else None


def _forward(process: "subprocess.Popen[str]", lines: "SimpleQueue[str]") -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.put(line)
    except ValueError:  # closed after the process was ended
        pass
    lines.put("")


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "All GPU measurements, in one command of a few minutes.")
    parser.add_argument(
        "--minutes", type=float, default=8, metavar="M", help="time limit for all parts together, in minutes"
    )
    parser.add_argument("--data", type=Path, metavar="SHARDS", help="shards to load and to train on")
    parser.add_argument(
        "--out", type=Path, default=Path("gpu.json"), metavar="FILE", help="file for the results, written row by row"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal with small models")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    if not 0.1 <= options.minutes <= 600:
        raise InputError(f"--minutes {options.minutes:g}: must be from 0.1 to 600")
    if options.data is not None and not options.data.is_dir():
        raise InputError(f"--data {options.data} is not an existing folder: give a folder of shards")
    check_output(options.out, is_json_with("bench", "verdicts"), "give another --out")
    return options
