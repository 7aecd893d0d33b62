"""A simulated CUDA device that needs no GPU: memory, streams and the order of their work.

Kernels run immediately, on the CPU, while the simulation tracks the order that a GPU would guarantee. Three kinds of
access raise ``Misuse``: one that is not ordered after the last write, a write that is not ordered after the last
accesses, and any use of freed memory. Freed memory is overwritten and reused, as by CUDA's caching allocator. If memory
is freed while another stream may still use it, this is recorded in ``misuses``, because a finalizer cannot raise.
"""

import sys
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

__all__ = ["FakeGpu", "FakeStream", "Memory", "Misuse"]

POISON = 0xDD
CUDA = torch.device("cuda", 0)
ON_THE_HOST = {"cpu", "item", "tolist", "__bool__", "__int__", "__float__"}


class Misuse(AssertionError):
    """An access that a GPU would not have ordered, or an access to freed memory."""


class FakeStream:
    """A queue of work items, numbered from 1. All items up to ``done`` are known to have ended. ``seen`` maps each
    other stream to the number of the last item there that must end before the next item here begins."""

    def __init__(self, gpu: "FakeGpu", name: str) -> None:
        self.gpu, self.name = gpu, name
        self.ticks = self.done = 0
        self.seen: dict[FakeStream, int] = {}

    def submit(self) -> tuple["FakeStream", int]:
        """Adds a work item. Returns this stream and the item's number."""
        self.ticks += 1
        return self, self.ticks

    def synchronize(self) -> None:
        """Waits for all work, unless the name of the calling function is in the device's ``left_out``."""
        caller = sys._getframe(1).f_code.co_name
        if caller not in self.gpu.left_out:
            self.finish()

    def finish(self) -> None:
        """Marks all work of this stream, and the work of other streams that it waited for, as ended."""
        self.done = self.ticks
        for other, ticks in self.seen.items():
            other.done = max(other.done, ticks)

    def wait_stream(self, other: "FakeStream") -> None:
        """Makes all later work wait for everything that ``other`` has been given so far."""
        for stream, ticks in [*other.seen.items(), (other, other.ticks)]:
            self.seen[stream] = max(self.seen.get(stream, 0), ticks)

    def comes_after(self, work: "tuple[FakeStream, int]") -> bool:
        """Whether the next piece of work here is guaranteed to run after ``work``."""
        stream, tick = work
        return stream is self or tick <= stream.done or tick <= self.seen.get(stream, 0)


@dataclass(eq=False)
class Memory:
    """A block of the device's memory. ``home`` is the stream on which it was allocated."""

    block: np.ndarray
    home: FakeStream
    writer: tuple[FakeStream, int] | None = None
    readers: list[tuple[FakeStream, int]] = field(default_factory=list)
    recorded: set[FakeStream] = field(default_factory=set)
    released: str = ""

    def pending(self) -> list[tuple[FakeStream, int]]:
        """Returns the work that uses this memory and may not have ended."""
        work = [*self.readers, *([self.writer] if self.writer else [])]
        return [(stream, tick) for stream, tick in work if tick > stream.done]


