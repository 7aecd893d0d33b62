"""Takes optimiser steps whose result does not depend on how samples are divided among micro-steps and processes.

The loss of a step is the total loss of its valid samples divided by their number, over all micro-steps and processes.
The fillers at the end of an epoch (:mod:`loaders.order.order`) therefore have no effect. A step does not wait for the
device.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import psutil
import torch
from torch.nn import functional

from glass.config.run_config import RunConfig
from glass.memory.memory_plan import advice
from glass.memory.out_of_memory import DoesNotFit, is_out_of_memory
from shards.cli.wording import counted
from shards.errors import InputError

__all__ = ["Engine", "Totals", "grouped"]

Batch = dict[str, Any]


class Totals:
    """Sums over the samples that this process has trained on in the current epoch.

    They are kept on the device, because reading them means waiting for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.train_time_s = 0.0
        self.data_wait_s = 0.0

    def add(self, losses: torch.Tensor, correct: torch.Tensor, is_valid: torch.Tensor) -> None:
        """Adds a batch.

        Each argument is (B,): each sample's loss, whether its prediction is right, and whether it is valid. The loss of
        an invalid sample must already be 0, and its ``correct`` False.
        """
        columns = torch.stack([losses.detach(), correct.to(losses.dtype), is_valid.to(losses.dtype)])
        self._sums += columns.sum(dim=1, dtype=torch.float64)

    def read(self, accelerator: Any) -> dict[str, float]:
        """Returns the mean ``loss``, the ``accuracy`` and the number of ``samples`` across all processes. Waits for the
        device.
        """
        loss, correct, samples = accelerator.reduce(self._sums.clone(), "sum").tolist()
        samples_or_one = max(samples, 1.0)
        return {"loss": loss / samples_or_one, "accuracy": correct / samples_or_one, "samples": samples}

    def state(self, accelerator: Any) -> dict[str, Any]:
        """Returns the state for a checkpoint: the sums over all processes, and this process's training and waiting
        times.
        """
        return {
            "sums": accelerator.reduce(self._sums.clone(), "sum").cpu(),
            "train_time_s": self.train_time_s,
            "data_wait_s": self.data_wait_s,
        }

    def load_state(self, state: dict[str, Any], is_main_process: bool) -> None:
        """Restores a state returned by :meth:`state`. The main process gets the sums over all processes; the others
        start at 0.
        """
        self._sums.copy_(state["sums"] if is_main_process else torch.zeros(3))
        self.train_time_s = float(state["train_time_s"])
        self.data_wait_s = float(state["data_wait_s"])


class Engine:
    """Takes optimiser steps with the model and the optimiser prepared by ``accelerator``.

    ``class_weights`` are the loss weights of real and generated images; if None, both are 1.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Any,
        model: Any,
        optimizer: Any,
        class_weights: tuple[float, float] | None = None,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.model = model
        self.optimizer = optimizer
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, device=accelerator.device)

    def step(self, batches: list[Batch], totals: Totals) -> None:
        """Takes one optimiser step over ``batches`` (one micro-step each, at least one), and adds the samples to
        ``totals``.

        Must be called on all processes, with the same number of batches. Does not wait for the device. If it does not
        fit in memory, raises ``DoesNotFit``, whose message suggests settings that should.
        """
        try:
            self._step(batches, totals)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DoesNotFit(self._does_not_fit(batches[0])) from error

    def _step(self, batches: list[Batch], totals: Totals) -> None:
        device = self.accelerator.device
        valid = [batch["is_valid"].to(device, non_blocking=True) for batch in batches]
        count = torch.stack([mask.sum() for mask in valid]).sum()
        count = self.accelerator.reduce(count, "sum").clamp(min=1)
        # DistributedDataParallel averages the processes' gradients; the loss is a sum.
        scale = self.accelerator.num_processes / count
        for index, (batch, is_valid) in enumerate(zip(batches, valid, strict=True)):
            last = index == len(batches) - 1
            # Only the last micro-step exchanges gradients between the processes.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                self._micro_step(batch, is_valid, scale, totals)
        if self.config.optim.clip_grad_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _micro_step(self, batch: Batch, is_valid: torch.Tensor, scale: torch.Tensor, totals: Totals) -> None:
        device = self.accelerator.device
        label = batch["label"].to(device, non_blocking=True)
        logits, _ = self.model(
            batch["global_view"].to(device, non_blocking=True),
            batch["local_crops"].to(device, non_blocking=True),
            batch["crop_mask"].to(device, non_blocking=True),
        )
        losses = functional.cross_entropy(logits, label, reduction="none", label_smoothing=self.config.label_smoothing)
        if self.class_weights is not None:
            losses = losses * self.class_weights[label]
        # ``where`` rather than a product with the mask, so that a NaN from an invalid sample does not spread.
        losses = torch.where(is_valid, losses, torch.zeros_like(losses))
        self.accelerator.backward(losses.sum() * scale)
        correct = (logits.detach().argmax(dim=1) == label) & is_valid
        totals.add(losses, correct, is_valid)

    def _does_not_fit(self, batch: Batch) -> str:
        device = self.accelerator.device
        memory = (
            torch.cuda.get_device_properties(device).total_memory
            if device.type == "cuda"
            else psutil.virtual_memory().total
        )
        images, crops = batch["local_crops"].shape[:2]
        precision = {"no": "float32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision)
        try:
            what = advice(self.config, precision, memory, self.accelerator.num_processes)
        except InputError:  # no step with these backbones was measured
            what = (
                "use smaller micro-batches (--set loader.global_batch_size=… --set grad_accum_steps=…) or --set "
                "model.crop_chunk=1"
            )
        return (
            f"a step with {counted(images, 'image')} of {counted(crops, 'crop')} does not fit into"
            f" the {memory / 2**30:.1f} GiB of {device}: {what}"
        )


def grouped(loader: Iterable[Batch], size: int, totals: Totals) -> Iterator[list[Batch]]:
    """Yields lists of ``size`` batches (the last may be shorter), and adds the time spent fetching them to ``totals``.

    ``Accelerator.accumulate`` cannot do this: if Accelerate did not prepare the loader, it does not detect the end of
    an epoch and would carry the last micro-steps over into the next.
    """
    batches = iter(loader)
    while True:
        start = time.perf_counter()
        group = []
        for batch in batches:
            group.append(batch)
            if len(group) == size:
                break
        totals.data_wait_s += time.perf_counter() - start
        if not group:
            return
        yield group
