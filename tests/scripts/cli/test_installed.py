"""Users who have not activated the environment get a sentence that says so."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "command", [["-m", "scripts.audit"], ["-m", "scripts.make_demo"], ["-m", "bench"], ["train.py"]]
)
def test_a_python_without_the_libraries(command: list[str]) -> None:
    # -S leaves out all that is installed.
    done = subprocess.run([sys.executable, "-S", *command], cwd=ROOT, capture_output=True, text=True, env={})
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sys.executable} does not have the libraries of")
    assert "'. .venv/bin/activate'" in done.stderr
    assert done.stderr.count("\n") == 1
