"""The last step in building a batch: masks and records failed samples, and moves everything to the device."""

import torch

from loaders.bad_samples import BadSample, BadSampleLog
from loaders.batch import Batch, make_batch
from loaders.config import LoaderConfig
from loaders.decode.jobs import DecodeFailure
from loaders.reading.batch_plan import BatchPlan
from loaders.reading.sample_table import SampleTable
from loaders.stats import LoaderStats

__all__ = ["BatchAssembler"]


class BatchAssembler:
    """Assembles batches from decoded views and crops. Safe to use from several threads."""

    def __init__(self, samples: SampleTable, config: LoaderConfig, stats: LoaderStats, bad: BadSampleLog) -> None:
        """Failures are counted in ``stats`` and recorded in ``bad``."""
        self._samples, self._config = samples, config
        self._stats, self._bad = stats, bad

    def assemble(
        self, plan: BatchPlan, failures: list[DecodeFailure], views: torch.Tensor, crops: torch.Tensor
    ) -> Batch:
        """Builds the batch from ``views`` (B, S, S, 3) in host memory and ``crops`` (B·N, C, C, 3), both uint8.

        The views and crops of failed samples, and all unused slots of ``crops``, are set to zero in place. If a sample
        failed several times, only its first failure is recorded.
        """
        is_valid, mask, windows = plan.slice.is_valid.copy(), plan.mask.copy(), plan.crop_windows.copy()
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
        rows, crop_size = plan.slice.rows, self._config.crop_size
        return make_batch(
            self._config.device,
            views=views,
            crops=crops.view(*mask.shape, crop_size, crop_size, 3),
            mask=mask,
            windows=windows,
            label=self._samples.label[rows],
            content_id=self._samples.content_id[rows],
            is_valid=is_valid,
            sample_key=self._samples.keys(rows),
        )

    def _bad_sample(self, plan: BatchPlan, failure: DecodeFailure) -> BadSample:
        rows = plan.slice.rows[failure.sample : failure.sample + 1]
        shard = self._samples.shards[self._samples.shard[rows[0]]]
        (key,) = self._samples.keys(rows)
        return BadSample(shard, key, failure.reason, failure.detail, plan.epoch)
