"""The measuring process of ``glass bench gpu``. ``python -m bench.gpu.worker`` reads its setting, then measures one
part per request.

Standard input and standard output carry one JSON document per line. Input: the setting, then any number of requests
``{"part": name, "seconds": …}``. Output: ``{"ready": true}`` or ``{"refused": sentence}``; then, for each requested
part, ``{"cells": [name, …]}``, one row per cell and ``{"end": name}``. Anything else that is printed goes to standard
error. One process serves all parts, because importing torch and initialising a GPU each take seconds.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from bench.gpu.part import Cell, CutOff, Part, Setting, Skipped, State
from bench.gpu.parts import PARTS
from shards.errors import InputError

__all__ = ["main"]


def main() -> int:
    """Measures parts until standard input ends. Returns 0."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    setting = Setting(**json.loads(sys.stdin.readline()))
    if not setting.on_gpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    try:
        _require(setting)
    except InputError as error:
        print(json.dumps({"refused": str(error)}), file=answers)
        return 0
    print(json.dumps({"ready": True}), file=answers)
    threading.Thread(target=_warm_up, daemon=True).start()
    for line in sys.stdin:
        asked = json.loads(line)
        for answer in _measured(PARTS[asked["part"]], setting, time.monotonic() + asked["seconds"]):
            print(json.dumps(answer), file=answers)
        print(json.dumps({"end": asked["part"]}), file=answers)
    return 0


def _require(setting: Setting) -> None:
    import torch

    if setting.on_gpu and not torch.cuda.is_available():
        raise InputError("no CUDA device is available: give --device cpu, which measures glass_tiny instead")
    if setting.data is not None:
        from bench.gpu.data import SPLIT
        from shards.manifest.dataset import ShardDataset

        ShardDataset.open(setting.data).split_rows(SPLIT)


def _warm_up() -> None:
    """Compiles the kernels while the GPU tests run in another process, since compilation takes half a minute in a fresh
    checkout."""
    from bench.gpu.pixels import spliced_jobs

    with suppress(Exception):  # the part that needs the kernels fails in the same way, and reports it
        spliced_jobs("4:2:0")


def _measured(part: Part, setting: Setting, deadline: float) -> Iterator[dict[str, Any]]:
    """Measures a part. Yields a document with the names of its cells, then one row per cell."""
    if part.needs_data and setting.data is None:
        cells = [Cell("shards", _no_data)]
    else:
        cells = list(part.cells(setting))
    yield {"cells": [cell.name for cell in cells]}
    for cell in cells:
        start = time.monotonic()
        state, figures, words = _answer(cell, deadline - start)
        seconds = round(time.monotonic() - start, 3)
        yield {
            "part": part.name,
            "cell": cell.name,
            "state": state,
            "words": words,
            "time_s": seconds,
            "figures": figures,
        }


def _answer(cell: Cell, left: float) -> tuple[State, dict[str, Any], str]:
    if left <= 0:
        return "cut off", {}, "its time limit was reached"
    try:
        return "done", *cell.measure(left)
    except CutOff as error:
        return "cut off", error.figures, error.words
    except Skipped as error:
        return "skipped", {}, str(error)
    except InputError as error:
        return "skipped", {}, str(error)
    except Exception as error:  # a broken part is an answer: report it and go on
        return "failed", {}, " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _no_data(_: float) -> Any:
    raise Skipped("there are no shards to load: give --data SHARDS")


if __name__ == "__main__":
    sys.exit(main())
