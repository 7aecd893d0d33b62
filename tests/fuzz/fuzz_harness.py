"""The harness of the fuzz modules: seeded mutations one by one, limits on time and memory, a summary.

A module gives a :class:`Target`. Every mutation is a function of the seed and its number, which a failure names.
``python -m tests.fuzz.fuzz_<name> --mutations N --seed S [--only NUMBER]``.
"""

import argparse
import copy
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import psutil
from numba.core import event

from tests.fuzz.fuzz_jpeg import mutate

__all__ = ["JSON_WORDS", "MOST_RSS_BYTES", "Target", "mutated", "mutated_json", "run_fuzz", "run_main"]

MOST_RSS_BYTES = 256 << 20
"""Maximum growth of resident memory over a run, in bytes; the files have kilobytes."""

LONGEST_S = 5.0
"""Maximum CPU time of one mutation, in seconds."""


JSON_WORDS = (b"null", b"-1", b"1e999", b"NaN", b"99999999999999999999", b'"', b"[[[[[[", b"{}", b"true")
"""Text that is written over parts of a JSON document. A target adds words that its own files may hold."""

VALUES = (
    None,
    True,
    0,
    -1,
    1,
    3,
    10**20,
    -(2**63),
    0.5,
    1e308,
    "",
    "x",
    "1",
    "../x",
    "\x1b[2J",
    [],
    [1],
    [None],
    [[]],
    {},
    {"a": 1},
)


class _Compiling(event.Listener):
    """Measures the CPU time in which Numba compiles: a mutation may be the first that needs a kernel, and the caches
    may be cold."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._began = 0.0

    def on_start(self, event: event.Event) -> None:
        if not self._depth:
            self._began = time.process_time()
        self._depth += 1

    def on_end(self, event: event.Event) -> None:
        self._depth -= 1
        if not self._depth:
            self.seconds += time.process_time() - self._began


class Target(Protocol):
    """A family of parsers, and the files that are mutated for them."""

    def __init__(self, folder: Path) -> None:
        """Writes its files to ``folder``."""

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        """Runs one mutation and counts its outcome. Raises if anything happens that must not."""


def mutated(rng: np.random.Generator, data: bytes, words: tuple[bytes, ...] = ()) -> bytes:
    """``data`` with bytes changed, cut, doubled or moved, sometimes several times; ``words`` are inserted at random
    places."""
    for _ in range(1 + int(rng.exponential(1))):
        if words and rng.random() < 0.4:
            word = words[int(rng.integers(len(words)))]
            place = int(rng.integers(0, len(data) + 1))
            overwrite = rng.random() < 0.5
            data = data[:place] + word + data[place + (len(word) if overwrite else 0) :]
        else:
            data = mutate(rng, data, 0, len(data)) or data
    return data


def mutated_json(rng: np.random.Generator, data: bytes) -> bytes:
    """The JSON document ``data`` with one of its values, at any depth, removed or replaced by one of another kind.

    It stays JSON, so it is read further than a document with changed bytes.
    """
    document = json.loads(data)
    while True:
        parent = document
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = keys[int(rng.integers(len(keys)))]
        while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.8:
            parent = parent[key]
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            key = keys[int(rng.integers(len(keys)))]
        if isinstance(parent, dict) and rng.random() < 0.2:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
        if rng.random() < 0.7 or not document:
            return json.dumps(document).encode()


def run_fuzz(make: Callable[[Path], Target], numbers: range | list[int], seed: int) -> Counter[str]:
    """Runs mutations and returns the counts of their outcomes. At the first failure, adds its seed and number to the
    error's notes."""
    process, counts, longest = psutil.Process(), Counter[str](), 0.0
    compiling = _Compiling()
    with TemporaryDirectory(prefix="fuzz-") as folder, event.install_listener("numba:compile", compiling):
        target = make(Path(folder))
        target.run(np.random.default_rng([seed, 2**32 - 1]), Counter())  # compiles, imports
        before = process.memory_info().rss
        for number in numbers:
            began, compiled = time.process_time(), compiling.seconds
            try:
                target.run(np.random.default_rng([seed, number]), counts)
                compiled = compiling.seconds - compiled
                longest = max(longest, time.process_time() - began - compiled)
                assert longest < LONGEST_S, f"took {longest:.1f} s"
                if compiled:  # the compiler takes memory, and keeps it
                    before = max(before, process.memory_info().rss)
                grown = process.memory_info().rss - before
                assert grown < MOST_RSS_BYTES, f"memory grew by {grown >> 20} MiB"
            except BaseException as error:
                error.add_note(f"--seed {seed} --only {number}")
                raise
            if number % 2000 == 0 and len(numbers) > 5000:
                print(f"{number} …", file=sys.stderr, flush=True)
    counts["longest, ms"] = int(longest * 1000)
    return counts


def run_main(make: Callable[[Path], Target], about: str) -> int:
    """Runs the command line of a fuzz module."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one mutation")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # thousands of warnings, each of which is expected
    numbers = range(options.mutations) if options.only is None else [options.only]
    for what, count in sorted(run_fuzz(make, numbers, options.seed).items()):
        print(f"{count:9d}  {what}")
    print(f"{len(numbers)} mutations, seed {options.seed}: none failed")
    return 0
