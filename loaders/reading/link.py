"""The cost of reading from a store: measured latency and bandwidth, and the choices that follow from them.

A request costs the latency divided by the number of concurrent requests; a byte costs the inverse of the bandwidth. So
bytes are worth skipping only if they take longer than one more request. Ranges are worth fetching only if they cost
less than the whole shard.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from shards.store.folder import RemoteFolder

__all__ = ["Link", "measure_link", "range_cost_s"]

_PROBES = 5
_PROBE_BYTES = 1 << 19
_SMALLEST_GAP, _LARGEST_GAP = 1 << 12, 1 << 22


@dataclass(frozen=True)
class Link:
    """The connection to a store."""

    latency_s: float
    """Seconds from a request for one byte to the response."""
    bytes_per_s: float
    """Bandwidth with all connections in use."""
    connections: int
    """Number of concurrent requests."""

    @property
    def request_s(self) -> float:
        """Seconds that one more request takes while other requests are in flight."""
        return self.latency_s / self.connections

    @property
    def gap(self) -> int:
        """Gap between two ranges, in bytes, below which one request for both ranges costs less than two requests."""
        return int(min(max(self.bytes_per_s * self.request_s, _SMALLEST_GAP), _LARGEST_GAP))

    def cost_s(self, num_bytes: float, requests: float) -> float:
        """Seconds needed to transfer ``num_bytes`` in ``requests`` requests."""
        return num_bytes / self.bytes_per_s + requests * self.request_s


def measure_link(remote: RemoteFolder, name: str, num_bytes: int) -> Link:
    """Measures the latency and bandwidth of a store by reading from its file ``name``, which has ``num_bytes`` bytes.
    On any connection that is fast enough for training, this takes less than a second. With the default number of
    connections, it transfers up to 16 MB."""
    connections = remote.settings.connections
    times = []
    for _ in range(_PROBES):
        started = time.perf_counter()
        remote.read_range(name, 0, 1)
        times.append(time.perf_counter() - started)
    latency = median(times[1:])  # the first one also connects
    size = min(_PROBE_BYTES, max(num_bytes // connections, 1))
    starts = [k * size for k in range(min(connections, num_bytes // size))]
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(lambda start: remote.read_range(name, start, start + 1), starts))
        started = time.perf_counter()
        list(pool.map(lambda start: remote.read_range(name, start, start + size), starts))
        passed = time.perf_counter() - started
    # Part of the time was the latency, which is counted by itself.
    return Link(latency, size * len(starts) / max(passed - latency, passed / 10), connections)


def range_cost_s(
    link: Link,
    image_bytes: npt.NDArray[np.int64],
    other_bytes: npt.NDArray[np.int64],
    sizes: Sequence[npt.NDArray[np.int32]],
    *,
    crop_size: int,
    num_crops: int,
) -> float:
    """Estimates the mean transfer time per sample, in seconds, when windows are read as byte ranges.

    All arrays are (n,) and describe images with entry points. ``image_bytes`` is the length of each image, and
    ``other_bytes`` is the total length of its members that are read whole. ``sizes`` is the pair (heights, widths), in
    pixels. An image's bytes are assumed to be spread evenly over its area.
    """
    height, width = (np.maximum(side.astype(float), 1) for side in sizes)
    high, wide = np.minimum(crop_size + 24, height), np.minimum(crop_size + 40, width)
    row_bytes = image_bytes * 16 / height
    rows = np.ceil(high / 16)
    inside = row_bytes * wide / width
    between = row_bytes - inside
    apart = between > link.gap
    window = rows * np.where(apart, inside, row_bytes)
    windows = np.minimum(num_crops * window, image_bytes)
    requests = 2 + np.where(windows < image_bytes, num_crops * np.where(apart, rows, 1), 1)
    return float(np.mean(link.cost_s(1.0, 0) * (windows + other_bytes) + requests * link.request_s))
