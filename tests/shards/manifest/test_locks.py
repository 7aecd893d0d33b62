"""Several processes that write to one folder: none takes another's file, and a waiting process logs for which one it
waits."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from glass.config.run_folder import RunFolder
from shards.errors import InputError
from shards.files.atomic import atomic_path, final_name, remove_temporaries, write_text_atomic
from shards.files.locks import holder, locked_file, locked_or_waited, open_shared, try_lock
from shards.files.outputs import locked

HOLD = """
import sys
from pathlib import Path
from shards.files.locks import try_lock
descriptor = try_lock(Path(sys.argv[1]))
print("held" if descriptor else "not held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Yields another process that holds the lock of ``path``."""
    words = [sys.executable, "-c", HOLD, str(path), "--storage", "postgresql://me:hunter2@host/db"]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "held\n"
        yield other
    finally:
        other.send_signal(signal.SIGCONT)
        other.stdin.close()
        other.wait(30)
        other.stdout.close()


def test_writers_of_one_file_do_not_tear_each_others_temporary(tmp_path: Path) -> None:
    """Concurrent writers of one file use different temporary names. Two containers may have equal process numbers, for
    which the test's threads stand; with only these in the name, 131 of 300 writes failed."""

    def write(number: int) -> None:
        for _ in range(30):
            write_text_atomic(tmp_path / "run.json", str(number) * 1000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(set((tmp_path / "run.json").read_text())) == 1
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_temporary_name_holds_host_process_and_chance(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        with atomic_path(tmp_path / "a.tar") as temporary:
            names.append(temporary.name)
    host = re.sub(r"[^\w-]", "_", os.uname().nodename)[:40]
    pattern = re.compile(rf"\.a\.tar\.{host}-{os.getpid()}-[0-9a-f]{{8}}\.tmp")
    assert all(pattern.fullmatch(name) for name in names)
    assert names[0] != names[1]
    assert {final_name(name) for name in names} == {"a.tar"}
    assert final_name(".a.tar.1234.tmp") == "a.tar"  # of older versions
    assert final_name(".notes.tmp") is None
    with atomic_path(tmp_path / ("n" * 250)) as temporary:  # no longer than a name may be
        temporary.write_text("x")


def test_what_killed_processes_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    def left(name: str, age_s: float = 0) -> Path:
        path = tmp_path / name
        path.write_text("{")
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    host = re.sub(r"[^\w-]", "_", os.uname().nodename)[:40]
    gone = [
        left(f".a.json.{host}-17-0123abcd.tmp"),
        left(".a.json.1234.tmp"),
        left(".a.json.other-17-0123abcd.tmp", age_s=7200),
    ]
    kept = [
        left(".a.json.other-17-89abcdef.tmp"),  # of a process that may live on another host
        left(f".thesis.txt.{host}-17-0123abcd.tmp"),
        left("a.json"),
    ]
    with atomic_path(tmp_path / "a.json") as temporary:  # of one that lives here
        remove_temporaries(tmp_path, {"a.json"}.__contains__)
        assert temporary.exists()
        assert not any(path.exists() for path in gone)
        assert all(path.exists() for path in kept)
        temporary.write_text("{}")


def test_a_temporary_that_another_process_writes_is_not_cleared(tmp_path: Path) -> None:
    host = re.sub(r"[^\w-]", "_", os.uname().nodename)[:40]
    path = tmp_path / f".a.json.{host}-1-0123abcd.tmp"
    with held_elsewhere(path):
        remove_temporaries(tmp_path, lambda _: True)
        assert path.exists()
    remove_temporaries(tmp_path, lambda _: True)
    assert not path.exists()


class Heard(logging.Handler):
    """A logging handler that collects messages and lets a test wait for the first."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())
        self.came.set()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    for name in ("WARN_AFTER_S", "WARN_AFTER_DOWNLOAD_S"):
        monkeypatch.setattr(f"shards.files.locks.{name}", 0.02)
    handler = Heard()
    logging.getLogger("shards.files.locks").addHandler(handler)
    yield handler
    logging.getLogger("shards.files.locks").removeHandler(handler)


def _use(path: Path) -> None:
    descriptor = open_shared(path)
    assert descriptor is not None
    os.close(descriptor)


WAITING = {
    "locked_file": lambda path: locked_file(path).__enter__(),
    "locked_or_waited": lambda path: locked_or_waited(path).__enter__(),
    "open_shared": _use,
}


@pytest.mark.parametrize("how", WAITING)
def test_who_waits_for_a_stopped_process_says_so_once_and_goes_on_waiting(
    how: str, tmp_path: Path, heard: Heard
) -> None:
    path, done = tmp_path / ".lock", threading.Event()

    def wait() -> None:
        WAITING[how](path)
        done.set()

    with held_elsewhere(path) as other:
        other.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert heard.came.wait(30)
        assert not done.is_set()
    assert done.wait(30)
    thread.join()
    (words,) = heard.words
    assert str(path) in words
    assert f"process {other.pid}, which is stopped (" in words
    assert "hunter2" not in words


def test_nothing_is_said_where_nobody_waits(tmp_path: Path, heard: Heard) -> None:
    for _ in range(3):
        with locked_file(tmp_path / ".lock"):
            pass
    assert not heard.came.wait(0.05)


def test_who_refuses_says_who_is_at_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with held_elsewhere(run / ".lock") as other:
        words = rf"another process is training in .*run, process {other.pid} \("
        with pytest.raises(InputError, match=words), RunFolder(run).locked():
            pass
        assert try_lock(run / ".lock") is None
    with locked(tmp_path):
        words = rf"another build is writing to .*, process {os.getpid()} \("
        with pytest.raises(InputError, match=words), locked(tmp_path):
            pass


def test_a_holder_that_the_system_does_not_tell(tmp_path: Path) -> None:
    assert holder(tmp_path / "none").startswith("another process")


def test_a_chance_of_digits_alone_is_no_process(tmp_path, monkeypatch):
    """A temporary name whose random part has only digits, as one in forty has, is recognised. The digits used to be
    taken for the process number, so that the file was left for an hour."""
    monkeypatch.setattr("shards.files.atomic.secrets.token_hex", lambda _: "84867617")
    with suppress(KeyError), atomic_path(tmp_path / "a.txt") as temporary:
        left = temporary.name
        raise KeyError
    (tmp_path / left).write_bytes(b"")
    assert final_name(left) == "a.txt"
    remove_temporaries(tmp_path, {"a.txt"}.__contains__)
    assert not (tmp_path / left).exists()
