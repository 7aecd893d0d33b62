"""Measures one trained model's accuracy, speed and memory when it predicts with a given number of crops."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from glass.config.run_config import RunConfig
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.measure.trained_model import TrainedModel
from glass.model.precision import autocast, resolve_precision
from glass.studies import device_memory
from glass.studies.crop_documents import InferenceRow
from glass.train.processes import run_device
from loaders import build_loader
from loaders.reading.open_shards import OpenShards

__all__ = ["inference_row"]

CURVE_METRICS = ("accuracy", "auroc", "ece", "brier", "nll")
LATENCY_ROUNDS = 15


def inference_row(data: OpenShards, run: Path, config: RunConfig, crops: int, draws: int) -> InferenceRow:
    """Measures the model in ``run`` with ``crops`` crops on the validation split.

    Accuracy, latency and memory are measured on the same device and at the same precision. Out-of-memory errors are not
    caught.
    """
    device = run_device()
    options = EvaluationOptions(device=device.type, num_crops=crops, draws=draws)
    document, table = evaluate_run(run, data.dataset, config.valid_split, options)
    trained = TrainedModel.open(run / "model", device=device.type, calibrated=False)
    batch = _batch(data, trained, config.valid_split, crops)
    precision, _ = resolve_precision(trained.precision, device)
    with torch.no_grad(), autocast(precision, device):
        latency_s = _latency(trained.model, batch)
        memory = device_memory.inference_memory(trained.model, batch)
    return {
        "num_crops": crops,
        "images": len(table),
        "metrics": {name: document["metrics"][name] for name in CURVE_METRICS},
        "intervals": {name: document["intervals"][name] for name in CURVE_METRICS},
        "images_per_s": document["timing"]["images_per_s"],
        "latency_s": latency_s,
        "memory": memory,
    }


def _batch(data: OpenShards, trained: TrainedModel, split: str, crops: int) -> dict[str, Any]:
    """Returns the first batch of ``split``, on the model's device."""
    with build_loader(data, split, trained.loader_config(trained.views(crops))) as loader:
        return dict(next(iter(loader)))


def _latency(model: Any, batch: dict[str, Any]) -> float:
    """Returns the model's median time, in seconds, for one image in ``batch``, which must be on the model's device."""
    one = [batch[name][:1] for name in ("global_view", "local_crops", "crop_mask")]
    times = []
    for _ in range(LATENCY_ROUNDS):
        start = time.perf_counter()
        model(*one)
        if one[0].device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
