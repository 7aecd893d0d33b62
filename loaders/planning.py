"""From a slice of the order to decode jobs: which windows, read from where, spliced or whole."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from loaders.config import LoaderConfig
from loaders.jobs import DecodeFailure, DecodeJob
from loaders.order import BatchSlice
from loaders.samples import SampleTable
from loaders.sampling import crop_windows, sampling_rule
from loaders.shard_reader import (
    MappedShards,
    UnreadableMember,
    global_view_header,
    read_global_view,
)
from loaders.stats import LoaderStats

__all__ = ["BatchPlan", "JobMaker"]


@dataclass(frozen=True)
class BatchPlan:
    """What a batch will hold, before a byte is read."""

    slice: BatchSlice
    windows: npt.NDArray[np.int32]
    """(B, N, 4) in source pixels."""
    mask: npt.NDArray[np.bool_]
    """(B, N)."""

    def __len__(self) -> int:
        return len(self.slice.rows)


class JobMaker:
    """Plans batches and reads what their jobs need. Safe to use from several threads."""

    def __init__(
        self, samples: SampleTable, shards: MappedShards, config: LoaderConfig, stats: LoaderStats
    ) -> None:
        self._samples, self._shards, self._config, self._stats = samples, shards, config, stats
        self._rule = sampling_rule(config.sampling)
        self._header = global_view_header(config.global_size)

    def plan(self, part: BatchSlice, epoch: int) -> BatchPlan:
        """Draws the windows of a batch."""
        config, samples, rows = self._config, self._samples, part.rows
        shape = (len(rows), config.num_crops)
        windows, mask = np.zeros((*shape, 4), np.int32), np.zeros(shape, np.bool_)
        for appearance in np.unique(part.appearance).tolist():
            chosen = part.appearance == appearance
            windows[chosen], mask[chosen] = crop_windows(
                self._rule, samples.height[rows[chosen]], samples.width[rows[chosen]],
                samples.content_id[rows[chosen]], crop_size=config.crop_size,
                num_crops=config.num_crops, seed=config.seed, epoch=epoch, appearance=appearance,
            )  # fmt: skip
        return BatchPlan(part, windows, mask)

    def read(
        self, plan: BatchPlan, places: range, global_views: torch.Tensor
    ) -> tuple[list[DecodeJob], list[DecodeFailure]]:
        """Reads the samples at ``places`` of the batch: global views into ``global_views``
        (B, S, S, 3), images into decode jobs."""
        jobs: list[DecodeJob] = []
        failures: list[DecodeFailure] = []
        views = global_views.numpy()
        with self._stats.timed("read"):
            for place in places:
                try:
                    jobs.append(self._whole_job(plan, place))
                    self._read_global_view(int(plan.slice.rows[place]), views[place])
                except UnreadableMember as error:
                    failures.append(DecodeFailure(place, "unreadable member", str(error)))
        self._stats.count("full", len(jobs))
        return jobs, failures

    def _read_global_view(self, row: int, out: npt.NDArray[np.uint8]) -> None:
        where = self._samples.global_view
        shard = int(self._samples.shard[row])
        member = self._shards.member(shard, int(where.offset[row]), int(where.length[row]))
        read_global_view(member, self._header, out)
        self._stats.count("bytes_read", member.size)

    def _whole_job(self, plan: BatchPlan, place: int) -> DecodeJob:
        samples, row, num_crops = self._samples, int(plan.slice.rows[place]), self._config.num_crops
        data = self._shards.member(
            int(samples.shard[row]), int(samples.image.offset[row]), int(samples.image.length[row])
        )
        self._stats.count("bytes_read", data.size)
        return DecodeJob(
            data=data, height=int(samples.height[row]), width=int(samples.width[row]),
            windows=plan.windows[place],
            slots=np.arange(place * num_crops, (place + 1) * num_crops), sample=place,
            image_format=samples.formats[samples.format[row]],
            mode=samples.modes[samples.mode[row]],
        )  # fmt: skip
