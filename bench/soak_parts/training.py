"""A training run of the soak, in a process of its own: killed at random moments and started again.

``python -m bench.soak_parts.training DATA RUN`` trains, or goes on; :class:`KilledTraining` does the
killing.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

__all__ = ["KilledTraining", "main"]

SETTINGS = (
    "model.global_backbone=test_vit",
    "loader.global_batch_size=16",
    "loader.num_crops=2",
    "loader.crop_size=64",
    "epochs=100000",
    "tensorboard=false",
    "cpu_threads=1",
    "loader.num_threads=1",
    "max_bad_samples=0.05",
)


class KilledTraining:
    """Keeps the run going: :meth:`tend` starts it when it is dead and kills it when its time has
    come, 15 to 60 seconds after its first checkpoint."""

    def __init__(self, data: Path, run: Path, seed: int) -> None:
        self.kills, self.failures = 0, 0
        self._command = [sys.executable, "-m", "bench.soak_parts.training", str(data), str(run)]
        self._run, self._dice = run, random.Random(seed)
        self._process: subprocess.Popen[bytes] | None = None
        self._die_at: float | None = None
        self._steps = 0

    def tend(self) -> None:
        """Called every second or so."""
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._steps, self._die_at = self.steps, None
        elif self._process.poll() is not None:  # it must not end by itself
            self.failures += 1
            self._process = None
        elif self._die_at is None:
            if self.steps > self._steps:  # it works and has gone on
                self._die_at = time.monotonic() + self._dice.uniform(15, 60)
        elif time.monotonic() > self._die_at:
            self.kill()
            self.kills += 1

    @property
    def steps(self) -> int:
        """Optimiser steps in the newest checkpoint."""
        names = [path.name for path in (self._run / "checkpoints").glob("step-*")]
        return max((int(name.partition("-")[2]) for name in names), default=0)

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process; 0 between two lives."""
        try:
            alive = self._process is not None and self._process.poll() is None
            return psutil.Process(self._process.pid).memory_info().rss if alive else 0  # type: ignore[union-attr]
        except psutil.NoSuchProcess:
            return 0

    def kill(self) -> None:
        """Ends the process as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process = None


def main(data: str, run: str) -> int:
    """Trains until killed; goes on where it was."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    from glass.config.overrides import apply_overrides
    from glass.presets import load_preset
    from glass.train.run import train

    config = apply_overrides(load_preset("glass_tiny"), list(SETTINGS))
    return 0 if train(data, config, run, checkpoint_every=10) else 75


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
