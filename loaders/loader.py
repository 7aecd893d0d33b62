"""The loader: plans batches in order, reads and decodes them in threads ahead of the consumer."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from loaders.augment.windows import paste
from loaders.bad_samples import BadSample, BadSampleLog
from loaders.batch import Batch, BufferPool
from loaders.config import LoaderConfig
from loaders.decode.jobs import DecodeFailure, DecodeJob, Leaf
from loaders.fits import check_fits
from loaders.order.order import EpochOrder, check_partition
from loaders.reading.chunk_reader import Chunk, ChunkReader
from loaders.reading.epoch_order import epoch_order
from loaders.reading.open_shards import OpenShards
from loaders.reading.planning import BatchPlan, JobMaker
from loaders.reading.prefetch import Ahead
from loaders.reading.ranges_or_whole import ranges_to_read
from loaders.stats import LoaderStats
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["Loader", "build_loader"]

MAX_SAMPLES_PER_TASK = 8
"""A thread takes this many samples of a batch at most, so that the threads finish a batch
together."""


def build_loader(
    data: "str | Path | ShardDataset | OpenShards", split: str, config: LoaderConfig, rank: int = 0, world_size: int = 1
) -> "Loader":
    """A loader over ``split`` ("train", "train+valid", …) of the shards in ``data``.

    Of ``OpenShards`` it uses what is open, and leaves it open. Raises ``InputError`` where the data
    set, the split or a setting does not fit.
    """
    opened = data if isinstance(data, OpenShards) else None
    if isinstance(data, OpenShards):
        dataset = data.dataset
    else:
        dataset = data if isinstance(data, ShardDataset) else ShardDataset.open(data)
    check_fits(dataset, split, config)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("loader.device='cuda', but no CUDA device is available; use device='cpu'")
    return Loader(dataset, split, config, rank, world_size, opened)


def _leaf(config: LoaderConfig, device_batch_size: int, stats: LoaderStats) -> Leaf:
    backend = config.backend
    if backend == "auto":
        # Measured on a CPU: libjpeg-turbo in threads beats DALI by 10–25 % (docs/LOG.md).
        backend = "dali" if config.device == "cuda" else "turbo"
    if backend == "dali":
        from loaders.decode.dali import DaliLeaf  # no DALI wheel exists outside Linux

        return DaliLeaf(
            config.device,
            num_crops=config.num_crops,
            crop_size=config.crop_size,
            batch_size=device_batch_size,
            num_threads=config.num_threads,
            stats=stats,
        )
    return _host_leaf(backend)


def _host_leaf(backend: str) -> Leaf:
    """The leaf that decodes in the calling thread, for ``backend``."""
    if backend == "reference":
        from loaders.decode.reference import ReferenceLeaf

        return ReferenceLeaf()
    from loaders.decode.turbo import TurboLeaf

    return TurboLeaf()


def _ready(future: "Future[Batch]") -> Batch:
    """Waits for a batch. What memory was too small for is blamed on no sample: it ends the run."""
    try:
        return future.result()
    except MemoryError as error:
        raise MemoryError(
            "there is not enough memory to read a batch: lower loader.global_batch_size,"
            " loader.num_threads or loader.prefetch_batches, or give the machine more"
        ) from error


class Loader:
    """Iterates over an epoch's batches; see :mod:`loaders.batch` for what a batch holds.

    ``iter()`` starts the epoch afresh unless ``load_state_dict`` came first. One iteration at a
    time. Errors of single samples mask them; errors of the data set raise ``InputError`` in the
    consumer.
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
        self._device_batch_size = check_partition(config.global_batch_size, rank, world_size)
        self._dataset, self._split, self._config = dataset, split, config
        self._rank, self._world_size = rank, world_size
        self._rows = dataset.split_rows(split)
        self._owned = OpenShards(dataset) if opened is None else None
        open_shards = self._owned or opened
        assert open_shards is not None
        self._samples = open_shards.samples
        self._stats = LoaderStats()
        self._bad = BadSampleLog()
        ranges = ranges_to_read(open_shards, self._rows, config)
        self._maker = JobMaker(open_shards, config, self._stats, ranges)
        self._ahead = None if ranges else Ahead.of(open_shards, self._rows, config)
        self._leaf = _leaf(config, self._device_batch_size, self._stats)
        self._reader = ChunkReader(self._maker, self._leaf, _host_leaf(config.backend), config.num_crops, self._stats)
        self._buffers = BufferPool(config.prefetch_batches + 2, pinned=config.device == "cuda")
        self._stream = torch.cuda.Stream() if config.device == "cuda" else None
        self._workers = ThreadPoolExecutor(config.num_threads, thread_name_prefix="loader")
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="loader-finish")
        self._epoch = 0
        self._consumed = 0
        self._resume_at: int | None = None
        self._order: tuple[int, EpochOrder] | None = None
        self._closed = False

    @property
    def num_samples(self) -> int:
        """Samples of the split over all ranks, fillers not counted."""
        return len(self._rows)

    @property
    def dataset(self) -> ShardDataset:
        """The shards that this loader reads."""
        return self._dataset

    def __len__(self) -> int:
        """Batches per epoch, equal on every rank."""
        return len(self._epoch_order(self._epoch))

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next ``iter()`` runs; drops a loaded position of another
        epoch."""
        if epoch != self._epoch:
            self._resume_at, self._consumed = None, 0
        self._epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """The position: batches consumed (not prefetched) and what it is a position in."""
        return {**self._identity(), "epoch": self._epoch, "batches_consumed": self._consumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a position, on any number of ranks; ``InputError`` where it is one of another
        run."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InputError(
                    f"cannot resume the loader: {name} was {state.get(name)!r}, now {value!r}; "
                    "resume with the settings that the run began with"
                )
        batches = len(self._epoch_order(int(state["epoch"])))
        if not 0 <= int(state["batches_consumed"]) <= batches:
            raise InputError(
                f"cannot resume the loader: it has {batches} batches, and is to begin after "
                f"{state['batches_consumed']}: go on from another checkpoint"
            )
        self._epoch = int(state["epoch"])
        self._consumed = self._resume_at = int(state["batches_consumed"])

    def stats(self) -> dict[str, Any]:
        """Counts and times since the loader was built (:class:`loaders.stats.LoaderStats`)."""
        remote = self._dataset.remote
        return {**self._stats.snapshot(), **({"remote": dict(remote.counts)} if remote else {})}

    def bad_samples(self, since: int = 0) -> list[BadSample]:
        """The samples that could not be read, each once, but for the first ``since`` of them.

        Some may belong to batches that are prepared and not consumed yet.
        """
        return self._bad.since(since)

    def close(self) -> None:
        """Ends the threads and lets go of shards and decoder. Batches handed out stay valid."""
        self._closed, self._order = True, None
        self._workers.shutdown(cancel_futures=True)
        self._finisher.shutdown(cancel_futures=True)
        self._leaf.close()
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
            raise RuntimeError("this loader was closed")
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
                    pending.append(self._submit(order, epoch, following))
                with self._stats.timed("wait"):
                    batch = _ready(pending.popleft())
                self._consumed = index + 1
                self._stats.count("batches")
                yield self._hand_over(batch)
        finally:
            for future in pending:
                future.cancel()

    def _submit(self, order: EpochOrder, epoch: int, index: int) -> "Future[Batch]":
        """Queues the work of one batch: reading (and decoding, where the leaf splits) in the
        threads, the rest in the finisher."""
        window_epoch = epoch if self._config.shuffle else 0
        if self._ahead is not None:
            self._ahead.look(order, index)
        plan = self._maker.plan(order.batch(index), window_epoch)
        config = self._config
        views = self._buffers.borrow((len(plan), config.global_size, config.global_size, 3))
        crops = None
        if self._leaf.splits_batches or config.device == "cpu":
            num_slots = len(plan) * config.num_crops
            crops = self._buffers.borrow((num_slots, config.crop_size, config.crop_size, 3))
        step = max(1, min(MAX_SAMPLES_PER_TASK, -(-len(plan) // config.num_threads)))
        places = [range(k, min(k + step, len(plan))) for k in range(0, len(plan), step)]
        chunks = [self._workers.submit(self._reader.read, plan, part, views, crops) for part in places]
        return self._finisher.submit(self._finish, plan, chunks, views, crops)

    def _finish(
        self, plan: BatchPlan, chunks: "list[Future[Chunk]]", views: torch.Tensor, crops: torch.Tensor | None
    ) -> Batch:
        done = [chunk.result() for chunk in chunks]
        jobs = [job for chunk_jobs, _, _ in done for job in chunk_jobs]
        patches = [patch for _, chunk_patches, _ in done for patch in chunk_patches]
        failures = [failure for _, _, chunk_failures in done for failure in chunk_failures]
        if self._stream is None:
            assert crops is not None
            failures += self._decode_rest(jobs, crops)
            paste(patches, crops)
            return self._assemble(plan, failures, views, crops)
        with torch.cuda.stream(self._stream):
            if crops is None:
                shape = (len(plan) * self._config.num_crops, *[self._config.crop_size] * 2, 3)
                crops = torch.empty(shape, dtype=torch.uint8, device="cuda")
            failures += self._decode_rest(jobs, crops)
            paste(patches, crops)
            batch = self._assemble(plan, failures, views, crops)
            self._stream.synchronize()  # of this thread's stream; the training stream runs on
            return batch

    def _decode_rest(self, jobs: list[DecodeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        if not jobs:
            return []
        with self._stats.timed("decode"):
            return self._leaf.decode(jobs, crops)

    def _assemble(
        self, plan: BatchPlan, failures: list[DecodeFailure], views: torch.Tensor, crops: torch.Tensor
    ) -> Batch:
        """Masks what failed and moves everything to the device."""
        is_valid, mask, windows = (plan.slice.is_valid.copy(), plan.mask.copy(), plan.crop_windows.copy())
        num_crops, crop_size = self._config.num_crops, self._config.crop_size
        failed = {failure.sample: failure for failure in reversed(failures)}
        for place, failure in failed.items():
            is_valid[place], mask[place] = False, False
            views[place] = 0
            self._stats.reason("failed", failure.reason)
        self._bad.add(self._bad_sample(plan, failure) for failure in failed.values())
        windows[~mask] = 0
        if not mask.all():
            crops[torch.from_numpy(~mask.ravel()).to(crops.device)] = 0
        self._stats.count("samples", int(plan.slice.is_valid.sum()))
        rows = plan.slice.rows

        def on_device(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(self._config.device, non_blocking=True)

        local = on_device(crops).view(len(plan), num_crops, crop_size, crop_size, 3)
        return Batch(
            global_view=on_device(views).permute(0, 3, 1, 2),
            local_crops=local.permute(0, 1, 4, 2, 3),
            crop_mask=on_device(torch.from_numpy(mask)),
            label=on_device(torch.from_numpy(self._samples.label[rows].astype(np.int64))),
            crop_windows=on_device(torch.from_numpy(windows)),
            sample_key=self._samples.keys(rows),
            content_id=on_device(torch.from_numpy(self._samples.content_id[rows])),
            is_valid=on_device(torch.from_numpy(is_valid)),
        )

    def _bad_sample(self, plan: BatchPlan, failure: DecodeFailure) -> BadSample:
        rows = plan.slice.rows[failure.sample : failure.sample + 1]
        shard = self._samples.shards[self._samples.shard[rows[0]]]
        (key,) = self._samples.keys(rows)
        return BadSample(shard, key, failure.reason, failure.detail, plan.epoch)

    def _hand_over(self, batch: Batch) -> Batch:
        """Tells CUDA's allocator that the consumer's stream uses tensors made on the loader's."""
        if self._stream is not None:
            for value in batch.values():
                if isinstance(value, torch.Tensor):
                    value.record_stream(torch.cuda.current_stream())
        return batch

    def _identity(self) -> dict[str, Any]:
        names: tuple[str, ...] = ("global_batch_size", "seed", "shuffle", "class_balanced")
        if self._config.shuffle == "shard":
            names += ("shuffle_shards", "shuffle_lanes")
        settings = {name: getattr(self._config, name) for name in names}
        return {"version": 1, "split": self._split, "num_samples": len(self._rows), **settings}

    def _epoch_order(self, epoch: int) -> EpochOrder:
        if self._order is None or self._order[0] != epoch:
            self._order = None  # ten million samples take 80 MB: not two epochs' at a time
            order = epoch_order(self._samples, self._rows, self._config, epoch)
            size = self._config.global_batch_size
            self._order = (epoch, EpochOrder(*order, size, self._rank, self._world_size))
        return self._order[1]
