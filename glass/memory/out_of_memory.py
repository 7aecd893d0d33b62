"""Recognises errors caused by exhausted GPU or main memory, and turns them into advice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shards.cli.wording import counted
from shards.errors import InputError

__all__ = ["DoesNotFit", "is_out_of_memory", "shrinking_batches_advised"]


class DoesNotFit(InputError):
    """Raised if a run's settings need more memory than there is. The error ends this run, but not a study consisting of
    several runs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that GPU or main memory was exhausted.

    On a CPU, PyTorch raises a plain ``RuntimeError`` in this case.
    """
    if isinstance(error, MemoryError | DoesNotFit | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


@contextmanager
def shrinking_batches_advised(local_crops: torch.Tensor) -> Iterator[None]:
    """Context manager for a forward pass outside of training: raises ``DoesNotFit`` if memory runs out.

    The message advises smaller batches. ``local_crops`` (B, N, 3, S, S) are the crops passed to the model.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        images, crops = local_crops.shape[:2]
        raise DoesNotFit(
            f"{counted(images, 'image')} of {counted(crops, 'crop')} do not fit into memory: use fewer images at a "
            "time (--batch-size, or loader.global_batch_size of the run) or fewer crops"
        ) from error
