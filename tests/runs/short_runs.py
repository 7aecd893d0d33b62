"""Short runs of ``train.py`` with three epochs, and their results without time measurements."""

import json
import os
import subprocess
from pathlib import Path

import safetensors.torch
import torch

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.presets import load_preset

# A ViT: no batch statistics, so that equal global batches give equal steps on any number of ranks.
# 12 training images: 3 batches of 4, or 2 steps of 2 + 1 micro-steps.
SETTINGS = [
    "model.global_backbone=test_vit",
    "model.dropout=0.2",
    "loader.global_batch_size=4",
    "loader.num_crops=2",
    "loader.crop_size=32",
    "loader.decode=full",
    "epochs=3",
    "optim.lr=1e-3",
    "tensorboard=false",
    "cpu_threads=1",
]


TIMES = ("images_per_s", "data_wait_s", "train_time_s", "valid_time_s", "epoch_time_s")


def settings(*overrides: str) -> RunConfig:
    return apply_overrides(load_preset("glass_tiny"), [*SETTINGS, *overrides])


def arguments(data: Path, output: Path, *overrides: str) -> list[str]:
    sets = [word for override in (*SETTINGS, *overrides) for word in ("--set", override)]
    return ["--data", str(data), "--preset", "glass_tiny", "--output", str(output), *sets]


def curve(run: Path) -> list[dict]:
    """The lines of ``metrics.jsonl`` without the fields that depend on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in TIMES} for line in lines]


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").glob("step-*"))
    return safetensors.torch.load_file(newest / "model.safetensors")


def assert_same_run(first: Path, second: Path) -> None:
    """Asserts that two runs have the same metrics and weights, bit for bit."""
    assert curve(first) == curve(second)
    own, other = weights(first), weights(second)
    assert all(torch.equal(own[name], other[name]) for name in own)


ROOT = Path(__file__).resolve().parents[2]


PATIENCE_S = 600
"""Time limit of a run in seconds. A run takes half a minute, but on shared machines, stalls of three minutes were
seen."""


def start(command: list[str], **options) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
