"""Training on a GPU. Each test runs training in its own process, because a process keeps its first device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shards.manifest.dataset import ShardDataset

ROOT = Path(__file__).resolve().parents[3]

STEPS_WITHOUT_WAITING = """
import sys
import torch
from pathlib import Path
from glass.train.step import Engine, Totals
from glass.config.overrides import apply_overrides
from glass.presets import load_preset
from glass.train.processes import make_accelerator
from glass.train.run import prepared_model

config = apply_overrides(load_preset("glass_tiny"), ["optim.clip_grad_norm=1"])
accelerator, precision = make_accelerator(config, Path(sys.argv[1]))
model, optimizer, _ = prepared_model(config, accelerator, with_weights=False)
device = accelerator.device
batch = {
    "global_view": torch.zeros(4, 3, 64, 64, dtype=torch.uint8, device=device),
    "local_crops": torch.zeros(4, 4, 3, 96, 96, dtype=torch.uint8, device=device),
    "crop_mask": torch.ones(4, 4, dtype=torch.bool, device=device),
    "label": torch.zeros(4, dtype=torch.int64, device=device),
    "is_valid": torch.ones(4, dtype=torch.bool, device=device),
}
engine, totals = Engine(config, accelerator, model, optimizer), Totals(device)
for _ in range(3):
    engine.step([batch, batch], totals)
torch.cuda.synchronize()
torch.cuda.set_sync_debug_mode("error")
engine.step([batch, batch], totals)
torch.cuda.set_sync_debug_mode("default")
print(precision, totals.read(accelerator)["samples"])
"""


@pytest.fixture
def shards(request):
    """The shards named by the environment variable; otherwise shards are built, for which a rented machine may lack
    packages."""
    named = os.environ.get("GLASS_GPU_TEST_SHARDS")
    return Path(named) if named else request.getfixturevalue("synthetic_shards")


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.gpu
def test_a_step_never_waits_for_the_device(tmp_path):
    """torch itself raises an error if anything in the step reads from the GPU."""
    done = run(["-c", STEPS_WITHOUT_WAITING, str(tmp_path)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "32.0"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "fp16", "float32"])
def test_a_run_on_the_gpu(shards, tmp_path, precision):
    """The run is interrupted and resumed in each precision. With fp16, the checkpoint includes the gradient scaler."""
    dataset = ShardDataset.open(shards)
    images = len(dataset.split_rows("train"))
    settings = ["loader.global_batch_size=4", "epochs=2", f"precision={precision}"]
    settings.append(f"loader.global_size={dataset.info.global_size}")
    command = [
        "train.py",
        "--data",
        str(shards),
        "--preset",
        "glass_tiny",
        "--output",
        str(tmp_path / "run"),
        *(word for setting in settings for word in ("--set", setting)),
    ]
    done = run(command)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["environment"]["device"] != "cpu"
    if precision != "auto":
        assert record["environment"]["precision"] == precision
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["train_images"] for line in lines] == [images, images]
    assert json.loads(lines[-1])["peak_vram_bytes"] > 0
    # Without its last checkpoint and its mark the run is one that was cut off after one epoch.
    newest = max((tmp_path / "run/checkpoints").glob("step-*"))
    (newest / "checkpoint.json").unlink()
    (tmp_path / "run/run.json").write_text(json.dumps(record | {"finished": None}))
    again = run(command)
    assert again.returncode == 0, again.stderr
    assert "continuing from" in again.stderr
