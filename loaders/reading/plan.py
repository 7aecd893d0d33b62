"""Plans a batch: chooses its windows, and decides how to read each sample."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from loaders.augment.augment import Change, ChangedSample, draw_changes
from loaders.augment.operation import CropWindow
from loaders.config import LoaderConfig
from loaders.decode.window_or_whole import windows_are_cheaper
from loaders.order.order import BatchSlice
from loaders.reading.batch_plan import BatchPlan, Reads
from loaders.reading.mapped_shards import UnreadableMember
from loaders.reading.members import Members
from loaders.reading.sample_table import SampleTable
from loaders.stats import LoaderStats
from loaders.windows.detail import Detail
from loaders.windows.sampling import Details, crop_windows, sampling_rule

__all__ = ["Planner"]

Rows = npt.NDArray[np.int64]


class Planner:
    """Plans batches. Reads files only if the sampling rule depends on their contents."""

    def __init__(self, samples: SampleTable, members: Members, config: LoaderConfig, stats: LoaderStats) -> None:
        """``members`` provides the image files and entry points to sampling rules that depend on them."""
        self._samples, self._members = samples, members
        self._config, self._stats = config, stats
        self._rule = sampling_rule(config.sampling)

    def plan(self, part: BatchSlice, epoch: int) -> BatchPlan:
        """Chooses a batch's windows and decides how to read each sample."""
        config, samples, rows = self._config, self._samples, part.rows
        height, width = samples.height[rows], samples.width[rows]
        changes = self._changes(part, epoch)
        for place, change in changes.items():
            height[place], width[place] = change.size
        shape = (len(rows), config.num_crops)
        windows, mask = np.zeros((*shape, 4), np.int32), np.zeros(shape, np.bool_)
        for appearance, chosen in _appearances(part):
            windows[chosen], mask[chosen] = crop_windows(
                self._rule,
                height[chosen],
                width[chosen],
                samples.content_id[rows[chosen]],
                crop_size=config.crop_size,
                num_crops=config.num_crops,
                seed=config.seed,
                epoch=epoch,
                appearance=appearance,
                details=self._details(rows[chosen]),
            )
        windows[~mask] = 0
        changed = {place: ChangedSample(change, windows[place].copy()) for place, change in changes.items()}
        shown = windows.copy() if changed else windows
        for place, sample in changed.items():
            _trace_back(sample, mask[place], windows[place], shown[place])
        return BatchPlan(part, epoch, shown, mask, changed, self._reads(rows, windows, mask))

    def _reads(self, rows: Rows, windows: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_]) -> Reads:
        slots = np.flatnonzero(mask)
        bounds = [0, *mask.sum(axis=1).cumsum().tolist()]
        tiled = self._samples.tiled(rows) & (self._config.decode != "full")
        windowed = np.zeros(len(rows), np.bool_)
        windowed[~tiled] = self._windowed(rows[~tiled], windows[~tiled])
        has_windows = mask.any(axis=1)  # an image without them is decoded whole, so that its faults are found
        return Reads(rows, windows.reshape(-1, 4)[slots], slots, bounds, windowed & has_windows, tiled & has_windows)

    def _windowed(self, rows: Rows, windows: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """(B,) bool: which samples are to be spliced. Samples that cannot be spliced are counted by reason."""
        samples, config = self._samples, self._config
        if config.decode == "full":
            return np.zeros(len(rows), np.bool_)
        indexed = samples.entry_points.length[rows] > 0
        for code in samples.not_indexable[rows[~indexed]].tolist():
            self._stats.reason("fallback", samples.not_indexable_reasons[code] if code >= 0 else "")
        if config.decode == "window":
            return indexed
        return indexed & windows_are_cheaper(
            samples.height[rows], samples.width[rows], samples.image.length[rows], windows
        )

    def _changes(self, part: BatchSlice, epoch: int) -> dict[int, Change]:
        """Returns the changes that augmentation makes, keyed by the sample's index in the batch; empty in evaluation,
        which does not shuffle."""
        config, samples = self._config, self._samples
        if not config.augment or not config.shuffle:
            return {}
        changes: dict[int, Change] = {}
        for appearance, chosen in _appearances(part):
            rows = part.rows[chosen]
            drawn = draw_changes(
                samples.height[rows],
                samples.width[rows],
                samples.content_id[rows],
                share=config.augment,
                seed=config.seed,
                epoch=epoch,
                appearance=appearance,
            )
            changes |= {p: c for p, c in zip(np.flatnonzero(chosen).tolist(), drawn, strict=True) if c is not None}
        return changes

    def _details(self, rows: Rows) -> Details:
        """Returns a list with each sample's :class:`Detail`, or None where it is unknown; counts the unknown ones as
        ``without_detail``. If the sampling rule reads no files, returns None instead of a list."""
        if not self._rule.reads_files:
            return None
        with self._stats.timed("detail"):
            details = [self._detail(row) for row in rows.tolist()]
        self._stats.count("without_detail", sum(detail is None for detail in details))
        return details

    def _detail(self, row: int) -> Detail | None:
        if not self._samples.has_own_entry_points(row):
            return None
        try:
            return self._rule.detail_of_sample(self._members.image(row), self._members.entry_points(row))
        except UnreadableMember:
            return None  # the sample is masked when it is read


def _appearances(part: BatchSlice) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Groups the samples of a batch by k, the number of times that they have already occurred in the epoch. Yields (k,
    mask) for each group; ``mask`` (B,) is True for its samples."""
    for appearance in np.unique(part.appearance).tolist():
        yield appearance, part.appearance == appearance


def _trace_back(
    sample: ChangedSample, mask: npt.NDArray[np.bool_], read: npt.NDArray[np.int32], shown: npt.NDArray[np.int32]
) -> None:
    """Traces the windows of a changed sample back to its source: writes into ``read`` (N, 4) the parts of the source
    that the windows depend on, and into ``shown`` (N, 4) the parts that the windows show. Rows where ``mask`` (N,) is
    False have no window and stay unchanged."""
    for place in np.flatnonzero(mask).tolist():
        window = CropWindow(*sample.windows[place].tolist())
        read[place] = sample.change.source_window(window)
        shown[place] = sample.change.shown(window)
