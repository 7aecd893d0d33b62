"""What all compiled kernels share: bytes at an address, and a cache that notices every edit.

Numba caches a compiled function under the date of its own file only, so an edit in a file that it
imports would go unseen. Kernels are therefore compiled as a whole from one cached entry function,
which holds the digest of all their sources in a closure: closures are part of the cache's key.

    def _compile(digest: str):
        @njit(nogil=True, cache=True)
        def kernel(...):
            _ = digest
            return _work(...)

Kernels take memory as addresses and lengths: a read-only and a writable array would be compiled
anew. Whoever calls a kernel keeps the memory alive. The functions below a kernel are ``compiled``
or ``inlined``: without the GIL, and without Numba's counting of references, which costs atomic
instructions at every call and every array that is an attribute (it was a third of the time of a
splice); so they allocate nothing.
"""

import hashlib
from functools import partial
from pathlib import Path
from types import ModuleType
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
    "pasted",
    "source_digest",
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
            populate_array(
                array, data=pointer, shape=(size,), strides=(width,), itemsize=width, meminfo=None
            )
            return array._getvalue()

        return array_type(types.uint64, length), generate

    return view


bytes_at = _view(types.uint8)
uint32_at = _view(types.uint32)
uint64_at = _view(types.uint64)
int32_at = _view(types.int32)
int64_at = _view(types.int64)


def address_of(array: np.ndarray) -> int:
    """Where the contiguous ``array`` lies; the caller keeps it alive while this is used."""
    if not array.flags.c_contiguous:
        raise ValueError(f"need a contiguous array, not strides {array.strides}")
    return int(array.__array_interface__["data"][0])


def source_digest(*modules: ModuleType) -> str:
    """SHA-256 of the sources of ``modules`` and this one, and of the setting of bounds checks."""
    digest = hashlib.sha256(f"boundscheck={config.BOUNDSCHECK}".encode())
    for name in (__file__, *(module.__file__ for module in modules)):
        digest.update(Path(str(name)).read_bytes())
    return digest.hexdigest()
