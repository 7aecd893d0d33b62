"""Estimates, from a sample, how many bytes a source's images would take with ``--lossy tiles``."""

from collections import Counter

from PIL import ImageFile

from shards.cli.wording import by_reason, counted, size_in_words
from shards.images.formats import open_image
from shards.images.pixels import load_rgb
from shards.images.rejection import RejectedImage
from shards.images.stored_form import as_tiles
from shards.images.tiling import can_tile_lossy
from shards.sources.files import SourceFiles, evenly

__all__ = ["TilesPrice"]

_MOST_PIXELS = 60_000_000
"""Approximate maximum number of pixels to tile for the estimate. Tiling this many takes about six seconds."""


class TilesPrice:
    """Estimates the total size of all images that would be stored as tiles, from a sample of them."""

    def __init__(self, files: SourceFiles, over: float) -> None:
        """Reads images from ``files``. Only images of more than ``over`` megapixels would be stored as tiles."""
        self._files, self._over = files, over
        self._looked_at = 0
        self._kinds: Counter[str] = Counter()
        self._pixels: dict[str, int] = {}
        """Maps the name of each image that would become tiles to its number of pixels."""
        self._kept_bytes = 0

    def look_at(self, name: str, data: bytes, image: ImageFile.ImageFile) -> None:
        """Adds the image ``name`` to the estimate. ``data`` holds its bytes, from which ``image`` was opened."""
        self._looked_at += 1
        kind = image.format or ""
        if can_tile_lossy(data, kind, self._over):
            self._kinds[kind] += 1
            self._pixels[name] = image.width * image.height
            self._kept_bytes += len(data)

    def lines(self, num_images: int) -> list[str]:
        """Returns lines with the estimated size of the images that would be tiled, before and after tiling.

        The sizes are totals over the whole source; ``num_images`` is the number of images in it. Returns ``[]`` if no
        image in the sample would be tiled, or if those that would be cannot be decoded. Raises ``InputError`` if a
        store no longer responds.
        """
        pixels = sum(self._pixels.values())
        chosen = evenly(list(self._pixels), max(1, len(self._pixels) * _MOST_PIXELS // max(pixels, 1)))
        taken = {name: taken for name in chosen if (taken := self._tiled_bytes(name))}
        if not taken:
            return []
        tiled = sum(taken.values()) / sum(self._pixels[name] for name in taken) * pixels
        scale = num_images / self._looked_at
        exact = self._looked_at == num_images and len(taken) == len(self._pixels)
        about = "" if exact else "about "
        larger = f" of more than {self._over:g} megapixels" if self._over else ""
        return [
            f"  whole      {by_reason(dict(self._kinds.most_common()))}{larger}, decoded whole for a crop: "
            f"{about}{size_in_words(scale * self._kept_bytes)} in all, {about}{size_in_words(scale * tiled)} with "
            f"--lossy tiles ({counted(len(taken), 'image')} tried)"
        ]

    def _tiled_bytes(self, name: str) -> int:
        try:
            data = self._files.read(name)
            image = open_image(data)
            tiles = as_tiles(data, image.format or "", load_rgb(image, data))
        except RejectedImage:  # a build reports each of them
            return 0
        return len(tiles or data)
