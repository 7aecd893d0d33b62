"""The loader: plans batches in order, and reads and decodes them in threads ahead of the consumer."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from loaders.bad_samples import BadSample, BadSampleLog
from loaders.batch import Batch
from loaders.config import LoaderConfig
from loaders.fits import check_fits
from loaders.order.order import EpochOrder, check_partition, epoch_order
from loaders.pipeline import BatchPipeline
from loaders.reading.open_shards import OpenShards
from loaders.stats import LoaderStats
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["Loader", "build_loader"]


def build_loader(
    data: "str | Path | ShardDataset | OpenShards", split: str, config: LoaderConfig, rank: int = 0, world_size: int = 1
) -> "Loader":
    """Returns a loader over ``split`` ("train", "train+valid", …) of the shards in ``data``.

    If ``data`` is an ``OpenShards``, the loader shares it with others and does not close it. Raises ``InputError`` if
    the data set cannot be opened, or if the split or a setting does not fit the data set.
    """
    opened = data if isinstance(data, OpenShards) else None
    if isinstance(data, OpenShards):
        dataset = data.dataset
    else:
        dataset = data if isinstance(data, ShardDataset) else ShardDataset.open(data)
    check_fits(dataset, split, config)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("loader.device='cuda', but no CUDA device is available: set loader.device=cpu")
    return Loader(dataset, split, config, rank, world_size, opened)


def _ready(future: "Future[Batch]") -> Batch:
    """Waits for a batch and returns it. If memory runs out, raises ``MemoryError`` with advice. This ends the run: a
    lack of memory never masks a sample."""
    try:
        return future.result()
    except MemoryError as error:
        raise MemoryError(
            "there is not enough memory to read a batch: lower loader.global_batch_size, loader.num_threads or "
            "loader.prefetch_batches, or use a machine with more memory"
        ) from error


class Loader:
    """Iterates over an epoch's batches; see :mod:`loaders.batch` for what a batch holds.

    ``iter()`` starts at the beginning of the epoch unless ``load_state_dict`` was called before it. Only one iteration
    may run at a time. An error in a single sample masks that sample; an error in the data set raises ``InputError`` in
    the consumer.
    """

    def __init__(
        self,
        dataset: ShardDataset,
        split: str,
        config: LoaderConfig,
        rank: int,
        world_size: int,
        opened: OpenShards | None = None,
    ) -> None:
        device_batch_size = check_partition(config.global_batch_size, rank, world_size)
        self._dataset, self._split, self._config = dataset, split, config
        self._rank, self._world_size = rank, world_size
        self._rows = dataset.split_rows(split)
        self._owned = OpenShards(dataset) if opened is None else None
        open_shards = self._owned or opened
        assert open_shards is not None
        self._samples = open_shards.samples
        self._stats, self._bad = LoaderStats(), BadSampleLog()
        self._pipeline = BatchPipeline(open_shards, self._rows, config, device_batch_size, self._stats, self._bad)
        self._epoch = 0
        self._consumed = 0
        self._resume_at: int | None = None
        self._order: tuple[int, EpochOrder] | None = None
        self._closed = False

    @property
    def num_samples(self) -> int:
        """Number of samples in the split, across all ranks, excluding fillers."""
        return len(self._rows)

    @property
    def dataset(self) -> ShardDataset:
        """The shards that this loader reads."""
        return self._dataset

    def __len__(self) -> int:
        """Number of batches per epoch, the same on every rank."""
        return len(self._epoch_order(self._epoch))

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch for the next ``iter()``. If ``load_state_dict`` set a position in another epoch, drops that
        position."""
        if epoch != self._epoch:
            self._resume_at, self._consumed = None, 0
        self._epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Returns the loader's position: the epoch, and the number of batches consumed in it. Also returns the split,
        and the settings on which the position depends. Batches that are prefetched but not yet consumed are not
        counted."""
        return {**self._identity(), "epoch": self._epoch, "batches_consumed": self._consumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from the position in ``state``, on any number of ranks. Raises ``InputError`` if the state
        belongs to other data or other settings."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InputError(
                    f"cannot resume the loader: {name} was {state.get(name)!r} and is now {value!r}; resume with the "
                    "settings with which the run began"
                )
        batches = len(self._epoch_order(int(state["epoch"])))
        if not 0 <= int(state["batches_consumed"]) <= batches:
            raise InputError(
                f"cannot resume the loader: the checkpoint is after batch {state['batches_consumed']}, but the epoch "
                f"has {batches} batches: resume from another checkpoint"
            )
        self._epoch = int(state["epoch"])
        self._consumed = self._resume_at = int(state["batches_consumed"])

    def stats(self) -> dict[str, Any]:
        """Counts and times since the loader was built (:class:`loaders.stats.LoaderStats`)."""
        remote = self._dataset.remote
        return {**self._stats.snapshot(), **({"remote": dict(remote.counts)} if remote else {})}

    def bad_samples(self, since: int = 0) -> list[BadSample]:
        """Returns the samples that could not be read, each once, in order of discovery, omitting the first ``since``.

        Some may belong to batches that are prefetched but not yet consumed.
        """
        return self._bad.since(since)

    def close(self) -> None:
        """Stops the threads and closes the shards and the decoder. Batches that were already returned remain valid."""
        self._closed, self._order = True, None
        self._pipeline.close()
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        if self._closed:
            raise RuntimeError("this loader is closed: build a new one")
        start, self._resume_at = self._resume_at or 0, None
        self._consumed = start
        return self._batches(self._epoch_order(self._epoch), self._epoch, start)

    def _batches(self, order: EpochOrder, epoch: int, start: int) -> Iterator[Batch]:
        pending: deque[Future[Batch]] = deque()
        upcoming = iter(range(start, len(order)))
        try:
            for index in range(start, len(order)):
                while len(pending) <= self._config.prefetch_batches:
                    following = next(upcoming, None)
                    if following is None:
                        break
                    pending.append(self._pipeline.begin(order, epoch, following))
                with self._stats.timed("wait"):
                    batch = _ready(pending.popleft())
                self._consumed = index + 1
                self._stats.count("batches")
                yield self._pipeline.hand_over(batch)
        finally:
            for future in pending:
                future.cancel()

    def _identity(self) -> dict[str, Any]:
        names: tuple[str, ...] = ("global_batch_size", "seed", "shuffle", "class_balanced")
        if self._config.shuffle == "shard":
            names += ("shuffle_shards", "shuffle_lanes")
        settings = {name: getattr(self._config, name) for name in names}
        return {"version": 1, "split": self._split, "num_samples": len(self._rows), **settings}

    def _epoch_order(self, epoch: int) -> EpochOrder:
        if self._order is None or self._order[0] != epoch:
            self._order = None  # ten million samples take 80 MB, so never keep two epochs' orders
            order = epoch_order(self._samples, self._rows, self._config, epoch)
            size = self._config.global_batch_size
            self._order = (epoch, EpochOrder(*order, size, self._rank, self._world_size))
        return self._order[1]
