"""A short run of ``tests/fuzz/fuzz_jpeg.py``, and, marked as slow, the long run with bounds checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz_jpeg import Fuzzer

# The first call compiles for half a minute of one core, and much longer on a busy machine.
pytestmark = pytest.mark.timeout(900)


def test_mutations_end_in_a_status() -> None:
    fuzzer = Fuzzer(seed=20)
    for number in range(250):
        fuzzer.run(number)
    # The mutations reach what they are meant to reach.
    for what in (
        "spliced: ok",
        "spliced: corrupt scan",
        "spliced: damaged entry points",
        "spliced: entry points of another file",
        "spliced: unusable header",
        "built: corrupt scan",
        "built: bad header",
        "compared: equal",
    ):
        assert fuzzer.counts[what] > 10, (what, fuzzer.counts)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_mutations_under_bounds_checks(tmp_path: Path) -> None:
    """Runs ``GLASS_FUZZ_MUTATIONS`` mutations (200,000 by default) in code that is compiled with bounds checks."""
    count = os.environ.get("GLASS_FUZZ_MUTATIONS", "200000")
    environment = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzz_jpeg", "--mutations", count],
        env=os.environ | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every planted overrun was noticed" in done.stdout


@pytest.mark.slow  # a process that compiles without checks
def test_checks_that_are_off_are_noticed(tmp_path: Path) -> None:
    """``prove_checks`` stops the program if the code was compiled without bounds checks, because planted overruns then
    go unnoticed."""
    pytest.importorskip("numba")
    code = (
        "from tests.fuzz import fuzz_jpeg\n"
        "try:\n    fuzz_jpeg.prove_checks()\nexcept SystemExit as stop:\n    print(stop)\n"
    )
    environment = {"NUMBA_BOUNDSCHECK": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert "bounds are not checked" in done.stdout, done.stdout + done.stderr