class FakeGpu:
    """The device's streams and memory. ``left_out`` names functions whose calls of ``synchronize`` do nothing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.left_out: set[str] = set()
        self.misuses: list[str] = []
        self.default = FakeStream(self, "the consumer's stream")
        self._current = threading.local()
        self._by_address: dict[int, Memory] = {}
        self._free: defaultdict[tuple[FakeStream, int], list[Memory]] = defaultdict(list)
        self._pinned: list[Memory] = []
        self.reused = 0

    def misuse(self, words: str) -> Misuse:
        """Records a misuse and returns the error, which the caller raises where that is possible."""
        self.misuses.append(words)
        return Misuse(words)

    # Streams

    def current(self) -> FakeStream:
        return getattr(self._current, "stream", self.default)

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self._current.stream = self.current(), stream
        try:
            yield
        finally:
            self._current.stream = before

    # Memory

    def lend(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, Memory]:
        """Allocates a tensor with arbitrary contents. Reuses suitable memory that was freed on the current stream, if
        there is any. Returns the tensor and its memory."""
        stream = self.current()
        num_bytes = max(1, int(np.prod(shape)) * dtype.itemsize)
        with self.lock:
            free = self._free[stream, num_bytes]
            usable = [m for m in free if all(map(stream.comes_after, m.pending()))]
            if usable:
                memory = usable[-1]
                free.remove(memory)
                memory.released, memory.recorded = "", set()
                self.reused += 1
            else:
                memory = Memory(np.full(num_bytes, POISON, np.uint8), stream)
            lent = memory.block[:]
            self._by_address[lent.ctypes.data] = memory
        weakref.finalize(lent, self._give_back, memory).atexit = False
        with torch._C.DisableTorchFunction():
            tensor = torch.from_numpy(lent)[: int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
        return tensor, memory

    def _give_back(self, memory: Memory) -> None:
        with self.lock:
            for work in memory.pending():
                if not memory.home.comes_after(work) and work[0] not in memory.recorded:
                    self.misuse(f"memory of {memory.home.name} was freed while {work[0].name} may use it")
            memory.block[:] = POISON
            memory.released = "memory that was freed"
            self._free[memory.home, memory.block.size].append(memory)

    def adopt(self, memory: Memory) -> None:
        """Registers memory that a library allocated itself, so that accesses to it are checked."""
        with self.lock:
            self._by_address[memory.block.ctypes.data] = memory

    def take_back(self, memory: Memory, words: str) -> None:
        """Marks memory as reclaimed by the library that owns it. If it is still in use, records a misuse."""
        with self.lock:
            for stream, _ in memory.pending():
                self.misuse(f"{words} while {stream.name} may use it")
            memory.released = words
            memory.block[:] = POISON

    def record_stream(self, tensor: torch.Tensor, stream: FakeStream) -> None:
        """Replaces ``torch.Tensor.record_stream``: records that ``stream``, too, uses the tensor's memory."""
        memory = self.memory_of(tensor)
        assert memory is not None
        memory.recorded.add(stream)

    def memory_of(self, value: Any) -> Memory | None:
        """Returns the memory of a tensor on this device, and ``None`` for anything else."""
        if not isinstance(value, torch.Tensor):
            return None
        return self._by_address.get(value.untyped_storage().data_ptr())

    def read(self, memory: Memory, stream: FakeStream | None = None) -> None:
        """Adds work that reads ``memory`` to a stream. Raises ``Misuse`` if it is not ordered after the last write."""
        stream = stream or self.current()
        self._usable(memory)
        if memory.writer and not stream.comes_after(memory.writer):
            raise self.misuse(f"{stream.name} reads what {memory.writer[0].name} may not have written yet")
        memory.readers.append(stream.submit())

    def write(self, memory: Memory, stream: FakeStream | None = None) -> None:
        """Adds work that writes ``memory`` to a stream. Raises ``Misuse`` if it is not ordered after all earlier
        accesses."""
        stream = stream or self.current()
        self._usable(memory)
        for work in memory.pending():
            if not stream.comes_after(work):
                raise self.misuse(f"{stream.name} writes what {work[0].name} may still use")
        memory.writer, memory.readers = stream.submit(), []

    def _usable(self, memory: Memory) -> None:
        if memory.released:
            raise self.misuse(f"use of {memory.released}")

    def upload(self, host: torch.Tensor, stream: FakeStream | None = None) -> torch.Tensor:
        """Returns a copy of ``host`` on the device, written by ``stream``."""
        on_device, memory = self.lend(tuple(host.shape), host.dtype)
        self.write(memory, stream)
        with torch._C.DisableTorchFunction():
            on_device.copy_(host)
        return on_device

    # Host memory that the device reads by itself

    def pin(self, host: torch.Tensor) -> torch.Tensor:
        array = host.numpy()
        self._pinned.append(Memory(array.reshape(-1).view(np.uint8), self.default))
        return host

    def pinned(self, host: torch.Tensor) -> Memory | None:
        """Returns the block of pinned memory that contains ``host``, or ``None`` if it is not pinned."""
        address = host.data_ptr()
        for memory in self._pinned:
            if 0 <= address - memory.block.ctypes.data < max(1, memory.block.size):
                return memory
        return None

    def check_lent_buffer(self, host: torch.Tensor) -> None:
        """Raises ``Misuse`` if a copy out of the buffer ``host`` may still be in progress. Called before the buffer is
        overwritten."""
        memory = self.pinned(host)
        if memory and memory.pending():
            raise self.misuse("a pinned buffer is lent again while a copy out of it may be under way")


