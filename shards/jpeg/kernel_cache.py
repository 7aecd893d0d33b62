"""Caches compiled kernels on disk. A cache key depends on all source code that is compiled into the kernel.

Numba caches compiled code beside the sources or in the user's cache folder. If it can write to neither, for example in
a container with ``--user`` or with a read-only home folder, it raises an error. In that case, this module uses a
temporary folder or, if that is not possible either, no cache. In both cases it logs one warning.

Numba also considers cached code valid as long as the kernel's own file is unchanged. Changes in other files, which may
hold functions or constants that the kernel uses, go unnoticed. The cache key therefore includes the kernel's
:func:`source_digest`.
"""

import hashlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import config, njit
from numba.core.caching import FunctionCache, NullCache
from numba.core.compiler_lock import global_compiler_lock

from shards.errors import InputError
from shards.files.locks import locked_file

__all__ = ["cached", "reached", "source_digest"]

logger = logging.getLogger(__name__)

_FOREIGN = frozenset({"numba", "numpy", "llvmlite", "builtins", "typing"})
"""Packages whose code is left out of digests, because Numba checks their versions or does not compile them into
kernels."""

_DECORATORS = {__file__, str(Path(__file__).with_name("numba_support.py"))}
"""Files that define the kernel decorators. The compile options in them affect every kernel."""

_PATIENCE_S = 300.0
"""Seconds to wait for a lock before a warning. The wait is long because the process that holds the lock is usually a
worker of the same build, and compiles for up to a minute on a busy machine."""

_NONE = "GLASS_KERNELS_ARE_NOT_KEPT"
"""Name of the environment variable that tells processes started by this one to use no cache and not to repeat the
warning."""


def cached(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator like ``numba.njit(nogil=True, cache=True)`` that also works where nothing can be cached.

    ``options`` are passed to ``numba.njit``. If several processes need a kernel at once, one compiles it and the others
    wait. Raises ``InputError`` if the environment variable ``NUMBA_DISABLE_JIT`` is set.
    """
    if function is None:
        return partial(cached, **options)
    if config.DISABLE_JIT:  # kernels use instructions that Python does not have
        raise InputError("NUMBA_DISABLE_JIT is set, but JPEGs are read by compiled code alone: unset it")
    kernel = njit(nogil=True, **options)(function)
    kernel._cache = _cache_of(function)
    if not isinstance(kernel._cache, NullCache):
        kernel.compile = partial(_compile_or_wait, kernel._cache, kernel.compile)
    return kernel


def _compile_or_wait(cache: "_Cache", compile_or_load: Callable[[Any], Any], signature: Any) -> Any:
    """Compiles a kernel, or waits for another process, such as a worker of the same build, that is compiling it.

    Numba's own lock, which all kernels and threads share, is taken first, so that the two locks cannot deadlock.
    """
    with global_compiler_lock, ExitStack() as held:
        with suppress(OSError):  # on file systems without locks, each process compiles
            held.enter_context(locked_file(cache.lock_path, _PATIENCE_S))
        return compile_or_load(signature)


def _cache_of(function: Callable[..., Any]) -> Any:
    if _NONE in os.environ:
        return NullCache()
    try:
        return _Cache(function)
    except RuntimeError:  # Numba finds no folder that it may write to
        pass
    folder = _temporary_folder()
    if folder is not None:
        os.environ["NUMBA_CACHE_DIR"] = config.CACHE_DIR = folder
        try:
            cache = _Cache(function)
        except RuntimeError:
            pass
        else:
            logger.warning(
                "compiled code is kept in %s, because neither the project's folder nor this user's cache folder can "
                "be written to",
                folder,
            )
            return cache
    os.environ[_NONE] = "1"
    logger.warning(
        "compiled code cannot be kept, because none of the project's folder, this user's cache folder and the "
        "temporary folder can be written to: every process compiles it again, which takes up to a minute; set "
        "NUMBA_CACHE_DIR to a folder of yours"
    )
    return NullCache()


def _temporary_folder() -> str | None:
    """Returns a folder for cached code, or ``None`` if there is none that only this user can access.

    Cached code is executed, so other users must not be able to write it.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"glass-kernels-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return str(folder) if own and not found.st_mode & 0o077 else None


class _Cache(FunctionCache):
    """Numba's cache, made tolerant of faults: recompiles entries that it cannot read, and ignores failed writes."""

    _said = False

    @property
    def lock_path(self) -> Path:
        """Path of the file that a process locks while it loads or compiles the kernel."""
        return Path(self.cache_path) / f"{self._impl.filename_base}.lock"

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # Taken now and not at the first call, because the files may be edited in between.
        self._digest = source_digest(function)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), self._digest)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except MemoryError:
            raise
        except Exception as error:  # unpickling a damaged file may raise anything
            self._say(error)
            try:
                self.flush()
            except OSError:
                self.disable()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:  # such as a full or removed disk
            self._say(error)

    def _say(self, error: Exception) -> None:
        if not _Cache._said:
            _Cache._said = True
            logger.warning("compiled code cannot be kept in %s (%s), so it is compiled again", self.cache_path, error)


