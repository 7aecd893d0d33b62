"""Passes crops through a backbone in chunks, so that only one chunk's activations are in memory at a time.

A chunk's activations are discarded after its forward pass and recomputed during the backward pass; only its features
are kept. The last chunk keeps its activations, because the backward pass starts with it. So all chunks but the last are
computed twice.

As long as crops are processed independently, the result equals that of a single pass over all crops. Recomputation uses
the same dropout and stochastic-depth masks. The gradients of all chunks are summed in float32 even if the network
computes in half precision. BatchNorm layers, however, make crops depend on each other:

* a chunk is normalised by the mean and variance of its own B · ``crop_chunk`` crops;
* the running statistics are updated once per forward pass, with the mean of the chunks' statistics, weighted by their
  numbers of crops. Recomputing a chunk does not update them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["RunningStatistics", "as_images", "chunked_features", "keep_statistics_in_backward"]

BatchNorm = nn.modules.batchnorm._BatchNorm


class RunningStatistics:
    """Copies and restores the running means, variances and batch counts of BatchNorm layers.

    Covers only the layers of ``network`` that are in training mode.
    """

    def __init__(self, network: nn.Module) -> None:
        layers = [
            layer
            for layer in network.modules()
            if isinstance(layer, BatchNorm) and layer.training and layer.running_mean is not None
        ]
        # ``data`` hides the changes from autograd, which would otherwise refuse the backward pass, although that
        # pass uses the batch's own statistics and never reads these.
        self.moments = [
            buffer.data for layer in layers for buffer in (layer.running_mean, layer.running_var) if buffer is not None
        ]
        self.counts = [layer.num_batches_tracked.data for layer in layers if layer.num_batches_tracked is not None]

    def __bool__(self) -> bool:
        return bool(self.moments)

    def copy(self) -> list[torch.Tensor]:
        """Returns copies of the current values."""
        return [buffer.clone() for buffer in (*self.moments, *self.counts)]

    def restore(self, values: list[torch.Tensor]) -> None:
        """Restores the values that :meth:`copy` returned."""
        if values:
            torch._foreach_copy_([*self.moments, *self.counts], values)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Context manager: the layers compute as usual, but their running statistics are restored on exit."""
        before = self.copy()
        try:
            yield
        finally:
            self.restore(before)


def chunked_features(backbone: nn.Module, local_crops: torch.Tensor, crop_chunk: int) -> torch.Tensor:
    """Computes features (B, N, D) of ``local_crops`` (B, N, 3, C, C) uint8, ``crop_chunk`` crops per image at a time.

    The gradient is exact. For the effect on BatchNorm layers, see the module's docstring.
    """
    batch_size, num_crops = local_crops.shape[:2]
    statistics = RunningStatistics(backbone)
    before = statistics.copy()
    mean = [torch.zeros_like(moment) for moment in statistics.moments]
    recompute = torch.is_grad_enabled() and any(p.requires_grad for p in backbone.parameters())

    def features_of(crops: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        return backbone(as_images(crops[:, start:stop]))

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics.unchanged()

    features = []
    with _autocast_without_cache(local_crops.device.type):
        for start in range(0, num_crops, crop_chunk):
            stop = min(start + crop_chunk, num_crops)
            if recompute and stop < num_crops:
                # ``local_crops`` is passed whole: nothing is copied, and ``checkpoint`` derives from it the device
                # whose random state it must restore.
                chunk = checkpoint(features_of, local_crops, start, stop, use_reentrant=False, context_fn=contexts)
            else:
                chunk = features_of(local_crops, start, stop)
            features.append(chunk.unflatten(0, (batch_size, stop - start)))
            if statistics:
                share = (stop - start) / num_crops
                torch._foreach_add_(mean, statistics.moments, alpha=share)
                if stop < num_crops:
                    statistics.restore(before)
                else:  # keeps the batch counts, which this pass has raised by one
                    torch._foreach_copy_(statistics.moments, mean)
    return torch.cat(features, dim=1)


def as_images(crops: torch.Tensor) -> torch.Tensor:
    """Reshapes (B, N, 3, C, C) to (B · N, 3, C, C): as a view where possible, else as a channels-last copy."""
    return crops.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2)


def _autocast_without_cache(device_type: str) -> AbstractContextManager[None]:
    """Returns an autocast context like the active one but without its weight cache, so each chunk casts the weights
    anew.

    If the chunks shared one cast copy of the weights, their gradients would be summed in half precision.
    """
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    dtype = torch.get_autocast_dtype(device_type)
    return torch.autocast(device_type, dtype=dtype, cache_enabled=False)


def keep_statistics_in_backward(network: nn.Module) -> None:
    """Prevents BatchNorm layers from updating their running statistics during the backward pass.

    Needed with timm's gradient checkpointing, which runs the layers a second time in the backward pass.
    """
    kept: dict[nn.Module, AbstractContextManager[None]] = {}

    def enter(layer: nn.Module, _: object) -> None:
        # In a compiled graph the second run does not update the statistics anyway.
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            kept[layer] = RunningStatistics(layer).unchanged()
            kept[layer].__enter__()

    def leave(layer: nn.Module, *_: object) -> None:
        if layer in kept:
            kept.pop(layer).__exit__(None, None, None)

    for layer in network.modules():
        if isinstance(layer, BatchNorm):
            layer.register_forward_pre_hook(enter)
            layer.register_forward_hook(leave, always_call=True)
