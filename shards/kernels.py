"""What all compiled kernels share: bytes at an address, and a cache that notices every edit.

Numba caches a compiled function under the date of its own file only, so an edit in a file that it
imports would go unseen. Kernels are therefore compiled as a whole from one cached entry function,
which holds the digest of all their sources in a closure: closures are part of the cache's key.

    def _compile(digest: str):
        @njit(nogil=True, cache=True)
        def kernel(...):
            _ = digest
            return _work(...)

Kernels take bytes as address and length, because a read-only, a writable and a strided array would
each be compiled anew.
"""

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import carray, config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["Scalar", "address_of", "bytes_at", "source_digest"]

Scalar = Any
"""An integer inside a kernel: uint64 where it indexes or holds bits, int64 elsewhere."""


@intrinsic
def _byte_pointer(typing_context: Any, address: Any) -> Any:
    """The integer ``address`` as a pointer to bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.CPointer(types.uint8)(types.uint64), generate


@njit(nogil=True)
def bytes_at(address: Scalar, length: Scalar) -> Any:
    """The ``length`` bytes at ``address`` as a uint8 array, in compiled code."""
    return carray(_byte_pointer(address), (length,), np.uint8)


def address_of(array: np.ndarray) -> int:
    """Where the contiguous uint8 ``array`` lies; the caller keeps it alive while this is used."""
    if array.dtype != np.uint8 or array.ndim != 1 or not array.flags.c_contiguous:
        raise TypeError(f"need contiguous bytes, not {array.dtype} of shape {array.shape}")
    return int(array.__array_interface__["data"][0])


def source_digest(*modules: ModuleType) -> str:
    """SHA-256 of the sources of ``modules`` and this one, and of the setting of bounds checks."""
    digest = hashlib.sha256(f"boundscheck={config.BOUNDSCHECK}".encode())
    for name in (__file__, *(module.__file__ for module in modules)):
        digest.update(Path(str(name)).read_bytes())
    return digest.hexdigest()
