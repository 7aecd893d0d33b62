"""Scores all readable images in a split with a model, deterministically and in the loader's order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed

from glass.memory.out_of_memory import shrinking_batches_advised
from glass.model.precision import autocast, resolve_precision

__all__ = ["Predictions", "joined", "score"]

Array = npt.NDArray[Any]
GENERATED = 1
"""The label of generated images, which is also the index of their logit."""


@dataclass(frozen=True)
class Predictions:
    """A model's scores for n samples with N windows each, in the loader's order."""

    sample_key: list[str]
    """n sample keys, which identify the samples in their data set."""
    content_id: Array
    """(n,) int64 content ids. Images with equal pixels have the same id."""
    label: Array
    """(n,) int64: 1 = generated, 0 = real."""
    logits: Array
    """(n, 2) float32: real, generated."""
    attention_weights: Array | None
    """(n, N) float32: 0 for masked windows. None for a model without attention."""
    crop_windows: Array
    """(n, N, 4) int32: top, left, height, width in source pixels."""
    crop_mask: Array
    """(n, N) bool: False for masked windows, which are only padding."""
    temperature: float = 1.0
    """Temperature of the calibration in use; 1 if there is none."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def probability(self) -> Array:
        """(n,) float64: softmax probability of "generated" from logits / ``temperature``."""
        return np.exp(-np.logaddexp(0.0, -self.margin / self.temperature))

    @property
    def margin(self) -> Array:
        """(n,) float64: logit of "generated" minus logit of "real"."""
        logits = self.logits.astype(np.float64)
        return logits[:, GENERATED] - logits[:, 0]


def score(
    model: Any, loader: Iterable[Mapping[str, Any]], device: torch.device | str, precision: str, *, gather: bool = True
) -> Predictions:
    """Scores every valid sample of ``loader`` with ``model``, then restores the model's training mode.

    ``precision`` is as in ``RunConfig``. Fillers and samples that could not be decoded are left out. In a process group
    with ``gather=True``, all ranks must call this function, each with its own loader; each call returns the predictions
    of all ranks. Raises ``ValueError`` if the loader yields no batch, and ``DoesNotFit`` if a batch does not fit in
    memory.
    """
    number_format, _ = resolve_precision(precision, device)
    was_training = model.training
    model.eval()
    batches = []
    try:
        with torch.no_grad(), autocast(number_format, device):
            for batch in loader:
                batches.append(_scored(model, batch, torch.device(device)))
    finally:
        model.train(was_training)
    if not batches:
        raise ValueError("the loader returned no batch")
    own = _stacked(batches)
    return _merged(_gathered(own) if gather else [own])


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Concatenates the predictions of all ``parts``, which must come from the same model and calibration."""

    def column(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    names = ("content_id", "label", "logits", "attention_weights", "crop_windows", "crop_mask")
    keys = [key for part in parts for key in part.sample_key]
    return replace(parts[0], sample_key=keys, **{name: column(name) for name in names})


def _scored(model: Any, batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Runs the model on one batch and returns its results. They stay on the device, so the call does not wait for the
    computation."""
    with shrinking_batches_advised(batch["local_crops"]):
        logits, attention_weights = model(
            batch["global_view"].to(device, non_blocking=True),
            batch["local_crops"].to(device, non_blocking=True),
            batch["crop_mask"].to(device, non_blocking=True),
        )
    kept = ("content_id", "label", "crop_windows", "crop_mask", "is_valid", "sample_key")
    return {"logits": logits, "attention_weights": attention_weights} | {k: batch[k] for k in kept}


def _stacked(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Stacks each entry over all batches, which have the same size B. Returns a dict that maps each entry's name to an
    array (batches, B, …), or to None if the entry is None."""
    return {
        name: None if batches[0][name] is None else np.stack([_array(b[name]) for b in batches]) for name in batches[0]
    }


def _array(values: Any) -> Array:
    return values.cpu().numpy() if torch.is_tensor(values) else np.asarray(values)


def _gathered(own: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the results of every rank, in rank order."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [own]
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, own)
    return parts


def _merged(parts: list[dict[str, Any]]) -> Predictions:
    """Merges the predictions of all ranks, in the loader's order.

    A global batch consists of rank 0's part, followed by rank 1's, and so on.
    """

    def in_order(name: str) -> Array:
        joined = np.stack([part[name] for part in parts], axis=1)  # (batches, ranks, B, …)
        return joined.reshape(-1, *joined.shape[3:])

    valid = in_order("is_valid")
    weighs = parts[0]["attention_weights"] is not None
    return Predictions(
        sample_key=[str(key) for key in in_order("sample_key")[valid]],
        content_id=in_order("content_id")[valid],
        label=in_order("label")[valid],
        logits=in_order("logits")[valid],
        attention_weights=in_order("attention_weights")[valid] if weighs else None,
        crop_windows=in_order("crop_windows")[valid],
        crop_mask=in_order("crop_mask")[valid],
    )
