"""Helpers for all compiled kernels: decorators, and functions that read and write memory.

A kernel is a compiled function that Python calls; ``shards.jpeg.kernel_cache`` caches kernels. Memory is passed to
kernels as addresses and lengths. With array arguments, each kernel would be compiled twice: for read-only and for
writable arrays. The caller must keep the memory alive.

Functions called by kernels are decorated with ``compiled`` or ``inlined``. They run without the GIL and without Numba's
reference counting, so they must not allocate memory. Reference counting costs atomic instructions at every call and for
every array attribute, which took a third of a splice's time.
"""

import sys
from functools import partial
from typing import Any

import numpy as np
from numba import config, njit, types
from numba.extending import intrinsic, register_jitable
from numba.np.arrayobj import populate_array

__all__ = [
    "Scalar",
    "address_of",
    "bytes_at",
    "compiled",
    "inlined",
    "int32_at",
    "int64_at",
    "load64",
    "load64_little",
    "load_word",
    "pasted",
    "store64",
    "store_word",
    "uint32_at",
    "uint64_at",
]

compiled = register_jitable(nogil=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorator for functions that kernels call. Do not call them from Python: they would run as plain Python code, in
which intrinsics raise an error.

The options omit the wrappers for calls from Python and C. For a hundred functions, compiling these wrappers took a
sixth of the time before the first splice."""
inlined = register_jitable(nogil=True, _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Like ``compiled``, but LLVM inlines the function into its callers."""
pasted = partial(njit, nogil=True, inline="always")
"""Decorator for compiled functions that return an array. (Functions decorated with ``compiled`` must not return
arrays.) Numba copies a ``pasted`` function into its callers before it infers types."""

Scalar = Any
"""Type of an integer inside a kernel: uint64 for indices and bits, int64 for everything else."""


def _view(element: Any) -> Any:
    """Returns a function, callable from compiled code, that takes an address and a length and returns an array.

    The array is a view of the memory at that address, which is not copied. ``element`` is the type of its elements.
    """

    @intrinsic
    def view(typing_context: Any, address: Any, length: Any) -> Any:
        array_type = types.Array(element, 1, "C")

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(array_type)(context, builder)
            size = context.cast(builder, arguments[1], signature.args[1], types.intp)
            width = context.get_constant(types.intp, element.bitwidth // 8)
            pointer = builder.inttoptr(arguments[0], array.data.type)
            populate_array(array, data=pointer, shape=(size,), strides=(width,), itemsize=width, meminfo=None)
            return array._getvalue()

        return array_type(types.uint64, length), generate

    return view


bytes_at = _view(types.uint8)
uint32_at = _view(types.uint32)
uint64_at = _view(types.uint64)
int32_at = _view(types.int32)
int64_at = _view(types.int64)


@intrinsic
def _load_word(typing_context: Any, data: Any, at: Any) -> Any:
    """Loads eight bytes of the uint8 array ``data``, starting at index ``at``, in the machine's byte order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        word = context.get_value_type(types.uint64)
        return builder.load(builder.bitcast(pointer, word.as_pointer()), align=1)

    return types.uint64(data, types.uint64), generate


@intrinsic
def _store_word(typing_context: Any, data: Any, at: Any, word: Any) -> Any:
    """Stores eight bytes in the uint8 array ``data``, starting at index ``at``, in the machine's byte order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        word = context.get_value_type(types.uint64)
        builder.store(arguments[2], builder.bitcast(pointer, word.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, types.uint64, types.uint64), generate


@intrinsic
def _swap(typing_context: Any, word: Any) -> Any:
    """Returns ``word`` with its bytes in reverse order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), generate


CHECKED = bool(config.BOUNDSCHECK)
LITTLE_ENDIAN = sys.byteorder == "little"
SEVEN = np.uint64(7)


@inlined
def load_word(data: np.ndarray, at: Scalar) -> Scalar:
    """Loads eight bytes of the uint8 array ``data``, starting at index ``at`` (uint64), as a uint64.

    The byte order is the machine's. Implemented as an intrinsic to get a single load instruction: LLVM does not always
    merge eight one-byte loads. With Numba's bounds checks (``NUMBA_BOUNDSCHECK=1``), the first and the last index are
    checked. Without them, the caller must ensure that both are within ``data``.
    """
    if CHECKED:
        data[at]
        data[at + SEVEN]
    return _load_word(data, at)


@inlined
def store_word(data: np.ndarray, at: Scalar, word: Scalar) -> None:
    """Stores the uint64 ``word`` in eight bytes of ``data``, starting at index ``at`` (uint64).

    Byte order and bounds checks are as in ``load_word``.
    """
    if CHECKED:
        data[at]
        data[at + SEVEN]
    _store_word(data, at, word)


@inlined
def load64(data: np.ndarray, at: Scalar) -> Scalar:
    """Loads eight bytes of ``data``, starting at index ``at`` (uint64), as a big-endian integer."""
    word = load_word(data, at)
    return _swap(word) if LITTLE_ENDIAN else word


@inlined
def store64(data: np.ndarray, at: Scalar, word: Scalar) -> None:
    """Stores ``word`` in eight bytes of ``data``, starting at index ``at`` (uint64), as a big-endian integer."""
    store_word(data, at, _swap(word) if LITTLE_ENDIAN else word)


@inlined
def load64_little(data: np.ndarray, at: Scalar) -> Scalar:
    """Loads eight bytes of ``data``, starting at index ``at`` (uint64), as a little-endian integer."""
    word = load_word(data, at)
    return word if LITTLE_ENDIAN else _swap(word)


def address_of(array: np.ndarray) -> int:
    """The memory address of ``array``. Raises ``ValueError`` if the array is not C-contiguous.

    The caller must keep the array alive while the address is in use.
    """
    if not array.flags.c_contiguous:
        raise ValueError(f"need a contiguous array, not strides {array.strides}")
    return int(array.__array_interface__["data"][0])
