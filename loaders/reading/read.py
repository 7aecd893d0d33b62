"""Turns a batch plan into decode jobs: reads members, compares checksums and splices windows."""

import numpy as np
import numpy.typing as npt
import torch

from loaders.config import LoaderConfig
from loaders.decode.jobs import DecodeFailure, Job, TiledJob, WholeJob, WindowJob
from loaders.reading.batch_plan import BatchPlan, Reads
from loaders.reading.checksums import BadChecksum
from loaders.reading.mapped_shards import FailedDisk, UnreadableMember, global_view_header, read_global_view
from loaders.reading.members import Members
from loaders.reading.sample_table import SampleTable
from loaders.stats import LoaderStats
from shards.images.tiled_tiff import BadTiles, TiledImage
from shards.jpeg.splice.splicer import STATUS_REASONS, TAIL_BYTES, Splicer

__all__ = ["SampleReader"]

Bytes = npt.NDArray[np.uint8]

_FAULTS = (BadChecksum, UnreadableMember, BadTiles)
"""Errors that concern a single sample, which is then masked."""


class SampleReader:
    """Reads the members that a batch's decode jobs need. Safe to use from several threads."""

    def __init__(self, samples: SampleTable, config: LoaderConfig, splicer: Splicer, stats: LoaderStats) -> None:
        self._samples, self._splicer, self._stats = samples, splicer, stats
        self._header = global_view_header(config.global_size)

    def read(
        self, plan: BatchPlan, members: Members, places: range, global_views: torch.Tensor
    ) -> tuple[list[Job], list[DecodeFailure]]:
        """Reads the samples at the batch indices ``places``. Writes their global views into ``global_views`` (B, S, S,
        3) uint8, and makes jobs that decode their images. Returns (jobs, failures)."""
        reads, views = plan.reads, global_views.numpy()
        jobs: list[Job] = []
        failures: list[DecodeFailure] = []
        to_splice: dict[int, Bytes] = {}
        bytes_read = 0
        with self._stats.timed("read"):
            for place in places:
                row = int(reads.rows[place])
                try:
                    self._check(members, row)
                    image = self._image(reads, members, place)
                    job = None if reads.windowed[place] else self._job(reads, place, image)
                    view = members.view(row)
                    read_global_view(view, self._header, views[place])
                except _FAULTS as error:
                    failures.append(_failure(place, error))
                    continue
                bytes_read += view.size
                if job is None:
                    to_splice[place] = image
                else:
                    jobs.append(job)
        spliced, unspliced = self._splice(reads, members, to_splice)
        for place in unspliced:
            try:
                jobs.append(self._whole_job(reads, place, members.image(int(reads.rows[place]))))
            except _FAULTS as error:
                failures.append(_failure(place, error))
        num_whole = sum(isinstance(job, WholeJob) for job in jobs)
        self._stats.count("windowed", len(to_splice) - len(unspliced) + len(jobs) - num_whole)
        self._stats.count("full", num_whole)
        jobs += spliced
        self._stats.count("bytes_read", bytes_read + sum(job.bytes_read for job in jobs))
        return jobs, failures

    def _check(self, members: Members, row: int) -> None:
        """Compares a sample's stored image and global view with their checksums when the sample is first read."""
        if not members.is_checked(row):
            with self._stats.timed("verify"):
                self._stats.count("bytes_verified", members.check(row))

    def _image(self, reads: Reads, members: Members, place: int) -> Bytes:
        row = int(reads.rows[place])
        return members.image_parts(row) if reads.windowed[place] or reads.tiled[place] else members.image(row)

    def _job(self, reads: Reads, place: int, image: Bytes) -> TiledJob | WholeJob:
        """Makes the job for a sample that is not spliced."""
        if not reads.tiled[place]:
            return self._whole_job(reads, place, image)
        samples, row, part = self._samples, int(reads.rows[place]), reads.part(place)
        tiles = TiledImage(image)
        if tiles.shape[:2] != (samples.height[row], samples.width[row]):
            raise BadTiles(f"{tiles.width}×{tiles.height} pixels, which differs from the manifest")
        return TiledJob(tiles, reads.windows[part], reads.slots[part], place)

    def _whole_job(self, reads: Reads, place: int, image: Bytes) -> WholeJob:
        samples, row, part = self._samples, int(reads.rows[place]), reads.part(place)
        return WholeJob(
            data=image,
            height=int(samples.height[row]),
            width=int(samples.width[row]),
            windows=reads.windows[part],
            slots=reads.slots[part],
            sample=place,
            image_format=samples.stored_format(row),
            mode=samples.modes[samples.mode[row]],
        )

    def _splice(self, reads: Reads, members: Members, images: dict[int, Bytes]) -> tuple[list[WindowJob], list[int]]:
        """Splices the windows of ``images``, which maps batch indices to stored images. Returns one job per window, and
        the batch indices of images with a window that could not be spliced. Those images get no jobs and are counted by
        reason."""
        if not images:
            return [], []
        samples, places = self._samples, list(images)
        windows = np.concatenate([reads.windows[reads.part(place)] for place in places])
        slots = np.concatenate([reads.slots[reads.part(place)] for place in places]).tolist()
        counts = [reads.bounds[place + 1] - reads.bounds[place] for place in places]
        with self._stats.timed("splice"):
            entry_points = [members.entry_points(int(reads.rows[place])) for place in places]
            spliced = self._splicer.splice_batch(
                list(images.values()), entry_points, windows, np.repeat(np.arange(len(places)), counts)
            )
        begins = np.cumsum([0, *counts[:-1]])
        status = np.maximum.reduceat(spliced.status, begins).tolist()
        offsets, sizes = spliced.offsets.tolist(), spliced.size.tolist()
        inside = np.concatenate([spliced.origin, windows[:, 2:]], axis=1).tolist()
        jobs: list[WindowJob] = []
        unspliced: list[int] = []
        for place, begin, count, failed in zip(places, begins.tolist(), counts, status, strict=True):
            if failed:
                self._stats.reason("fallback", STATUS_REASONS[failed])
                unspliced.append(place)
                continue
            mode = samples.modes[samples.mode[reads.rows[place]]]
            for window in range(begin, begin + count):
                start, stop = offsets[window], offsets[window + 1]
                jobs.append(
                    WindowJob(
                        padded=spliced.data[start : stop + TAIL_BYTES],
                        num_bytes=stop - start,
                        height=sizes[window][0],
                        width=sizes[window][1],
                        window=inside[window],
                        slot=slots[window],
                        sample=place,
                        mode=mode,
                    )
                )
        return jobs, unspliced


def _failure(place: int, error: Exception) -> DecodeFailure:
    if isinstance(error, BadChecksum):
        reason = "checksum"
    elif isinstance(error, BadTiles):
        reason = "undecodable"
    else:
        reason = "io" if isinstance(error, FailedDisk) else "unreadable member"
    return DecodeFailure(place, reason, str(error))
