"""What a thread of the loader does with its share of a batch: reads, changes, decodes."""

import logging
import traceback

import torch

from loaders.augment.windows import Patch, changed_windows
from loaders.decode.jobs import DecodeFailure, DecodeJob, Leaf
from loaders.reading.closing import ShardsClosed
from loaders.reading.planning import BatchPlan, JobMaker
from loaders.stats import LoaderStats
from shards.cli.shown_url import safe_words, without_secrets
from shards.errors import InputError, require_sound_machine

__all__ = ["Chunk", "ChunkReader"]

logger = logging.getLogger(__name__)

Chunk = tuple[list[DecodeJob], list[Patch], list[DecodeFailure]]
"""What a thread made of its samples: jobs left to decode, crops that are done, what failed."""


class ChunkReader:
    """Reads samples of a batch, and decodes them where ``leaf`` splits batches.

    ``host_leaf`` decodes what augmentation changes. Safe for several threads at once.
    """

    def __init__(self, maker: JobMaker, leaf: Leaf, host_leaf: Leaf, num_crops: int, stats: LoaderStats) -> None:
        self._maker, self._leaf, self._host_leaf = maker, leaf, host_leaf
        self._num_crops, self._stats = num_crops, stats
        self._traced = False

    def read(self, plan: BatchPlan, places: range, views: torch.Tensor, crops: torch.Tensor | None) -> Chunk:
        """Reads and decodes; where that fails as nobody foresaw, sample by sample, so that one
        costs no other."""
        try:
            return self._read_and_decode(plan, places, views, crops)
        except (InputError, MemoryError, ShardsClosed):
            raise
        except Exception as error:
            require_sound_machine(error)
            if len(places) == 1:
                detail = safe_words(error)
                # With its trace the first time; others of its kind are counted and named later.
                trace = "" if self._traced else f"\n{without_secrets(traceback.format_exc())}"
                logger.warning("a sample failed in an unforeseen way%s", trace.rstrip())
                self._traced = True
                return [], [], [DecodeFailure(places[0], "unforeseen error", detail)]
        done = [self.read(plan, range(p, p + 1), views, crops) for p in places]
        jobs, patches, failures = ([x for part in done for x in part[k]] for k in range(3))
        return jobs, patches, failures  # type: ignore[return-value]

    def _read_and_decode(
        self, plan: BatchPlan, places: range, views: torch.Tensor, crops: torch.Tensor | None
    ) -> Chunk:
        jobs, failures = self._maker.read(plan, places, views)
        patches: list[Patch] = []
        if plan.changed:
            patches, failed = self._change(plan, places, jobs, views)
            failures = failures + failed
            jobs = [job for job in jobs if job.sample not in plan.changed]
        if not self._leaf.splits_batches:
            return jobs, patches, failures
        assert crops is not None
        with self._stats.timed("decode"):
            return [], patches, failures + self._leaf.decode(jobs, crops)

    def _change(
        self, plan: BatchPlan, places: range, jobs: list[DecodeJob], views: torch.Tensor
    ) -> tuple[list[Patch], list[DecodeFailure]]:
        """The crops of changed samples; their global views are changed in place."""
        with self._stats.timed("augment"):
            pixels = views.numpy()
            for place in places:
                if place in plan.changed:
                    pixels[place] = plan.changed[place].change.on_view(pixels[place])
                    self._stats.count("augmented")
            mine = [job for job in jobs if job.sample in plan.changed]
            return changed_windows(mine, plan.changed, self._host_leaf, self._num_crops)
