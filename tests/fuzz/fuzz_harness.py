"""The harness of the fuzz modules: applies seeded mutations one by one, limits time and memory, prints a summary.

A module defines a :class:`Target`. Every mutation depends only on the seed and its number, and a failure names both:
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
"""Maximum growth of resident memory over a run, in bytes. The mutated files take only kilobytes."""

LONGEST_S = 5.0
"""Maximum CPU time of one mutation, in seconds."""


JSON_WORDS = (b"null", b"-1", b"1e999", b"NaN", b"99999999999999999999", b'"', b"[[[[[[", b"{}", b"true")
"""Text that is written over parts of a JSON document. A target adds words that are specific to its own files."""

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
    """Measures the CPU time that Numba spends on compiling, which does not count against a mutation's limit.

    Any mutation may be the first to call a kernel, and the caches may be empty.
    """

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
    """A group of parsers under test, together with the files that are mutated for them."""

    def __init__(self, folder: Path) -> None:
        """Writes the files that the target needs to ``folder``."""

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        """Runs one mutation and counts its outcome in ``counts``. Raises if the parsers do anything that is not
        allowed."""


def mutated(rng: np.random.Generator, data: bytes, words: tuple[bytes, ...] = ()) -> bytes:
    """Mutates ``data`` one or more times. Each mutation changes, cuts, doubles or moves bytes, or inserts one of
    ``words`` at a random position or overwrites bytes with it. Returns the result."""
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
    """Returns the JSON document ``data`` with values, at any depth, removed or replaced by values of another type.

    The result is still JSON, so a parser reads further into it than into a document with changed bytes.
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
    """Runs the mutations with these ``numbers`` and returns how often each outcome occurred. At the first failure, adds
    the seed and the number to the error's notes and raises it again."""
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
    """Runs the command line of a fuzz module, with the first line of ``about`` as its description. Returns the exit
    code."""
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
