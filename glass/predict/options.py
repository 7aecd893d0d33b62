"""The options of a prediction."""

from dataclasses import dataclass

from loaders.windows.sampling import sampling_rule
from shards.errors import InputError
from shards.files.limits import MOST_THREADS

__all__ = ["PredictOptions"]


@dataclass(frozen=True)
class PredictOptions:
    """The options of a prediction; None keeps the setting that the model was trained with."""

    num_crops: int | None = None
    sampling: str | None = None
    coverage: str = "sample"
    """``sample``, or ``all``: a crop from every cell of the grid that tiles the image. ``all`` excludes ``num_crops``
    and ``sampling``."""
    draws: int = 1
    """Number of draws of windows; the score is that of the mean logits."""
    stability: bool = True
    """Also score the image after each of ``glass.predict.harmless_changes``, with as many draws. An image is unstable
    if any change gives another verdict, even if only ``uncertain``."""
    batch_size: int | None = None
    """Rows (draws of images) per forward pass."""
    num_threads: int = 2
    """Threads that read and decode."""

    def __post_init__(self) -> None:
        if self.coverage not in ("sample", "all"):
            raise InputError(f"coverage={self.coverage!r} must be sample or all")
        for name in ("num_crops", "draws", "batch_size", "num_threads"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name}={value!r} must be a whole number of at least 1")
        if self.num_threads > MOST_THREADS:
            raise InputError(f"num_threads={self.num_threads} must be at most {MOST_THREADS:,}")
        if self.sampling is not None:
            sampling_rule(self.sampling)
        if self.coverage == "all" and (self.num_crops or self.sampling):
            raise InputError(
                "coverage=all takes a crop from every cell: leave out the number of crops and the sampling rule"
            )
