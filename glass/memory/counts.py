"""Measures the memory used by a training or prediction step.

* :class:`LiveStorages` tracks every tensor that an operation returns, until its storage is freed. It covers everything
  that is allocated at the peak, except temporary buffers inside an operation.
* :class:`CudaAllocator` reads how many bytes CUDA's allocator has allocated on a GPU, and their peak.
* :class:`KeptStorages` measures the storages of the tensors that autograd saves for the backward pass.

:class:`glass.memory.process_peak.ProcessPeak` measures the process's resident memory as well.
"""

import itertools
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["CudaAllocator", "KeptStorages", "LiveStorages", "storage_bytes"]


def storage_bytes(tensors: Iterable[torch.Tensor]) -> dict[int, int]:
    """Maps the address of each distinct storage behind ``tensors`` to its size in bytes."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage._cdata: storage.nbytes() for storage in storages}


class LiveStorages(TorchDispatchMode):
    """Dispatch mode: records which storages are live now, and which were live when their total size was greatest."""

    def __init__(self, known: Iterable[torch.Tensor], weights: Iterable[torch.Tensor] = ()) -> None:
        """``known`` are tensors that already exist. The gradients of ``weights`` are also reported separately
        (``gradient_bytes``)."""
        super().__init__()
        shapes = [tuple(weight.shape) for weight in weights]
        self._gradient_shapes = {*shapes, *(shape[::-1] for shape in shapes)}
        self.gradients: set[int] = set()
        """Serial numbers of storages that were created in the backward pass and have the shape of a weight. They
        include each chunk's gradients before these are summed."""
        self.bytes = 0
        self.peak_bytes = 0
        self.at_peak: dict[int, int] = {}
        """Maps the serial number of each storage that was live when ``peak_bytes`` was reached to its size in bytes."""
        self._serials = itertools.count()
        # Maps an address to (serial number, bytes). Addresses are reused, serial numbers are not.
        self._live: dict[int, tuple[int, int]] = {}
        for tensor in known:
            self._watch(tensor)
        self._note_peak()

    @property
    def gradient_bytes(self) -> int:
        """Size, in bytes, of the gradients that were live when ``peak_bytes`` was reached."""
        return sum(size for serial, size in self.at_peak.items() if serial in self.gradients)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._watch(leaf)
        self._note_peak()
        return result

    def _watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._live:
            return
        serial = next(self._serials)
        self._live[storage._cdata] = serial, storage.nbytes()
        in_backward = torch._C._current_graph_task_id() != -1
        if in_backward and tuple(tensor.shape) in self._gradient_shapes:
            self.gradients.add(serial)
        self.bytes += storage.nbytes()
        # Called when the storage itself is freed, not when Python drops its last reference to it.
        weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, address: int) -> None:
        self.bytes -= self._live.pop(address)[1]

    def _note_peak(self) -> None:
        if self.bytes > self.peak_bytes:
            self.peak_bytes = self.bytes
            self.at_peak = dict(self._live.values())


class CudaAllocator:
    """Context manager: measures how many bytes CUDA's allocator has allocated, and their peak.

    Entering and leaving it synchronises with the GPU.
    """

    gradient_bytes = 0
    """Always 0: the allocator cannot distinguish gradients from activations."""

    def __enter__(self) -> Self:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        torch.cuda.synchronize()
        self.peak_bytes = torch.cuda.max_memory_allocated()

    @property
    def bytes(self) -> int:
        """Number of bytes that are allocated right now."""
        return torch.cuda.memory_allocated()


class KeptStorages:
    """Records the storages of the tensors that autograd saves for the backward pass, with their sizes in bytes."""

    def __init__(self) -> None:
        self.bytes_by_storage: dict[int, int] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context manager: records the tensors that autograd saves.

        Modules under activation checkpointing install their own hooks, so the tensors inside them are not recorded. The
        total is still correct, because checkpointing does not keep these tensors.
        """

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            self.bytes_by_storage.update(storage_bytes([tensor]))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield

    def bytes_beside(self, others: Iterable[int]) -> int:
        """Bytes of all saved storages except those whose addresses are in ``others``."""
        left_out = set(others)
        return sum(size for key, size in self.bytes_by_storage.items() if key not in left_out)