def source_digest(function: Callable[..., Any]) -> str:
    """Returns the SHA-256 of the code that is compiled into the kernel ``function``.

    This covers the source files of the decorators and of all functions that the kernel calls, and the constants that
    the kernel and these functions use. Functions and constants must be defined before the kernel, and named as globals,
    as ``module.name`` or in a closure. The digest also covers whether bounds checks are enabled.
    """
    files, constants = reached(function)
    files |= _DECORATORS
    digest = hashlib.sha256(f"boundscheck={config.BOUNDSCHECK}".encode())
    for name in sorted(files):
        digest.update(Path(name).read_bytes())
    for name in sorted(constants):
        digest.update(f"{name}={constants[name]}\n".encode())
    return digest.hexdigest()


def reached(function: Callable[..., Any]) -> tuple[set[str], dict[str, str]]:
    """Finds the source files and constants that ``function`` depends on. Returns (files, constants).

    The files are those of ``function`` and of all project functions that it calls, directly or indirectly. The
    constants are those that these functions use, as a dict that maps ``MODULE:NAME`` to the value as text.
    """
    files: set[str] = set()
    constants: dict[str, str] = {}
    waiting: list[FunctionType | None] = [_plain_function(function)]
    seen: set[FunctionType] = set()
    while waiting:
        plain = waiting.pop()
        if plain is None or plain in seen or plain.__module__.split(".")[0] in _FOREIGN:
            continue
        seen.add(plain)
        files.add(plain.__code__.co_filename)
        for name, value in _named(plain):
            if _is_constant(value):
                constants[f"{plain.__module__}:{name}"] = _text(value)
            elif isinstance(value, type):
                files.update(_file_of(value))
            else:
                waiting.append(_plain_function(value))
    return files, constants


def _plain_function(value: Any) -> FunctionType | None:
    """Returns the Python function behind a kernel or an intrinsic. Returns a Python function unchanged, and ``None``
    for anything else."""
    if isinstance(value, FunctionType):
        return value
    for name in ("py_func", "_defn"):
        plain = getattr(value, name, None)
        if isinstance(plain, FunctionType):
            return plain
    return None


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yields (name, value) for each global or closure variable that ``function``, or a function inside it, uses."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        yield name, cell.cell_contents
    for name in names:
        value = function.__globals__.get(name)
        if not isinstance(value, ModuleType):
            yield name, value
        elif value.__name__.split(".")[0] not in _FOREIGN:
            yield from ((f"{name}.{n}", getattr(value, n)) for n in names if hasattr(value, n))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_constant(entry) for entry in value)
    return isinstance(value, bool | int | float | str | np.generic | np.ndarray)


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes().hex()}"
    return f"{type(value).__name__}({value!r})"


def _file_of(kind: type) -> Iterator[str]:
    """Yields the source file in which ``kind`` is defined if it is a class of this project, such as a named tuple."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file and kind.__module__.split(".")[0] not in _FOREIGN and "site-packages" not in file:
        yield file
