"""Commands are killed by SIGKILL many times and repeated. The final files are the same as without any kill.

Each kill happens after some progress (shards or steps done since the start), plus up to 50 ms drawn from a fixed seed.
``GLASS_BUILD_KILLS``, ``GLASS_INDEX_KILLS`` and ``GLASS_TRAIN_KILLS`` set the number of kills.
"""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.machine.folder_contents import contents
from tests.runs.short_runs import curve

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300
SMALL_RUN = [
    word
    for setting in (
        "model.global_backbone=test_vit",
        "model.dropout=0.2",
        "loader.global_batch_size=4",
        "loader.num_crops=2",
        "loader.crop_size=32",
        "tensorboard=false",
        "cpu_threads=1",
    )
    for word in ("--set", setting)
]
DIES_AT_A_RENAME = """
import sys
from tests.machine.killed_at_rename import die_at_rename
from train import main
die_at_rename(int(sys.argv[1]))
sys.exit(main(sys.argv[3:]))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


def kills_wanted(name: str, default: int) -> int:
    return int(os.environ.get(f"GLASS_{name}_KILLS", str(default)))


def start(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts a command. Its output goes to the file ``log``, because a full pipe would block it."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
    )


def said(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode()[-4000:]


def finish(command: list[str]) -> None:
    with tempfile.TemporaryFile() as log:
        process = start(command, log)
        process.wait(timeout=PATIENCE_S)
        assert process.returncode == 0, said(log)


def kill_often(command: list[str], progress: Callable[[], int], total: int, kills: int) -> int:
    """Starts the command and kills it after some progress, up to ``kills`` times. Returns how many of these kills hit a
    command that was still running."""
    dice, landed = random.Random(17), 0
    for number in range(kills):
        before = progress()
        # The progress that is left is shared out, so that no life gets to the end.
        wanted = min(before + 1, total - 1) if number % 5 else before
        with tempfile.TemporaryFile() as log:
            process = start(command, log)
            limit = time.monotonic() + PATIENCE_S
            while progress() < wanted or (wanted == before and not _works(process, limit)):
                assert time.monotonic() < limit
                if process.poll() is not None:
                    break
                time.sleep(0.002)
            time.sleep(dice.random() * 0.05)
            ended = process.poll() is not None
            process.kill()
            assert process.wait() == (0 if ended else -signal.SIGKILL), said(log)
        if ended:
            break
        landed += 1
    return landed


def _works(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Returns whether the process has used more than 0.7 s of CPU time and is therefore importing, reading or writing.
    Also returns True if the process no longer exists, or if the time ``limit`` has passed."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return True
    busy_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return busy_s > 0.7 or time.monotonic() > limit


def report(what: str, landed: int) -> None:
    """Prints how many kills landed, so that the number appears in the log next to the test's result."""
    sys.stderr.write(f"\n{what}: {landed} kills landed\n")


def test_a_build_killed_fifty_times(tmp_path, encode_image):
    kills = kills_wanted("BUILD", 50)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for index in range(4 * (kills + 10)):
        folder = tmp_path / "images" / ("real" if index % 2 else "fake/gan")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.jpg").write_bytes(encode_image(np.roll(pixels, index, 0), "JPEG"))
    command = ["-m", "scripts.build_shards", str(tmp_path / "images")]
    options = ["--samples-per-shard", "4", "--global-size", "64", "--workers"]
    finish([*command, str(tmp_path / "straight"), *options, "1"])
    straight = contents(tmp_path / "straight")
    shards = sum(name.endswith(".tar") for name in straight)
    out = tmp_path / "out"

    def done() -> int:
        return len(list(out.glob("*-*.parquet"))) if out.exists() else 0

    landed = kill_often([*command, str(out), *options, "1"], done, shards, kills)
    finish([*command, str(out), *options, "2"])
    assert contents(out) == straight
    assert landed >= 0.9 * kills
    report("build", landed)


def test_an_index_killed_often(tmp_path, encode_image):
    kills = kills_wanted("INDEX", 10)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    (tmp_path / "tars").mkdir()
    for number in range(kills + 4):
        with tarfile.open(tmp_path / "tars" / f"train-{number:03d}.tar", "w") as tar:
            for index in range(60):
                jpeg = encode_image(np.roll(pixels, 60 * number + index, 0), "JPEG")
                for name, data in ((f"{index}.jpg", jpeg), (f"{index}.cls", b"%d" % (index % 2))):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    before = contents(tmp_path / "tars")
    command = ["-m", "scripts.index_shards", str(tmp_path / "tars"), "--split", "0.5,0.25,0.25"]
    finish([*command, "--out", str(tmp_path / "straight")])
    out = tmp_path / "out"

    def done() -> int:
        return len(list(out.glob("*.sidecar.parquet"))) if out.exists() else 0

    landed = kill_often([*command, "--out", str(out)], done, kills + 4, kills)
    finish([*command, "--out", str(out)])
    assert contents(out) == contents(tmp_path / "straight")
    assert contents(tmp_path / "tars") == before
    assert landed >= 0.8 * kills
    report("index", landed)


def files(run: Path) -> set[str]:
    """Returns the relative paths of all files in a run's folder."""
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_a_training_run_killed_twenty_times(synthetic_shards, tmp_path):
    kills = kills_wanted("TRAIN", 20)
    epochs = (2 * kills + 8) // 3 + 1  # three steps each; a life may take two of them
    command = ["train.py", "--data", str(synthetic_shards), "--preset", "glass_tiny"]
    # Of every second step and every third: what a kill leaves of one is not always written again.
    command += ["--checkpoint-every", "2", "--set", f"epochs={epochs}", *SMALL_RUN]
    finish([*command, "--output", str(tmp_path / "straight")])
    run = tmp_path / "run"

    def done() -> int:
        names = [path.name for path in (run / "checkpoints").glob("step-*")]
        return max((int(name.partition("-")[2]) for name in names), default=0)

    landed = kill_often([*command, "--output", str(run)], done, 3 * epochs, kills)
    finish([*command, "--output", str(run)])
    assert curve(run) == curve(tmp_path / "straight")
    for part in ("model", f"checkpoints/step-{3 * epochs:08d}"):
        own, other = (
            safetensors.torch.load_file(folder / part / "model.safetensors") for folder in (run, tmp_path / "straight")
        )
        assert all(torch.equal(own[name], other[name]) for name in other)
    assert files(run) == files(tmp_path / "straight")
    assert landed >= 0.9 * kills
    report("training", landed)


def test_a_training_run_killed_at_each_kind_of_rename(synthetic_shards, tmp_path):
    """A run is killed at its first rename, its continuation at the second, and so on up to the seventh. Each kill
    leaves a complete file that still has its temporary name. The last continuation must end like a run that was never
    killed."""
    settings = ["--set", "epochs=2", *SMALL_RUN]
    command = ["train.py", "--data", str(synthetic_shards), "--preset", "glass_tiny", *settings]
    command += ["--checkpoint-every", "2", "--output"]
    finish([*command, str(tmp_path / "straight")])
    dying = ["-c", DIES_AT_A_RENAME]
    for which in range(1, 8):
        with tempfile.TemporaryFile() as log:
            process = start([*dying, str(which), *command, str(tmp_path / "run")], log)
            assert process.wait(timeout=PATIENCE_S) == -signal.SIGKILL, said(log)
    finish([*command, str(tmp_path / "run")])
    assert curve(tmp_path / "run") == curve(tmp_path / "straight")
    assert files(tmp_path / "run") == files(tmp_path / "straight")
