"""Runs the tests that need a GPU. Each test file runs in its own pytest process."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.gpu.part import Answer, Cell, CutOff, Part, Setting, Skipped, done

__all__ = ["SHARDS_VARIABLE", "TESTS"]

ROOT = Path(__file__).resolve().parent.parent.parent
SHARDS_VARIABLE = "GLASS_GPU_TEST_SHARDS"
"""Environment variable with the path to the shards for the GPU tests. If it is not set, the tests use the shards given
by ``--data``; if neither is given, they build small shards."""
# The machine may lack the pytest plugins that pyproject.toml asks for, and its libraries may give other warnings.
PLAIN = ["-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=default", "-p", "no:cacheprovider"]
_OUTCOME = re.compile(r"^(\S+::\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)


def _cells(setting: Setting) -> list[Cell]:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = [path for path in files if "@pytest.mark.gpu" in path.read_text(encoding="utf-8")]
    marked.sort(key=lambda path: "train" in path.name)  # those take longest
    if not marked:
        return [Cell("tests", _absent)]
    return [Cell(path.name, partial(_run, path, setting)) for path in marked]


def _absent(_: float) -> Answer:
    raise Skipped("there are no tests here: run this in a clone of the repository")


def _run(path: Path, setting: Setting, seconds: float) -> Answer:
    command = [sys.executable, "-m", "pytest", "-v", "--tb=short", "--no-header", "-m", "gpu", *PLAIN, str(path)]
    named = {SHARDS_VARIABLE: setting.data} if setting.data else {}
    try:
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env={**named, **os.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=max(seconds, 1),
        )
    except subprocess.TimeoutExpired as error:
        figures = _figures((error.stdout or b"").decode(errors="replace"))
        raise CutOff(figures, _words(figures)) from None
    output = ran.stdout.decode(errors="replace")
    figures = _figures(output) | {"exit_code": ran.returncode}
    if ran.returncode not in (0, 5) or not figures["tests"]:  # 5: nothing was selected
        figures["tail"] = output[-4000:]
    return figures, _words(figures)


def _figures(output: str) -> dict[str, Any]:
    tests = {name.split("::", 1)[1]: outcome.lower() for name, outcome in _OUTCOME.findall(output)}
    return {"tests": tests}


def _words(figures: dict[str, Any]) -> str:
    outcomes = list(figures["tests"].values())
    counts = {name: outcomes.count(name) for name in ("passed", "failed", "error", "skipped")}
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    bad = [name for name, outcome in figures["tests"].items() if outcome in ("failed", "error")]
    return (found or "no test finished") + (f" ({', '.join(bad)})" if bad else "")


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    outcomes = [outcome for row in rows for outcome in row["figures"].get("tests", {}).values()]
    bad = sum(outcome in ("failed", "error") for outcome in outcomes)
    passed, unfinished = outcomes.count("passed"), len(rows) - len(done(rows))
    words = f"{passed} of {len(outcomes)} GPU tests passed, {bad} failed"
    return words + (f"; {unfinished} files did not run to the end" if unfinished else "")


TESTS = Part("tests", 0.2, _cells, _verdict)
