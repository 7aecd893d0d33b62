"""Build settings. Together with the sources, they determine every byte of the shards."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from msgspec import Meta

from shards.build.equalise import Method
from shards.build.split import parse_shares
from shards.errors import InputError
from shards.images.formats import MAX_PIXELS
from shards.images.tiling import Tiling
from shards.manifest.note import checked_note
from shards.settings import Seed, check_settings

__all__ = ["DEFAULT_SPLIT", "LOSSLESS_FORMS", "LOSSY_FORMS", "BuildSettings", "GlobalSize"]

DEFAULT_SPLIT = "0.7,0.15,0.15"
Lossless = Literal["tile", "keep"]
LOSSLESS_FORMS = get_args(Lossless)
Lossy = Literal["keep", "tiles"]
LOSSY_FORMS = get_args(Lossy)
GlobalSize = Annotated[int, Meta(ge=16, le=4096)]
Megapixels = Annotated[float, Meta(ge=0, le=MAX_PIXELS / 1e6)]


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Settings of :func:`shards.build.build.build_dataset`. Raises ``InputError`` naming any invalid setting."""

    split_shares: dict[str, float] = field(default_factory=lambda: parse_shares(DEFAULT_SPLIT))
    """Maps each split to its share of the samples. The shares apply to the samples of each label separately."""
    split_seed: Seed = 606
    """Seed for the split and for the sample order in the shards."""
    samples_per_shard: Annotated[int, Meta(ge=1, le=999_999)] = 1000  # a key has six digits for the place in the shard
    """Samples per tar. 1,000 photographs of 1 MB make a tar of about 1 GB."""
    global_size: GlobalSize = 224
    """Side length of the stored global views, in pixels. Models trained on the data set take views of this size."""
    lossless: Lossless = "tile"
    """How to store lossless images. ``tile``: as tiled TIFFs with the same pixels; reading a crop is then between 5
    times (at 1 megapixel) and 40 times (at 8 megapixels) as fast as from a PNG. ``keep``: unchanged, for programs that
    cannot read TIFFs with zstd (docs/readers.md)."""
    lossy: Lossy = "keep"
    """How to store all other images that lack random access. ``tiles``: also as tiled TIFFs with the same pixels, which
    are many times larger (docs/data.md). ``keep``: unchanged.

    These images are lossy WebP, AVIF, HEIC, JPEG XL, JPEG 2000, GIF, palette images, arithmetic-coded or CMYK JPEGs,
    and TIFFs that contain JPEG data.
    """
    lossy_over: Megapixels = 0.0
    """If ``lossy`` is ``tiles``, only images of more than this many megapixels are stored as tiles."""
    keep_progressive: bool = False
    """Whether progressive JPEGs are stored unchanged instead of being converted to baseline JPEGs."""
    equalise: Method = "none"
    """``match``: leave out images until no file property that shows in the pixels differs between the classes.
    ``recompress``: re-encode all images alike, which changes their pixels. ``none``: neither."""
    note: str = ""
    """What everyone who reads a verdict must know about the data set (see ``shards.manifest.note``). If empty, the note
    is read from a file in the source (``shards.sources.note_file``), if there is one."""

    def __post_init__(self) -> None:
        check_settings(self, as_flags=True)
        if self.note:
            checked_note(self.note, "--note")
        if self.lossy_over and self.lossy == "keep":
            raise InputError(
                f"--lossy-over {self.lossy_over:g} limits which images become tiles: give --lossy tiles too"
            )
        if self.lossy == "tiles" and self.equalise == "recompress":
            raise InputError(
                "--equalise recompress stores every image as JPEG, which leaves none for --lossy tiles: give only "
                "one of the two"
            )

    @property
    def tiling(self) -> Tiling:
        """Which images to store as tiles: none if ``recompress`` turns every image into a JPEG."""
        lossless = self.lossless == "tile" and self.equalise != "recompress"
        return Tiling(lossless, self.lossy == "tiles", self.lossy_over)
