"""Turns an image into model inputs, called rows.

Windows are drawn one or more times from the image itself, and as many times from each harmlessly changed copy
(``glass.predict.harmless_changes``). Each draw gives one row: the global view and the crops at the drawn windows.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from glass.predict.harmless_changes import ChangedImage, harmless_changes
from glass.predict.image_sources import ImageSource
from glass.predict.options import PredictOptions
from loaders.config import LoaderConfig
from loaders.decode.pixel_batch import DecodedImage, ImageViews, SeenImage, image_views
from loaders.windows.grid import grid_shape
from loaders.windows.sampling import sampling_rule
from shards.errors import machine_spared, require_sound_machine
from shards.images.pixels import RejectedImage

if TYPE_CHECKING:  # Numba takes a second to import
    from loaders.windows.detail import Detail

__all__ = ["PreparedImage", "every_cell", "prepare"]


@dataclass(frozen=True)
class PreparedImage:
    """The model inputs (rows) for one image: one row per draw from the image itself, then one per draw from each
    changed copy, in the order of ``changes``.
    """

    rows: list[ImageViews]
    changes: tuple[str, ...]
    size: tuple[int, int]
    """(height, width) of the image in pixels."""
    content_id: int


def prepare(source: ImageSource, config: LoaderConfig, options: PredictOptions) -> PreparedImage | RejectedImage:
    """Loads an image and prepares its model inputs, or returns the reason why it cannot be read. Does not keep the
    decoded image.

    May be called from several threads concurrently. Raises ``MachineTrouble`` if memory runs out or a disk fails.
    """
    try:
        with machine_spared(source.name, memory=True):
            return _prepared(source, config, options)
    except RejectedImage as error:
        return error
    except (OSError, ValueError) as error:  # one bad image must not prevent the verdicts on the others
        require_sound_machine(error, source.name)
        return RejectedImage("corrupt", f"{type(error).__name__}: {error}")


def _prepared(source: ImageSource, config: LoaderConfig, options: PredictOptions) -> PreparedImage:
    image = source.load()
    rule = sampling_rule(config.sampling)
    detail = rule.detail_of_file(image.encoded)

    def rows_of(seen: SeenImage, known: "Detail | None") -> list[ImageViews]:
        settings = every_cell(config, *seen.size) if options.coverage == "all" else config
        return image_views(seen, image.content_id, settings, range(options.draws), known)

    rows = rows_of(DecodedImage(image.pixels), detail)
    changes: dict[str, ChangedImage] = {}
    if options.stability:
        changes = harmless_changes(image.pixels, rows[0].global_view, with_file=rule.reads_files)
    for changed in changes.values():
        # Detail is stored for cells that are fractions of the image, so the original's applies to a changed copy, too.
        rows += rows_of(changed.image, rule.detail_of_file(changed.encoded) or detail)
    height, width = image.pixels.shape[:2]
    return PreparedImage(rows, tuple(changes), (height, width), image.content_id)


def every_cell(config: LoaderConfig, height: int, width: int) -> LoaderConfig:
    """Returns ``config``, changed to take a crop from every cell of the grid that tiles an image of this size.

    A grid has 1 to 64 cells.
    """
    rows, columns = grid_shape(np.array([height]), np.array([width]), config.crop_size)
    return replace(config, num_crops=int(rows[0] * columns[0]), sampling="all")
