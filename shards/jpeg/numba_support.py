"""What all compiled kernels share: access to memory by address. ``shards.jpeg.kernel_cache`` caches the kernels.

Kernels take memory as addresses and lengths: with arrays, they would be compiled once for read-only and once for
writable ones. Whoever calls a kernel keeps the memory alive. The functions below a kernel are ``compiled``
or ``inlined``: without the GIL, and without Numba's counting of references, which costs atomic
instructions at every call and every array that is an attribute (it was a third of the time of a
splice); so they allocate nothing.
"""

import sys
from functools import partial
from typing import Any

import numpy as np
from numba import config, njit, types
from numba.extending import intrinsic
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

compiled = partial(njit, nogil=True, _nrt=False)
inlined = partial(njit, nogil=True, _nrt=False, forceinline=True)
pasted = partial(njit, nogil=True, inline="always")
"""For functions that return an array, which ``compiled`` ones may not: inlined before typing."""

Scalar = Any
"""An integer inside a kernel: uint64 where it indexes or holds bits, int64 elsewhere."""


def _view(element: Any) -> Any:
    """A compiled function (address, length) → array of ``element`` over the memory there."""

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
    """Eight bytes of the uint8 array ``data`` from ``at`` on, in the machine's order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        word = context.get_value_type(types.uint64)
        return builder.load(builder.bitcast(pointer, word.as_pointer()), align=1)

    return types.uint64(data, types.uint64), generate


@intrinsic
def _store_word(typing_context: Any, data: Any, at: Any, word: Any) -> Any:
    """Writes eight bytes, in the machine's order, to the uint8 array ``data`` from ``at`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        word = context.get_value_type(types.uint64)
        builder.store(arguments[2], builder.bitcast(pointer, word.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, types.uint64, types.uint64), generate


@intrinsic
def _swap(typing_context: Any, word: Any) -> Any:
    """The bytes of ``word`` the other way round."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), generate


CHECKED = bool(config.BOUNDSCHECK)
LITTLE_ENDIAN = sys.byteorder == "little"
SEVEN = np.uint64(7)


@inlined
def load_word(data: np.ndarray, at: Scalar) -> Scalar:
    """The eight bytes of the uint8 array ``data`` from index ``at`` (uint64) on, as a uint64 in the machine's byte
    order.

    LLVM does not always merge eight loads of a byte into one, so this is a single load by construction. With Numba's
    bounds checks (``NUMBA_BOUNDSCHECK=1``) it checks the first and the last index; otherwise the caller must.
    """
    if CHECKED:
        data[at]
        data[at + SEVEN]
    return _load_word(data, at)


@inlined
def store_word(data: np.ndarray, at: Scalar, word: Scalar) -> None:
    """Writes the uint64 ``word`` to the eight bytes of ``data`` from index ``at`` (uint64) on, in the machine's byte
    order; see ``load_word``."""
    if CHECKED:
        data[at]
        data[at + SEVEN]
    _store_word(data, at, word)


@inlined
def load64(data: np.ndarray, at: Scalar) -> Scalar:
    """The eight bytes from ``at`` (uint64) on as a big-endian number."""
    word = load_word(data, at)
    return _swap(word) if LITTLE_ENDIAN else word


@inlined
def store64(data: np.ndarray, at: Scalar, word: Scalar) -> None:
    """Writes ``word`` as a big-endian number to the eight bytes from ``at`` (uint64) on."""
    store_word(data, at, _swap(word) if LITTLE_ENDIAN else word)


@inlined
def load64_little(data: np.ndarray, at: Scalar) -> Scalar:
    """The eight bytes from ``at`` (uint64) on as a little-endian number."""
    word = load_word(data, at)
    return word if LITTLE_ENDIAN else _swap(word)


def address_of(array: np.ndarray) -> int:
    """The memory address of ``array``, which the caller keeps alive while the address is used. Raises ``ValueError``
    if it is not C-contiguous."""
    if not array.flags.c_contiguous:
        raise ValueError(f"need a contiguous array, not strides {array.strides}")
    return int(array.__array_interface__["data"][0])
