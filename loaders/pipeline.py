"""Makes batches: the consumer's thread plans them, and worker threads read and decode them ahead of the consumer."""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from loaders.assembly import BatchAssembler
from loaders.augment.windows import paste
from loaders.bad_samples import BadSampleLog
from loaders.batch import Batch, BufferPool
from loaders.config import LoaderConfig
from loaders.decode.choose import choose_decoder, choose_host_decoder
from loaders.decode.jobs import DecodeFailure, Job
from loaders.order.order import EpochOrder
from loaders.reading.batch_plan import BatchPlan
from loaders.reading.chunk_reader import Chunk, ChunkReader
from loaders.reading.open_shards import OpenShards
from loaders.reading.plan import Planner
from loaders.reading.prefetch import Prefetch
from loaders.reading.ranges_or_whole import choose_members
from loaders.reading.read import SampleReader
from loaders.stats import LoaderStats
from shards.allocation import keep_freed_memory

__all__ = ["BatchPipeline"]

MAX_SAMPLES_PER_TASK = 8
"""Maximum number of samples per worker-thread task. Small tasks keep all threads busy until the batch is done."""


class BatchPipeline:
    """Produces batches on request. Belongs to one consumer."""

    def __init__(
        self,
        data: OpenShards,
        rows: npt.NDArray[np.int64],
        config: LoaderConfig,
        device_batch_size: int,
        stats: LoaderStats,
        bad: BadSampleLog,
    ) -> None:
        """Prepares to read the manifest rows ``rows`` from ``data``. Closing the pipeline does not close ``data``."""
        keep_freed_memory()
        self._config, self._stats = config, stats
        self._source = choose_members(data, rows, config)
        self._prefetch = Prefetch(self._source.caches, data.samples, rows, config)
        self._planner = Planner(data.samples, data.whole(verify=config.verify == "first-touch"), config, stats)
        self._decoder = choose_decoder(config, device_batch_size, stats)
        reader = SampleReader(data.samples, config, data.splicer, stats)
        host_decoder = choose_host_decoder(config.backend)
        self._reader = ChunkReader(reader, self._decoder, host_decoder, config.num_crops, stats)
        self._assembler = BatchAssembler(data.samples, config, stats, bad)
        self._buffers = BufferPool(config.prefetch_batches + 2, pinned=config.device == "cuda")
        self._stream = torch.cuda.Stream() if config.device == "cuda" else None
        self._workers = ThreadPoolExecutor(config.num_threads, thread_name_prefix="loader")
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="loader-finish")

    def begin(self, order: EpochOrder, epoch: int, index: int) -> "Future[Batch]":
        """Queues batch ``index``: worker threads read it (and decode it, if the decoder splits batches), and the
        finisher thread does the rest. Returns a future for the batch."""
        config = self._config
        self._prefetch.announce(order, index)
        plan = self._planner.plan(order.batch(index), epoch if config.shuffle else 0)
        members = self._source.begin(plan.reads)
        views = self._buffers.borrow((len(plan), config.global_size, config.global_size, 3))
        crops = None
        if self._decoder.splits_batches or config.device == "cpu":
            crops = self._buffers.borrow((plan.mask.size, config.crop_size, config.crop_size, 3))
        step = max(1, min(MAX_SAMPLES_PER_TASK, -(-len(plan) // config.num_threads)))
        places = [range(k, min(k + step, len(plan))) for k in range(0, len(plan), step)]
        chunks = [self._workers.submit(self._reader.read, plan, members, part, views, crops) for part in places]
        return self._finisher.submit(self._finish, plan, chunks, views, crops)

    def hand_over(self, batch: Batch) -> Batch:
        """Returns ``batch``, after telling CUDA's allocator that the consumer's stream uses tensors made on another
        stream."""
        if self._stream is not None:
            for value in batch.values():
                if isinstance(value, torch.Tensor):
                    value.record_stream(torch.cuda.current_stream())
        return batch

    def close(self) -> None:
        """Stops the threads and closes the decoder. Batches that were already returned remain valid."""
        self._workers.shutdown(cancel_futures=True)
        self._finisher.shutdown(cancel_futures=True)
        self._decoder.close()

    def _finish(
        self, plan: BatchPlan, chunks: "list[Future[Chunk]]", views: torch.Tensor, crops: torch.Tensor | None
    ) -> Batch:
        done = [chunk.result() for chunk in chunks]
        if self._stream is None:
            assert crops is not None
            return self._batch(plan, done, views, crops)
        with torch.cuda.stream(self._stream):
            if crops is None:
                shape = (plan.mask.size, *[self._config.crop_size] * 2, 3)
                crops = torch.empty(shape, dtype=torch.uint8, device="cuda")
            batch = self._batch(plan, done, views, crops)
            self._stream.synchronize()  # waits for the loader's stream only; the training stream runs on
            return batch

    def _batch(self, plan: BatchPlan, chunks: list[Chunk], views: torch.Tensor, crops: torch.Tensor) -> Batch:
        """Decodes the remaining jobs, pastes changed crops and assembles the batch."""
        failures = [failure for _, _, chunk_failures in chunks for failure in chunk_failures]
        failures += self._decode([job for jobs, _, _ in chunks for job in jobs], crops)
        paste([patch for _, patches, _ in chunks for patch in patches], crops)
        return self._assembler.assemble(plan, failures, views, crops)

    def _decode(self, jobs: list[Job], crops: torch.Tensor) -> list[DecodeFailure]:
        if not jobs:
            return []
        with self._stats.timed("decode"):
            return self._decoder.decode(jobs, crops)
