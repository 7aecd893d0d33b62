"""Decides which samples share a shard, and in which order.

The samples in a split are shuffled with a seed, and each shard holds only one image format. As a result, reading a
shard sequentially already yields samples in random order, and needs only one decoder.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shards.cli.wording import counted
from shards.errors import InputError
from shards.images.formats import EXTENSIONS
from shards.manifest.schema import SPLITS

__all__ = ["PackedSource", "ShardPlan", "pack", "sample_key"]

MAX_SHARDS = 1_000_000  # a key has six digits for the shard index


@dataclass(frozen=True, slots=True)
class PackedSource:
    """An image with its split, ready to be packed into a shard."""

    path: str
    """Path relative to the source root."""
    sha256: bytes
    format: str
    label: int
    generator: str
    group: str
    split: str
    tiled: bool = False
    """Whether the image is stored as a tiled TIFF."""
    recompress_quality: int = 0
    """JPEG quality at which the image is re-encoded; 0 if it is not re-encoded."""

    @property
    def stored_format(self) -> str:
        """Format in which the shard stores the image, such as ``JPEG``: a key of ``EXTENSIONS``.

        It may differ from ``format``, the format of the source file, if the image is tiled or re-encoded.
        """
        if self.recompress_quality:
            return "JPEG"
        return "TIFF" if self.tiled else self.format


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard that a build has to write, with its images in order."""

    number: int
    """Index of the shard, counted across all splits, so that sample keys are unique in the data set."""
    split: str
    format: str
    sources: tuple[PackedSource, ...]

    @property
    def stem(self) -> str:
        """File name, without extension, shared by the tar, its index and its manifest."""
        return f"{self.split}-{self.number:06d}"

    @property
    def name(self) -> str:
        """File name of the tar."""
        return f"{self.stem}.tar"


def sample_key(shard: int, index: int) -> str:
    """Returns the 12-digit key of sample ``index`` in shard ``shard``; both indices start at 0."""
    return f"{shard:06d}{index:06d}"


def pack(sources: Iterable[PackedSource], samples_per_shard: int, seed: int) -> list[ShardPlan]:
    """Distributes images over shards of at most ``samples_per_shard`` samples.

    The result depends only on the set of images, not on their order. Raises ``InputError`` if there are more than
    ``MAX_SHARDS`` shards.
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
        raise InputError(
            f"--samples-per-shard {samples_per_shard} makes {counted(len(plans), 'shard')}, which is too many: "
            "raise --samples-per-shard"
        )
    return plans


def _rank(seed: int, sha256: bytes) -> bytes:
    return hashlib.sha256(b"pack %d " % seed + sha256).digest()
