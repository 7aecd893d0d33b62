"""From a slice of the order to decode jobs: which windows, read from where, spliced or whole."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from loaders.augment.augment import Change, ChangedSample, draw_changes
from loaders.augment.operations import CropWindow
from loaders.config import LoaderConfig
from loaders.decode.jobs import DecodeFailure, DecodeJob
from loaders.decode.window_or_whole import windows_are_cheaper
from loaders.order.order import BatchSlice
from loaders.reading.cached_shards import CachedShards
from loaders.reading.checksums import BadChecksum, FirstTouch
from loaders.reading.mapped_shards import FailedDisk, UnreadableMember, global_view_header, read_global_view
from loaders.reading.open_shards import OpenShards
from loaders.reading.range_reader import FetchedBatch, RangeReader
from loaders.stats import LoaderStats
from loaders.windows.detail import Detail, read_detail
from loaders.windows.sampling import RULES_WITH_DETAIL, crop_windows, sampling_rule
from shards.images.tiled_tiff import BadTiles, TiledImage
from shards.jpeg.splice.splicer import STATUS_REASONS, TAIL_BYTES

__all__ = ["BatchPlan", "JobMaker"]


@dataclass(frozen=True)
class BatchPlan:
    """What a batch will hold, before a byte is read."""

    slice: BatchSlice
    epoch: int
    """Of the windows: 0 where the loader does not shuffle."""
    windows: npt.NDArray[np.int32]
    """(B, N, 4) in source pixels: what is read."""
    crop_windows: npt.NDArray[np.int32]
    """(B, N, 4) in source pixels: what the crops show, which is less in changed samples."""
    mask: npt.NDArray[np.bool_]
    """(B, N)."""
    changed: Mapping[int, ChangedSample]
    """By place in the batch: the samples that are changed on their way."""
    windowed: npt.NDArray[np.bool_]
    """(B,): whether the windows are to be spliced out of the JPEG."""

    tiled: npt.NDArray[np.bool_]
    """(B,): whether only the tiles touched are to be read."""
    slots: npt.NDArray[np.int64]
    """(B, N): places of the crops in the batch's flat (B·N) crops."""
    fetched: FetchedBatch | None = None
    """What is on its way, where ranges are read out of a store."""

    def __len__(self) -> int:
        return len(self.slice.rows)


