"""Decides whether a loader fetches whole shards or byte ranges from a store: whichever takes less transfer time per
sample."""

import logging

import numpy as np
import numpy.typing as npt

from loaders.config import LoaderConfig
from loaders.reading.link import Link, range_cost_s
from loaders.reading.members import MemberSource
from loaders.reading.open_shards import OpenShards
from loaders.reading.range_reader import RangeReader
from loaders.windows.sampling import sampling_rule
from shards.errors import InputError

__all__ = ["choose_members", "range_mode_cost_s", "whole_cost_s"]

logger = logging.getLogger(__name__)

_EXAMINED = 512
"""Maximum number of samples used to estimate the cost for the split."""


def choose_members(data: OpenShards, rows: npt.NDArray[np.int64], config: LoaderConfig) -> MemberSource:
    """Chooses the source from which a loader over ``rows`` reads members: whole tars (on the local disk or in the
    cache), or byte ranges of tars in a store.

    If the cache has room for all shards at once, they are fetched whole. Each is then fetched only once rather than in
    every epoch. If a single shard is larger than the cache, only ranges are possible. Raises ``InputError`` if the
    settings require ranges but reading ranges is not possible.
    """
    if data.ranges and config.remote_reads != "whole" and _wants_ranges(data, data.ranges, rows, config):
        return data.ranges
    return data.whole(verify=config.verify == "first-touch")


def _wants_ranges(data: OpenShards, reader: RangeReader, rows: npt.NDArray[np.int64], config: LoaderConfig) -> bool:
    assert data.dataset.remote is not None
    reads_files = sampling_rule(config.sampling).reads_files
    has_ranges = reader.has_ranges
    if config.remote_reads == "range":
        if reads_files:
            raise InputError(
                f"loader.sampling={config.sampling!r} reads whole images to place its windows: "
                "set loader.remote_reads=whole"
            )
        if not has_ranges:
            raise InputError(
                f"{data.dataset.remote} sends whole files even if only a range is requested: set "
                "loader.remote_reads=whole"
            )
        return True
    if reads_files or not has_ranges:
        return False
    wanted = {data.samples.shards[code] for code in np.unique(data.samples.shard[rows]).tolist()}
    shards = [info for info in data.dataset.info.shards if info.name in wanted]
    cache_bytes = data.dataset.remote.settings.cache_bytes
    if sum(info.num_bytes + info.sidecar_bytes for info in shards) <= cache_bytes:
        return False
    if max(max(info.num_bytes, info.sidecar_bytes) for info in shards) > cache_bytes:
        return True
    link = reader.link
    ranges = range_mode_cost_s(data, rows, config, link)
    whole = whole_cost_s(data, rows, config, link)
    logger.info(
        "%s: %.0f ms per request and %.0f MB/s; %.1f ms per sample in ranges, %.1f ms in whole shards",
        data.dataset.remote,
        1e3 * link.latency_s,
        link.bytes_per_s / 1e6,
        1e3 * ranges,
        1e3 * whole,
    )
    return ranges < whole


def whole_cost_s(data: OpenShards, rows: npt.NDArray[np.int64], config: LoaderConfig, link: Link) -> float:
    """Estimates the mean transfer time per sample, in seconds, when whole shards are fetched and do not all fit into
    the cache. With ``shuffle=True``, nearly every sample is in a different shard from the one before it, and that shard
    has to be fetched unless the cache happens to hold it."""
    codes, counts = np.unique(data.samples.shard[rows], return_counts=True)
    sizes = {info.name: info.num_bytes + info.sidecar_bytes for info in data.dataset.info.shards}
    num_bytes = np.array([sizes[data.samples.shards[code]] for code in codes.tolist()], float)
    if config.shuffle is True:
        assert data.dataset.remote is not None
        missing = 1 - data.dataset.remote.settings.cache_bytes / num_bytes.sum()
        return link.cost_s(float((num_bytes * counts).sum() / counts.sum()) * missing, missing)
    return link.cost_s(float(num_bytes.sum() / len(rows)), len(codes) / len(rows))


def range_mode_cost_s(data: OpenShards, rows: npt.NDArray[np.int64], config: LoaderConfig, link: Link) -> float:
    """Estimates the mean transfer time per sample, in seconds, when only byte ranges are fetched. The estimate is based
    on a subset of ``rows``."""
    samples = data.samples
    some = rows[:: -(-len(rows) // _EXAMINED)]
    indexed = (samples.entry_points.length[some] > 0) & (config.decode != "full")
    members = samples.global_view.length[some] + samples.entry_points.length[some]
    images = samples.image.length[some]
    plain = float(np.sum(images[~indexed] + members[~indexed])) / len(some)
    cost = link.cost_s(plain, float(np.mean(~indexed)))
    if indexed.any():
        sizes = samples.height[some][indexed], samples.width[some][indexed]
        part = range_cost_s(
            link, images[indexed], members[indexed], sizes, crop_size=config.crop_size, num_crops=config.num_crops
        )
        cost += part * float(np.mean(indexed))
    return cost
