"""From an image to the rows that a detector scores: its draws, and those of harmless changes."""

from dataclasses import dataclass

from glass.predict.image_sources import ImageSource
from glass.predict.options import PredictOptions
from glass.predict.view_rows import ViewRow, covering_rows, harmless_changes, view_rows
from loaders.config import LoaderConfig
from loaders.windows.sampling import sampling_rule
from shards.errors import machine_spared, require_sound_machine
from shards.images.pixels import RejectedImage

__all__ = ["PreparedImage", "prepare"]


@dataclass(frozen=True)
class PreparedImage:
    """An image as rows of batches: its draws, then those of each of ``changes``."""

    rows: list[ViewRow]
    changes: tuple[str, ...]
    size: tuple[int, int]
    content_id: int


def prepare(source: ImageSource, config: LoaderConfig, options: PredictOptions) -> PreparedImage | RejectedImage:
    """All that is wanted of an image's pixels, which are then dropped; what cannot be read is
    returned as its reason. Runs in many threads at a time. Raises ``MachineTrouble``."""
    try:
        with machine_spared(source.name, memory=True):
            return _prepared(source, config, options)
    except RejectedImage as error:
        return error
    except (OSError, ValueError) as error:  # no image may cost the others their verdicts
        require_sound_machine(error, source.name)
        return RejectedImage("corrupt", f"{type(error).__name__}: {error}")


def _prepared(source: ImageSource, config: LoaderConfig, options: PredictOptions) -> PreparedImage:
    make_rows = covering_rows if options.coverage == "all" else view_rows
    image = source.load()
    rule = sampling_rule(config.sampling)
    detail = rule.detail_of_file(image.encoded)
    rows = make_rows(image.pixels, image.content_id, config, options.draws, detail)
    changes = harmless_changes(image.pixels) if options.stability else {}
    for changed in changes.values():
        # Cells are shares of an image, so the original's detail is that of its changes.
        known = rule.detail_of_file(changed.encoded) or detail
        rows += make_rows(changed.pixels, image.content_id, config, options.draws, known)
    height, width = image.pixels.shape[:2]
    return PreparedImage(rows, tuple(changes), (height, width), image.content_id)
