"""What a build is told. Together with the sources, it fixes every byte of the shards."""

from dataclasses import dataclass, field

from shards.build.equalise import METHODS
from shards.build.split import parse_shares
from shards.errors import InputError

__all__ = ["DEFAULT_SPLIT", "LOSSLESS_FORMS", "BuildSettings"]

DEFAULT_SPLIT = "0.7,0.15,0.15"
LOSSLESS_FORMS = ("tile", "keep")


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Settings of :func:`shards.build.build.build_dataset`. Raises ``InputError`` naming the value."""

    split_shares: dict[str, float] = field(default_factory=lambda: parse_shares(DEFAULT_SPLIT))
    """Split → share of the samples, of each label by itself."""
    split_seed: int = 606
    """Seed of the split and of the packing order."""
    samples_per_shard: int = 1000
    """Samples per tar. 1,000 photographs of 1 MB make a tar of about 1 GB."""
    global_size: int = 224
    """Side of the stored global views in pixels; models are trained at this size."""
    lossless: str = "tile"
    """``tile``: lossless images are stored as tiled TIFF with the same pixels, of which a crop is
    read 5 (1 megapixel) to 40 times (8) as fast as of a PNG; ``keep``: as they are, for readers
    whose TIFF lacks zstd (docs/readers.md)."""
    keep_progressive: bool = False
    """Leave progressive JPEGs as they are instead of making them baseline."""
    equalise: str = "none"
    """``match``: leave out images until the classes differ in nothing that shows in the pixels;
    ``recompress``: re-encode all images alike, which changes their pixels; ``none``."""

    def __post_init__(self) -> None:
        limits = {
            "split_seed": (0, 2**63 - 1),
            "samples_per_shard": (1, 999_999),  # the place in the shard has six digits in a key
            "global_size": (16, 4096),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                flag = "--" + name.replace("_", "-")
                raise InputError(f"{flag} {value}: must be a whole number from {low} to {high}")
        if self.lossless not in LOSSLESS_FORMS:
            raise InputError(f"--lossless {self.lossless}: is none of {', '.join(LOSSLESS_FORMS)}")
        if self.equalise not in METHODS:
            raise InputError(f"--equalise {self.equalise}: is none of {', '.join(METHODS)}")