class JobMaker:
    """Plans batches and reads what their jobs need. Safe to use from several threads."""

    def __init__(
        self, data: OpenShards, config: LoaderConfig, stats: LoaderStats, ranges: RangeReader | None = None
    ) -> None:
        """``ranges`` reads what a batch needs out of a store; without it, tars are mapped."""
        self._ranges = ranges
        self._samples, self._shards, self._members = data.samples, data.shards, data.members
        self._config, self._stats = config, stats
        self._rule = sampling_rule(config.sampling)
        self._header = global_view_header(config.global_size)
        self._splicer = data.splicer
        verify = config.verify == "first-touch"
        self._touched = data.touched if verify else None
        self._index_touched = data.index_touched if verify else None

    def plan(self, part: BatchSlice, epoch: int) -> BatchPlan:
        """Draws the windows of a batch and decides how each sample is read."""
        config, samples, rows = self._config, self._samples, part.rows
        height, width = samples.height[rows], samples.width[rows]
        changes = self._changes(part, epoch)
        for place, change in changes.items():
            height[place], width[place] = change.size
        shape = (len(rows), config.num_crops)
        windows, mask = np.zeros((*shape, 4), np.int32), np.zeros(shape, np.bool_)
        for appearance in np.unique(part.appearance).tolist():
            chosen = part.appearance == appearance
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
        windows[~mask] = (0, 0, 1, 1)  # read like any other, and blanked when the batch is made
        changed = {
            place: ChangedSample(change, windows[place].copy(), mask[place]) for place, change in changes.items()
        }
        shown = windows.copy()
        for place, sample in changed.items():
            _to_source(sample, windows[place], shown[place])
        slots = np.arange(mask.size).reshape(shape)
        tiled = samples.tiled(rows) & (config.decode != "full")
        windowed = _spread(self._windowed(rows[~tiled], windows[~tiled]), ~tiled)
        fetched = None if self._ranges is None else self._ranges.begin(rows, windows, windowed, tiled)
        return BatchPlan(part, epoch, windows, shown, mask, changed, windowed, tiled, slots, fetched)

    def _details(self, rows: npt.NDArray[np.int64]) -> list[Detail | None] | None:
        """Where the rule asks for it, what the entry points tell of each sample's detail; samples
        without them are counted as ``without_detail``."""
        if self._config.sampling not in RULES_WITH_DETAIL:
            return None
        with self._stats.timed("detail"):
            details = [self._detail(row) for row in rows.tolist()]
        self._stats.count("without_detail", sum(detail is None for detail in details))
        return details

    def _detail(self, row: int) -> Detail | None:
        samples = self._samples
        converted = samples.forms[samples.stored_as[row]] == "baseline"
        if converted or not samples.entry_points.length[row]:
            return None
        where = int(samples.image.offset[row]), int(samples.image.length[row])
        try:
            image = self._shards.member(int(samples.shard[row]), *where)
        except UnreadableMember:
            return None  # the sample is masked when it is read
        return read_detail(image, self._entry_points(row))

    def _changes(self, part: BatchSlice, epoch: int) -> dict[int, Change]:
        """What happens to which place of the batch. Evaluation, which does not shuffle, sees
        images as they are."""
        config, samples = self._config, self._samples
        if not config.augment or not config.shuffle:
            return {}
        changes: dict[int, Change] = {}
        for appearance in np.unique(part.appearance).tolist():
            places = np.flatnonzero(part.appearance == appearance)
            rows = part.rows[places]
            drawn = draw_changes(
                samples.height[rows],
                samples.width[rows],
                samples.content_id[rows],
                share=config.augment,
                seed=config.seed,
                epoch=epoch,
                appearance=appearance,
            )
            changes |= {p: c for p, c in zip(places.tolist(), drawn, strict=True) if c is not None}
        return changes

    def read(
        self, plan: BatchPlan, places: range, global_views: torch.Tensor
    ) -> tuple[list[DecodeJob], list[DecodeFailure]]:
        """Reads the samples at ``places`` of the batch: global views into ``global_views``
        (B, S, S, 3), images into decode jobs."""
        whole: list[DecodeJob] = []
        failures: list[DecodeFailure] = []
        views = global_views.numpy()
        with self._stats.timed("read"):
            for place in places:
                try:
                    if plan.fetched is None:  # what comes out of a store is compared on arrival
                        self._verify(int(plan.slice.rows[place]))
                    whole.append(self._whole_job(plan, place))
                    self._read_global_view(plan, place, views[place])
                except BadChecksum as error:
                    failures.append(DecodeFailure(place, "checksum", str(error)))
                except UnreadableMember as error:
                    reason = "io" if isinstance(error, FailedDisk) else "unreadable member"
                    failures.append(DecodeFailure(place, reason, str(error)))
                except BadTiles as error:
                    failures.append(DecodeFailure(place, "undecodable", str(error)))
        failed = {failure.sample for failure in failures}
        whole = [job for job in whole if job.sample not in failed]
        spliced = self._splice(plan, [job for job in whole if plan.windowed[job.sample]])
        done = {job.sample for job in spliced}
        whole = [job for job in whole if job.sample not in done]
        whole, lost = _completed(plan, whole)
        failures += lost
        num_tiled = sum(job.tiles is not None for job in whole)
        self._stats.count("windowed", len(done) + num_tiled)
        self._stats.count("full", len(whole) - num_tiled)
        self._stats.count("bytes_read", sum(job.bytes_read for job in (*whole, *spliced)))
        return whole + spliced, failures

    def _verify(self, row: int) -> None:
        """The first time that a sample is read, compares its stored image and global view with
        their checksums. Raises ``BadChecksum`` or ``UnreadableMember``."""
        if self._touched is None or self._touched.is_sound(row):
            return
        with self._stats.timed("verify"):
            names = ("image", "global")
            self._stats.count("bytes_verified", self._checked(self._touched, row, names))

    def _checked(self, touched: FirstTouch, row: int, names: tuple[str, ...]) -> int:
        """Compares members of a sample with their checksums; returns how many bytes it read.

        Where they differ and the local copy of a shard in a store is to blame, that is fetched
        again first. Raises ``BadChecksum`` or ``UnreadableMember``.
        """
        try:
            return touched.check(row, self._with_checksums(row, names))
        except BadChecksum:
            shard = int(self._samples.shard[row])
            cached = {t for t in (self._shards, self._members) if isinstance(t, CachedShards)}
            renewed = [tars.renew(shard) for tars in cached]
            if not any(renewed):
                raise
            return touched.check(row, self._with_checksums(row, names))

    def _with_checksums(self, row: int, names: tuple[str, ...]) -> dict[str, tuple[npt.NDArray[np.uint8], int]]:
        samples, shard = self._samples, int(self._samples.shard[row])
        places = {
            "image": (self._shards, samples.image),
            "global": (self._members, samples.global_view),
            "mcu": (self._members, samples.entry_points),
        }
        found = {}
        for name in names:
            tars, where = places[name]
            data = tars.member(shard, int(where.offset[row]), int(where.length[row]))
            found[name] = (data, int(samples.crc32[name][row]))
        return found

    def _windowed(self, rows: npt.NDArray[np.int64], windows: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which samples are to be spliced; those that cannot be are counted with their reason."""
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

    def _splice(self, plan: BatchPlan, images: list[DecodeJob]) -> list[DecodeJob]:
        """A job per window for each image all of whose windows could be spliced."""
        if not images:
            return []
        num_crops = self._config.num_crops
        with self._stats.timed("splice"):
            if plan.fetched is None:
                entry_points = [self._entry_points(int(plan.slice.rows[i.sample])) for i in images]
            else:
                entry_points = [plan.fetched.sample(i.sample).entry_points for i in images]
            spliced = self._splicer.splice_batch(
                [image.data for image in images],
                entry_points,
                np.concatenate([image.windows for image in images]),
                np.repeat(np.arange(len(images)), num_crops),
            )
        status = spliced.status.reshape(len(images), num_crops).max(axis=1)
        placed = np.concatenate([spliced.origin, np.concatenate([image.windows[:, 2:] for image in images])], axis=1)
        bounds, sizes = spliced.offsets.tolist(), spliced.size.tolist()
        jobs = []
        for number, image in enumerate(images):
            if status[number]:
                self._stats.reason("fallback", STATUS_REASONS[status[number]])
                continue
            for place in range(number * num_crops, (number + 1) * num_crops):
                start, stop = bounds[place : place + 2]
                height, width = sizes[place]
                jobs.append(
                    DecodeJob(
                        data=spliced.data[start:stop],
                        height=height,
                        width=width,
                        windows=placed[place : place + 1],
                        slots=image.slots[place % num_crops : place % num_crops + 1],
                        sample=image.sample,
                        image_format=image.image_format,
                        mode=image.mode,
                        spliced=True,
                        padded=spliced.data[start : stop + TAIL_BYTES],
                    )
                )
        return jobs

    def _entry_points(self, row: int) -> npt.NDArray[np.uint8]:
        """The ``.mcu`` member; empty or of one byte, which the splicer reports and which costs a
        full decode, where it lies outside its tar or has another checksum."""
        where = self._samples.entry_points
        shard = int(self._samples.shard[row])
        try:
            if self._index_touched is not None and not self._index_touched.is_sound(row):
                self._checked(self._index_touched, row, ("mcu",))
            return self._members.member(shard, int(where.offset[row]), int(where.length[row]))
        except UnreadableMember:
            return np.empty(0, np.uint8)
        except BadChecksum:
            return np.zeros(1, np.uint8)

    def _read_global_view(self, plan: BatchPlan, place: int, out: npt.NDArray[np.uint8]) -> None:
        if plan.fetched is not None:
            member = plan.fetched.sample(place).global_view
        else:
            where, row = self._samples.global_view, int(plan.slice.rows[place])
            shard = int(self._samples.shard[row])
            member = self._members.member(shard, int(where.offset[row]), int(where.length[row]))
        read_global_view(member, self._header, out)
        self._stats.count("bytes_read", member.size)

    def _whole_job(self, plan: BatchPlan, place: int) -> DecodeJob:
        samples, row = self._samples, int(plan.slice.rows[place])
        if plan.fetched is not None:
            data = plan.fetched.sample(place).image
        else:
            shard, where = int(samples.shard[row]), samples.image
            data = self._shards.member(shard, int(where.offset[row]), int(where.length[row]))
        tiles = TiledImage(data) if plan.tiled[place] else None
        if tiles is not None and tiles.shape[:2] != (samples.height[row], samples.width[row]):
            raise BadTiles(f"{tiles.width}×{tiles.height} pixels, not what the manifest says")
        return DecodeJob(
            data=data,
            height=int(samples.height[row]),
            width=int(samples.width[row]),
            windows=plan.windows[place],
            slots=plan.slots[place],
            sample=place,
            image_format=samples.stored_format(row),
            mode=samples.modes[samples.mode[row]],
            tiles=tiles,
        )


def _completed(plan: BatchPlan, jobs: list[DecodeJob]) -> tuple[list[DecodeJob], list[DecodeFailure]]:
    """Jobs that take the full decode, with the whole of their images."""
    if plan.fetched is None:
        return jobs, []
    completed: list[DecodeJob] = []
    failures: list[DecodeFailure] = []
    for job in jobs:
        if job.tiles is not None:
            completed.append(job)
            continue
        try:
            whole = plan.fetched.whole_image(job.sample)
            completed.append(job if whole is job.data else replace(job, data=whole))
        except BadChecksum as error:
            failures.append(DecodeFailure(job.sample, "checksum", str(error)))
    return completed, failures


def _to_source(sample: ChangedSample, read: npt.NDArray[np.int32], shown: npt.NDArray[np.int32]) -> None:
    """Overwrites rows of ``read`` and ``shown`` (N, 4) with the parts of the source that the
    sample's windows depend on, and that they show."""
    for place in np.flatnonzero(sample.mask).tolist():
        window = CropWindow(*sample.windows[place].tolist())
        read[place] = sample.change.source_window(window)
        shown[place] = sample.change.shown(window)


def _spread(values: npt.NDArray[np.bool_], where: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """``values`` at the places ``where``, False elsewhere."""
    spread = np.zeros(len(where), np.bool_)
    spread[where] = values
    return spread
