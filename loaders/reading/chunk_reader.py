"""Reads, augments and decodes one thread's share of a batch."""

import logging
import traceback

import torch

from loaders.augment.windows import Patch, changed_windows
from loaders.decode.jobs import DecodeFailure, Decoder, Job
from loaders.reading.batch_plan import BatchPlan
from loaders.reading.closing import ShardsClosed
from loaders.reading.members import Members
from loaders.reading.read import SampleReader
from loaders.stats import LoaderStats
from shards.cli.shown_url import safe_words, without_secrets
from shards.errors import InputError, require_sound_machine

__all__ = ["Chunk", "ChunkReader"]

logger = logging.getLogger(__name__)

Chunk = tuple[list[Job], list[Patch], list[DecodeFailure]]
"""What a thread returns for its samples: jobs left to decode, finished crops of augmented samples, and failures."""


class ChunkReader:
    """Reads part of a batch. If ``decoder.splits_batches``, also decodes that part. Otherwise returns jobs, to be
    decoded later.

    ``host_decoder`` decodes the samples that augmentation changes. Safe to use from several threads.
    """

    def __init__(
        self, reader: SampleReader, decoder: Decoder, host_decoder: Decoder, num_crops: int, stats: LoaderStats
    ) -> None:
        self._reader, self._decoder, self._host_decoder = reader, decoder, host_decoder
        self._num_crops, self._stats = num_crops, stats
        self._traced = False

    def read(
        self, plan: BatchPlan, members: Members, places: range, views: torch.Tensor, crops: torch.Tensor | None
    ) -> Chunk:
        """Reads the samples at the batch indices ``places``, and writes their global views into ``views`` (B, S, S, 3).

        If ``decoder.splits_batches``, also decodes the samples, and writes their crops into ``crops`` (B·N, C, C, 3).
        After an unexpected error, the samples are read one by one, so that one bad sample does not make the others
        fail.
        """
        try:
            return self._read_and_decode(plan, members, places, views, crops)
        except (InputError, MemoryError, ShardsClosed):
            raise
        except Exception as error:
            require_sound_machine(error)
            if len(places) == 1:
                detail = safe_words(error)
                # Only the first of these failures is logged with its traceback.
                trace = "" if self._traced else f"\n{without_secrets(traceback.format_exc())}"
                logger.warning("a sample failed with an unexpected error%s", trace.rstrip())
                self._traced = True
                return [], [], [DecodeFailure(places[0], "unforeseen error", detail)]
        done = [self.read(plan, members, range(p, p + 1), views, crops) for p in places]
        jobs, patches, failures = ([x for part in done for x in part[k]] for k in range(3))
        return jobs, patches, failures  # type: ignore[return-value]

    def _read_and_decode(
        self, plan: BatchPlan, members: Members, places: range, views: torch.Tensor, crops: torch.Tensor | None
    ) -> Chunk:
        jobs, failures = self._reader.read(plan, members, places, views)
        patches: list[Patch] = []
        if plan.changed:
            patches, failed = self._change(plan, places, jobs, views)
            failures = failures + failed
            jobs = [job for job in jobs if job.sample not in plan.changed]
        if not self._decoder.splits_batches:
            return jobs, patches, failures
        assert crops is not None
        with self._stats.timed("decode"):
            return [], patches, failures + self._decoder.decode(jobs, crops)

    def _change(
        self, plan: BatchPlan, places: range, jobs: list[Job], views: torch.Tensor
    ) -> tuple[list[Patch], list[DecodeFailure]]:
        """Augments samples: updates their global views in place, and returns their changed crops and the failures."""
        with self._stats.timed("augment"):
            pixels = views.numpy()
            for place in places:
                if place in plan.changed:
                    pixels[place] = plan.changed[place].change.on_view(pixels[place])
                    self._stats.count("augmented")
            mine = [job for job in jobs if job.sample in plan.changed]
            return changed_windows(mine, plan.changed, self._host_decoder, self._num_crops)
