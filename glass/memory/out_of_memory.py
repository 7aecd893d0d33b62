"""When the memory is too small for what was asked: on a GPU or a CPU, in a step or in a score."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shards.cli.wording import counted
from shards.errors import InputError

__all__ = ["DoesNotFit", "is_out_of_memory", "shrinking_batches_advised"]


class DoesNotFit(InputError):
    """The memory is too small for these settings: a run's end, not that of a study."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's or the machine's memory was too small. For the latter PyTorch raises a plain
    ``RuntimeError``."""
    if isinstance(error, MemoryError | DoesNotFit | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


@contextmanager
def shrinking_batches_advised(local_crops: torch.Tensor) -> Iterator[None]:
    """Context manager for a forward pass over (B, N, 3, S, S) crops outside of training: raises ``DoesNotFit``, with
    advice, if the memory is too small for it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        images, crops = local_crops.shape[:2]
        raise DoesNotFit(
            f"{counted(images, 'image')} of {counted(crops, 'crop')} do not fit into the"
            " memory: take fewer images at a time (--batch-size, or loader.global_batch_size of the"
            " run) or fewer crops"
        ) from error
