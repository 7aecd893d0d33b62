"""Which samples share a shard, and in which order.

The samples of a split lie in a seeded random order, one image format per shard, so that reading a
shard from front to back is already shuffled and one decoder serves all of it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shards.cli.wording import counted
from shards.errors import InputError
from shards.images.formats import EXTENSIONS
from shards.manifest.schema import SPLITS

__all__ = ["PackedSource", "ShardPlan", "pack", "sample_key"]

MAX_SHARDS = 1_000_000  # the shard's number has six digits in a key


@dataclass(frozen=True, slots=True)
class PackedSource:
    """An image on its way into a shard."""

    path: str
    """Relative to the root of the sources."""
    sha256: bytes
    format: str
    label: int
    generator: str
    group: str
    split: str
    tiled: bool = False
    """Stored as tiled TIFF instead of as it is."""
    recompress_quality: int = 0
    """Re-encoded as JPEG of this quality; 0 for not."""

    @property
    def stored_format(self) -> str:
        """The image format in the shard: a key of ``EXTENSIONS``, such as ``JPEG``. ``format`` is that of the
        source."""
        if self.recompress_quality:
            return "JPEG"
        return "TIFF" if self.tiled else self.format


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The work unit of a build: one shard and the images that go into it, in order."""

    number: int
    """Counts through all splits, so that keys are unique in the data set."""
    split: str
    format: str
    sources: tuple[PackedSource, ...]

    @property
    def stem(self) -> str:
        """File name of the tar, its index and its manifest, without the extension."""
        return f"{self.split}-{self.number:06d}"

    @property
    def name(self) -> str:
        """File name of the tar."""
        return f"{self.stem}.tar"


def sample_key(shard: int, index: int) -> str:
    """The key of the sample at place ``index`` of a shard: 12 digits."""
    return f"{shard:06d}{index:06d}"


def pack(sources: Iterable[PackedSource], samples_per_shard: int, seed: int) -> list[ShardPlan]:
    """Deals the images out to shards of at most ``samples_per_shard``.

    Depends on the set of images only, not on their order.
    """
    piles: dict[tuple[int, int], list[PackedSource]] = {}
    formats = list(EXTENSIONS)
    for source in sources:
        pile = (SPLITS.index(source.split), formats.index(source.stored_format))
        piles.setdefault(pile, []).append(source)
    plans: list[ShardPlan] = []
    for (split, kind), pile_sources in sorted(piles.items()):
        pile_sources.sort(key=lambda source: (_rank(seed, source.sha256), source.path, source.label))
        for start in range(0, len(pile_sources), samples_per_shard):
            part = tuple(pile_sources[start : start + samples_per_shard])
            plans.append(ShardPlan(len(plans), SPLITS[split], formats[kind], part))
    if len(plans) > MAX_SHARDS:
        raise InputError(f"--samples-per-shard {samples_per_shard} makes {counted(len(plans), 'shard')}: raise it")
    return plans


def _rank(seed: int, sha256: bytes) -> bytes:
    return hashlib.sha256(b"pack %d " % seed + sha256).digest()
