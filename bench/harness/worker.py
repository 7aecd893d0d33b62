"""The measured process. ``python -m bench.harness.worker`` reads a task, then runs it on request.

The task and all output are JSON documents, one per line; the other inputs are single words.

=============  ======================================================================
input          output
=============  ======================================================================
the task       ``{"built": true}`` after all imports, or ``{"unavailable": reason}``
``warm``       ``{"ready": passes per turn}``
``run``        images, seconds, CPU seconds, peak memory; any number of times
``quit``       ``{"report": …}``
=============  ======================================================================

Anything else that is printed goes to standard error.
"""

import importlib
import json
import math
import os
import sys
import time
from typing import IO, Any

from bench.harness.pinning import pin_process
from bench.harness.process_usage import reset_peak_rss, usage_now, wait_until_idle
from bench.harness.task import Method, NotAvailable, Task
from shards.allocation import keep_freed_memory

__all__ = ["main", "take_turn"]

MAX_PASSES = 4096


def main() -> int:
    """Runs one task. Returns 0. An exception in the method ends the process with a traceback."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # library output must not be mistaken for a response
    task = Task.from_json(sys.stdin.readline())
    pin_process(task.cores)  # before the first heavy import: threads inherit it
    keep_freed_memory()  # for every method alike
    try:
        method = _build(task)
    except (NotAvailable, ImportError) as error:
        _answer(answers, {"unavailable": str(error)})
        return 0
    _answer(answers, {"built": True})
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        if line.strip() == "warm":
            _answer(answers, {"ready": _warm(method, task.seconds_per_round)})
        else:
            turn = take_turn(method)
            wait_until_idle()  # the answer lets the next method's turn begin
            _answer(answers, turn)
    _answer(answers, {"report": method.report()})
    method.close()
    return 0


def take_turn(method: Method) -> dict[str, float]:
    """Runs and times one turn. Returns ``images``, ``seconds``, ``cpu_s``, and ``peak_rss_mib`` since the warm-up."""
    before = usage_now()
    start = time.perf_counter()
    images = method.run()
    seconds = time.perf_counter() - start
    after = usage_now()
    return {
        "images": images,
        "seconds": seconds,
        "cpu_s": after.cpu_s - before.cpu_s,
        "peak_rss_mib": after.peak_rss_mib,
    }


def _build(task: Task) -> Method:
    module, name = task.where.split(":")
    return getattr(importlib.import_module(module), name)(task)


def _warm(method: Method, seconds_per_round: float) -> int:
    seconds_per_pass = method.warm_up()
    passes = min(max(1, math.ceil(seconds_per_round / max(seconds_per_pass, 1e-6))), MAX_PASSES)
    method.prepare(passes)
    wait_until_idle()
    reset_peak_rss()
    return passes


def _answer(answers: IO[str], document: dict[str, Any]) -> None:
    print(json.dumps(document), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(main())
