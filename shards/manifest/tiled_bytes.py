"""Computes what tiling costs: the size of images in the source and as tiled TIFFs, by source format."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from shards.cli.wording import size_in_words
from shards.manifest.info import TiledBytes

__all__ = ["describe_price", "tiled_bytes"]

_PALETTES = frozenset({"P", "PA", "1"})
_BOTH = frozenset({"WEBP", "TIFF"})  # formats with a lossless and a lossy mode


def tiled_bytes(table: pa.Table) -> dict[str, TiledBytes]:
    """Counts the images stored as tiled TIFFs, and adds up their sizes before and after, by source format.

    ``table`` is a manifest. ``WEBP`` and ``TIFF`` have separate entries for lossless and lossy images. Palette images
    in PNG, BMP and TIFF are counted separately too, because they grow by a different factor than full-colour images.
    """
    names = ("format", "mode", "lossless", "source_bytes", "image_length")
    tiled = table.filter(pc.equal(table.column("stored_as"), "tiled")).select(names)
    columns = [tiled.column(name).to_pylist() for name in names]
    found: dict[str, list[int]] = {}
    for kind, mode, lossless, before, after in zip(*columns, strict=True):
        counts = found.setdefault(_name(kind, mode, lossless), [0, 0, 0])
        counts[0], counts[1], counts[2] = counts[0] + 1, counts[1] + before, counts[2] + after
    return {name: TiledBytes(*counts) for name, counts in sorted(found.items())}


def _name(kind: str, mode: str, lossless: bool) -> str:
    if mode in _PALETTES and kind in ("PNG", "BMP", "TIFF"):
        return f"{kind} palette"
    if kind in _BOTH:
        return f"{kind} {'lossless' if lossless else 'lossy'}"
    return kind


def describe_price(tiled: Mapping[str, TiledBytes]) -> str:
    """Returns text such as "WEBP lossy 13.1 × (8.2 MB → 107 MB), PNG 0.98 × (5 MB → 4.9 MB)", largest factor first."""
    ratios = {name: price.tiled_bytes / max(price.source_bytes, 1) for name, price in tiled.items()}
    return ", ".join(
        f"{name} {ratios[name]:.3g} × ({size_in_words(tiled[name].source_bytes)} → "
        f"{size_in_words(tiled[name].tiled_bytes)})"
        for name in sorted(tiled, key=lambda name: -ratios[name])
    )
