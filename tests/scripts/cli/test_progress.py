"""A silent command tells a user at a terminal what it is doing, but prints nothing if the output is not a terminal."""

import itertools
import multiprocessing
import sys
import threading
from contextlib import contextmanager

import pytest

from shards.build import workers
from shards.cli import progress
from shards.cli.progress import explain_silence, progress_bar


class Stderr:
    """A stderr that is a terminal or not. A test can wait until something is written to it."""

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text, self.spoken = terminal, "", threading.Event()

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text
        self.spoken.set()

    def flush(self) -> None:
        """Does nothing, because nothing is buffered."""


@pytest.fixture
def slow_import(tmp_path, monkeypatch):
    """Makes ``import glass_slow`` last until something is written to stderr, or for ten seconds."""
    (tmp_path / "glass_slow.py").write_text("import sys\nsys.stderr.spoken.wait(10)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("glass_slow", None)


def test_a_long_import_is_reported_once(slow_import, monkeypatch):
    stderr = Stderr(terminal=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    with explain_silence(every_s=0.01):
        import glass_slow  # noqa: F401
    assert stderr.text == "\r\033[Kloading libraries, including PyTorch …\n"


def test_a_long_compilation_is_reported(monkeypatch):
    stderr = Stderr(terminal=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    busy = compile("spoken.wait(10)", "/somewhere/numba/core/compiler.py", "exec")
    with explain_silence(every_s=0.01):
        exec(busy, {"spoken": stderr.spoken})
    assert stderr.text == "\r\033[Kcompiling kernels (once per machine) …\n"


def test_of_workers_the_first_speaks_until_its_first_image(monkeypatch):
    """Only one worker reports, until its first image. The main process cannot, because it only waits and cannot see
    what its workers do."""
    heard = []

    @contextmanager
    def said():
        heard.append("begins")
        yield
        heard.append("ends")

    monkeypatch.setattr(workers, "explain_silence", said)
    monkeypatch.setattr(workers.signal, "signal", lambda *_: None)
    shared = [multiprocessing.Value(kind, 0) for kind in "qbq"]
    workers._start_worker(*shared)
    assert heard == ["begins"]
    workers._advance()
    workers._advance()
    assert heard == ["begins", "ends"]
    workers._start_worker(*shared)
    workers._advance()
    assert heard == ["begins", "ends"]


def test_a_log_file_gets_no_such_word_and_no_thread(monkeypatch):
    for stderr in (Stderr(terminal=False), None):
        monkeypatch.setattr(sys, "stderr", stderr)
        with explain_silence(every_s=0.01):
            names = [thread.name for thread in threading.enumerate()]
        assert "silence" not in names


def test_what_is_over_soon_is_not_reported(monkeypatch):
    stderr = Stderr(terminal=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    looks = threading.Semaphore(0)

    def two_looks():
        looks.release()
        return {"importlib"} if looks._value < progress.LOOKS_BEFORE_NOTICE else set()

    monkeypatch.setattr(progress, "_signs", two_looks)
    with explain_silence(every_s=0.001):
        while looks._value < 6:
            assert threading.active_count()
    assert stderr.text == ""


@pytest.mark.parametrize(("terminal", "most"), [(True, 70), (False, 4)])
def test_a_log_file_is_not_filled_by_a_bar(terminal, most, monkeypatch):
    """Simulates a minute of work that reports its progress ten times per second, even when there was none."""
    stderr, clock = Stderr(terminal), itertools.count(0, 0.1)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    with progress_bar(60, "building") as bar:
        for call in range(600):
            bar.update(call % 10 == 9)
    assert "60/60" in stderr.text
    assert 1 < stderr.text.count("building") <= most
    if not terminal:
        assert "\r" not in stderr.text
        assert all(line.startswith("building: ") for line in stderr.text.splitlines())
