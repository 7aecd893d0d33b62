"""Loader settings: a frozen dataclass that is validated on construction."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from shards.errors import InputError
from shards.files.limits import MOST_THREADS
from shards.settings import Seed, Share, check_settings

__all__ = ["LoaderConfig"]

Backend = Literal["auto", "dali", "nvjpeg", "turbo", "reference"]
Decode = Literal["auto", "window", "full"]
Device = Literal["cpu", "cuda"]
Verify = Literal["first-touch", "off"]
RemoteReads = Literal["auto", "range", "whole"]
Number = Annotated[int, Meta(ge=1, le=1 << 20)]
"""An integer of at least 1. It has an upper limit because settings may come from an untrusted file."""
Size = Annotated[int, Meta(ge=1, le=4096)]
"""An integer of at least 1, with a tighter upper limit than :data:`Number`. Larger crops and views would not fit into
memory, and the images would wrongly be reported as bad."""
Threads = Annotated[int, Meta(ge=1, le=MOST_THREADS)]


@dataclass(frozen=True)
class LoaderConfig:
    """Settings for :func:`loaders.build_loader`. The constructor raises ``InputError``, naming the setting, if a value
    is invalid."""

    backend: Backend = "auto"
    """The decoder. ``dali`` is NVIDIA DALI. ``nvjpeg`` is torchvision, which uses nvJPEG on a GPU and libjpeg-turbo on
    a CPU. ``turbo`` is libjpeg-turbo in threads. ``reference`` is Pillow. ``auto`` is ``turbo`` on a CPU; on a GPU it
    is ``dali``, or ``nvjpeg`` if DALI is not installed."""
    decode: Decode = "auto"
    """``window`` splices each crop out of the JPEG. ``full`` decodes whole images. ``auto`` picks the cheaper way for
    each image."""
    global_batch_size: Number = 32
    """Number of samples per batch, summed over all ranks; must be a multiple of the world size."""
    num_crops: Size = 4
    """Number of native-resolution crops per image (N)."""
    crop_size: Size = 224
    """Side of a crop in pixels (C)."""
    global_size: Size = 224
    """Side of the global view in pixels (S); must match the views stored in the shards."""
    sampling: str = "stratified_grid"
    """Name of the rule in ``loaders.windows.sampling`` that places the windows. With any rule but ``texture``, images
    with identical pixels get identical windows; ``texture`` also depends on the JPEG file's bits."""
    seed: Seed = 0
    """Seed for the sample order and the windows, 0 … 2⁶³-1."""
    shuffle: bool | Literal["shard"] = True
    """``True`` permutes the samples in each epoch. ``False`` keeps the manifest's order and always uses the windows of
    epoch 0, as evaluation does. ``shard`` permutes the shards, and then the samples within each group of
    ``shuffle_shards`` consecutive shards. Shards in a store are thus fetched one after another."""
    shuffle_shards: Number = 16
    """With ``shuffle="shard"``: the number of consecutive shards whose samples are mixed. A larger number mixes better,
    but takes more room in the cache."""
    shuffle_lanes: Number = 1
    """With ``shuffle="shard"``: the number of equal parts, called lanes, into which the sequence of shards is cut.
    Every batch takes equally many samples from each lane. With one lane per machine, each machine fetches only its own
    shards. Must divide ``global_batch_size``."""
    class_balanced: bool = False
    """If true, both labels are equally frequent in each epoch, and samples of the rarer label are repeated."""
    augment: Share = 0.0
    """Share of the samples, 0 … 1, that are altered as images on the web often are: re-saved, resized, blurred or made
    noisy. Both the crops and the global view are altered. Applies only if ``shuffle`` is on, so never in evaluation."""
    num_threads: Threads = 2
    """Number of threads that read, splice and decode."""
    prefetch_batches: Number = 2
    """Number of batches prepared ahead of the consumer."""
    verify: Verify = "first-touch"
    """``first-touch`` compares each sample's bytes with their checksums when this process first reads the sample. In
    measurements, this made the first epoch about a quarter longer. ``off`` compares no checksums."""
    remote_reads: RemoteReads = "auto"
    """How shards in a store are read. ``whole`` fetches whole shards into a local cache. ``range`` fetches only the
    bytes that a batch needs. ``auto`` measures the connection to the store and picks the cheaper way."""
    device: Device = "cpu"
    """Device that holds the batch tensors."""

    def __post_init__(self) -> None:
        check_settings(self, "loader.")
        self._check_order()

    def for_evaluation(self, **changes: Any) -> "LoaderConfig":
        """Returns a copy of these settings for evaluation, with ``changes`` applied: the manifest's order, the windows
        of epoch 0, every image once and unchanged, and every checksum compared.

        ``augment`` keeps its value, which has no effect without ``shuffle``. Raises ``InputError`` as the constructor
        does.
        """
        fixed: dict[str, Any] = {"decode": "auto", "shuffle": False, "class_balanced": False, "verify": "first-touch"}
        return replace(self, **(fixed | changes))

    def _check_order(self) -> None:
        if self.shuffle != "shard":
            return
        if self.class_balanced:
            raise InputError(
                "loader.class_balanced=true draws samples from all shards at once, but loader.shuffle='shard' does "
                "not: set one of them to false"
            )
        if self.global_batch_size % self.shuffle_lanes:
            raise InputError(
                f"loader.global_batch_size={self.global_batch_size} is not a multiple of "
                f"loader.shuffle_lanes={self.shuffle_lanes}: change one of them"
            )
