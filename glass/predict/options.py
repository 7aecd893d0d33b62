"""The options of a prediction."""

from dataclasses import dataclass

from loaders.windows.sampling import SAMPLING_RULES
from shards.errors import InputError
from shards.files.limits import MOST_THREADS

__all__ = ["PredictOptions"]


@dataclass(frozen=True)
class PredictOptions:
    """The options of a prediction. None stands for the setting used in training."""

    num_crops: int | None = None
    sampling: str | None = None
    coverage: str = "sample"
    """``sample``: a sample of windows, as in training. ``all``: a crop from every cell of the grid that tiles the
    image; in this mode, ``num_crops`` and ``sampling`` must not be set."""
    draws: int = 1
    """How many times windows are drawn per image. The score is computed from the mean logits over all draws."""
    stability: bool = True
    """Whether to also score the image's copies from ``glass.predict.harmless_changes``, with the same number of draws.
    A verdict is unstable if any copy gets another one, even ``uncertain``."""
    batch_size: int | None = None
    """Number of model inputs per forward pass. Each draw of windows from an image or from one of its changed copies is
    one input. With ``coverage="all"``, inputs are always scored one at a time."""
    num_threads: int = 2
    """Number of threads that read and decode images."""

    def __post_init__(self) -> None:
        if self.coverage not in ("sample", "all"):
            raise InputError(f"coverage={self.coverage!r} must be sample or all")
        for name in ("num_crops", "draws", "batch_size", "num_threads"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name}={value!r} must be a whole number of at least 1")
        if self.num_threads > MOST_THREADS:
            raise InputError(f"num_threads={self.num_threads} must be at most {MOST_THREADS:,}")
        if self.sampling is not None and self.sampling not in SAMPLING_RULES:
            raise InputError(f"sampling={self.sampling!r} is not one of {', '.join(SAMPLING_RULES)}")
        if self.coverage == "all" and (self.num_crops or self.sampling):
            raise InputError(
                "coverage=all takes a crop from every cell: leave out the number of crops and the sampling rule"
            )
