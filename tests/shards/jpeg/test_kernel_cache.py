"""Compiled kernels are kept on disk where that is possible, and compiled again after every edit of their code."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numba import int64
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

from shards.errors import InputError
from shards.files.locks import locked_file
from shards.jpeg import kernel_cache
from shards.jpeg.kernel_cache import cached, reached, source_digest

ROOT = Path(__file__).resolve().parents[3]
KERNEL = """
import logging
from shards.jpeg.kernel_cache import cached

@cached
def kernel(x):
    return x + 1

print(kernel(1), type(kernel._cache).__name__, kernel._cache.cache_path, flush=True)
"""


def run(folder: Path, **environment: str) -> tuple[list[str], str]:
    """Runs a module with a kernel from ``folder``, where Numba's own caches cannot be created, not even by root.
    Returns (words of its standard output, its standard error)."""
    folder.mkdir(exist_ok=True)
    (folder / "__pycache__").write_text("a file where a folder should be")
    (folder / "module.py").write_text(KERNEL)
    done = subprocess.run(
        [sys.executable, str(folder / "module.py")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": "/dev/null/none",
            "HOME": "/dev/null/none",
            "TMPDIR": str(folder),
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.slow  # two processes
def test_without_a_cache_of_numba_s_a_temporary_folder_keeps_kernels(tmp_path):
    (value, kind, path), said = run(tmp_path / "a")
    assert (value, kind) == ("2", "_Cache")
    folder = tmp_path / "a" / f"glass-kernels-{os.getuid()}"
    assert Path(path).parent == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert said.count("compiled code is kept in") == len(said.splitlines()) == 1
    assert list(folder.rglob("*.nbi"))


@pytest.mark.slow  # four processes
@pytest.mark.parametrize("made_by", ["others", "a link"])
def test_nor_that_kernels_are_compiled_each_time(tmp_path, made_by):
    """Kept code is executed without a check, so a cache folder that others can write to is not used."""
    folder = tmp_path / "a"
    folder.mkdir()
    taken = folder / f"glass-kernels-{os.getuid()}"
    if made_by == "others":
        taken.mkdir()
        taken.chmod(0o777)
    else:
        (tmp_path / "theirs").mkdir(mode=0o700)
        taken.symlink_to(tmp_path / "theirs")
    (value, kind, path), said = run(folder)
    assert (value, kind, path) == ("2", "NullCache", "None")
    assert said.count("compiled code cannot be kept") == len(said.splitlines()) == 1
    _, said = run_again(folder)
    assert said == ""  # a process that another one started


def run_again(folder: Path) -> tuple[list[str], str]:
    (folder / "__pycache__").unlink()
    return run(folder, GLASS_KERNELS_ARE_NOT_KEPT="1")


@pytest.mark.slow  # a process with Numba; else both would compile, and give the same
def test_of_two_processes_one_compiles(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "shared_kernel.py").write_text(
        "from shards.jpeg.kernel_cache import cached\n@cached\ndef kernel(x):\n    return x + 1\n"
    )
    kernel = importlib.import_module("shared_kernel").kernel
    code = (
        "from shared_kernel import kernel\nprint(flush=True)\nprint(kernel(1), sum(kernel.stats.cache_hits.values()))"
    )
    try:
        with locked_file(kernel._cache.lock_path):  # as of a process that compiles
            command = [sys.executable, "-c", code]
            paths = os.pathsep.join((str(ROOT), str(tmp_path)))
            other = subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
            )
            other.stdout.readline()  # from here on it needs the kernel
            Dispatcher.compile(kernel, (int64,))
        assert other.communicate()[0].split() == ["2", "1"]
    finally:
        sys.modules.pop("shared_kernel")


def test_a_disk_that_is_full_costs_time_and_no_result(monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kernel_cache._Cache, "_said", False)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.load", full)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.flush", full)

    @cached
    def kernel(x: int) -> int:
        return x + 1

    assert kernel(1) == 2
    assert kernel(1.5) == 2.5
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text


# -- the digest ------------------------------------------------------------------------------------


PACKAGES = ("shards", "loaders", "glass", "bench")


def kernels() -> list[tuple[ModuleType, Dispatcher]]:
    """Returns (module, kernel) for every kernel of the project whose compiled code is kept."""
    found = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if "@cached" in path.read_text() and path.stem != "kernel_cache":
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            module = importlib.import_module(name)
            found += [(module, v) for v in vars(module).values() if isinstance(v, Dispatcher)]
    return [
        (module, kernel)
        for module, kernel in found
        if not isinstance(kernel._cache, NullCache) and kernel.py_func.__module__ == module.__name__
    ]


def test_every_kernel_s_key_holds_its_digest():
    """Numba notices edits of the kernel's own file only. The digest covers all code and constants, whatever file they
    are from."""
    found = kernels()
    assert len(found) >= 12
    for module, kernel in found:
        key = kernel._cache._index_key((int64,), kernel.targetctx.codegen())
        assert key[-1] == source_digest(kernel.py_func)
        assert module.__file__ in reached(kernel.py_func)[0]


def test_no_kernel_is_kept_by_numba_alone():
    for path in (path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py")):
        if path.name not in ("kernel_cache.py", Path(__file__).name):
            assert "cache=True" not in path.read_text(), path


def test_a_constant_of_another_module_changes_the_digest(monkeypatch):
    """The digest changes with a constant that another module defines. The position of the entries among the entry
    points was once missing from it."""
    splice_index = importlib.import_module("shards.jpeg.splice.index")
    splice_kernel = importlib.import_module("shards.jpeg.splice.kernel")
    before = source_digest(splice_kernel.splice_windows)
    assert before == source_digest(splice_kernel.splice_windows)
    monkeypatch.setattr(splice_index, "ENTRIES_AT", splice_index.ENTRIES_AT + 1)
    assert source_digest(splice_kernel.splice_windows) != before


def test_a_key_holds_the_digest_of_what_was_imported(monkeypatch):
    """An edit between the import and the first call must not give the code that was imported the key of the edited
    code, under which later processes would load it."""
    splice_index = importlib.import_module("shards.jpeg.splice.index")
    kernel = importlib.import_module("shards.jpeg.splice.kernel").splice_windows
    before = source_digest(kernel.py_func)
    monkeypatch.setattr(splice_index, "ENTRIES_AT", splice_index.ENTRIES_AT + 1)
    assert kernel._cache._index_key((int64,), kernel.targetctx.codegen())[-1] == before
    assert source_digest(kernel.py_func) != before


def test_so_does_an_edit_of_a_function_two_modules_away(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    sources = {
        "far": "from shards.jpeg.numba_support import compiled\nTABLE = (1, 2)\n"
        "@compiled\ndef far(x):\n    return x + TABLE[0]\n",
        "near": "import far\nfrom shards.jpeg.numba_support import compiled\n"
        "@compiled\ndef near(x):\n    return far.far(x)\n",
        "top": "from near import near\ndef kernel(x):\n    return near(x)\n",
    }
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(text)
    try:
        kernel = importlib.import_module("top").kernel
        files, constants = reached(kernel)
        assert {Path(file).stem for file in files} >= {"far", "near", "top"}
        assert constants["far:TABLE"] == "tuple((1, 2))"
        before = source_digest(kernel)
        (tmp_path / "far.py").write_text(sources["far"].replace("x +", "x -"))
        assert source_digest(kernel) != before
    finally:
        for name in sources:
            sys.modules.pop(name, None)


def test_arrays_are_constants_by_their_values():
    table = np.arange(3)

    def make() -> np.ndarray:
        return table

    before = source_digest(make)
    table[1] = 7
    assert source_digest(make) != before


def test_without_compilation_there_are_no_kernels(monkeypatch):
    monkeypatch.setattr(kernel_cache.config, "DISABLE_JIT", 1)
    with pytest.raises(InputError, match=r"NUMBA_DISABLE_JIT is set.*unset it"):
        cached(lambda: 0)