class FakeCuda(TorchFunctionMode):
    """A context manager that keeps tensors on ``cuda`` in the memory of a :class:`FakeGpu`. Every thread must enter its
    own."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        with self.gpu.lock:
            return self._call(function, function.__name__, args, kwargs)

    def _call(self, function, name, args, kwargs):
        gpu = self.gpu
        first = args[0] if args else None
        memory = gpu.memory_of(first)
        if name == "__get__":
            if memory and function == torch.Tensor.device.__get__:
                return CUDA
            return function(*args, **kwargs)
        if name == "to" and (target := _device(args[1:], kwargs)) is not None:
            return self._move(first, memory, target, kwargs.get("non_blocking", False))
        if name in ("cuda", "cpu"):
            return self._move(first, memory, torch.device(name), kwargs.get("non_blocking", False))
        if not isinstance(first, torch.Tensor):
            return self._make(function, args, kwargs)
        if name == "numpy" and memory:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name in ON_THE_HOST and memory:
            return function(self._move(first, memory, torch.device("cpu"), False))
        return self._compute(function, name, args, kwargs)

    def _make(self, function, args, kwargs):
        """Calls a function that creates a tensor. If the tensor belongs on ``cuda``, it is allocated from the simulated
        device's memory."""
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            made = function(*args, **(kwargs | {"device": "cpu"}))
            if function is torch.empty:
                return self.gpu.lend(tuple(made.shape), made.dtype)[0]
            return self._move(made, None, CUDA, False)
        if kwargs.pop("pin_memory", False):
            return self.gpu.pin(function(*args, **kwargs))
        return self._compute(function, function.__name__, args, kwargs)

    def _move(self, tensor, memory, target, non_blocking):
        gpu = self.gpu
        stream = gpu.current()
        if (memory is not None) == (target.type == "cuda"):
            return tensor
        if memory is not None:
            gpu.read(memory)
            stream.finish()
            return tensor.clone()
        moved = gpu.upload(tensor)
        if not non_blocking:
            stream.finish()
        elif (block := gpu.pinned(tensor)) is not None:
            block.readers.append(stream.submit())
        return moved

    def _compute(self, function, name, args, kwargs):
        """Calls a function and records its accesses. Views access no memory. Other functions read their tensors, and
        write either the first one, if they work in place, or a new one."""
        gpu = self.gpu
        tensors = [value for value in _flat([args, list(kwargs.values())]) if isinstance(value, torch.Tensor)]
        memories = [m for m in map(gpu.memory_of, tensors) if m]
        if not memories:
            return function(*args, **kwargs)
        in_place = name == "__setitem__" or (name.endswith("_") and not name.startswith("__"))
        if not in_place:
            result = function(*args, **kwargs)
            if not isinstance(result, torch.Tensor):
                return result  # sizes, strides
            if gpu.memory_of(result) is not None:
                return result
        if name not in ("__setitem__", "__getitem__", "copy_") and any(
            t.dim() and gpu.memory_of(t) is None for t in tensors
        ):
            raise gpu.misuse(f"{name}: tensors of the host and of the device")
        written = gpu.memory_of(args[0]) if in_place else None
        for memory in memories:
            if memory is not written:
                gpu.read(memory)
        if not in_place:
            return gpu.upload(result)
        if written:
            gpu.write(written)
        return function(*args, **kwargs)


def _flat(values):
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _device(args, kwargs):
    """Returns the device to which a call of ``Tensor.to`` moves the tensor, or ``None`` if the call names none."""
    for value in [kwargs.get("device"), *args[:1]]:
        if isinstance(value, str | torch.device):
            return torch.device(value)
    return None
