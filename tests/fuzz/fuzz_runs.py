"""Fuzzes the readers of run folders: ``run.json``, checkpoints, exported models and evaluations."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.export.model_folder import load_model, save_model
from glass.measure.result_files import read_evaluation
from glass.model.model import build_model
from glass.presets import load_preset
from glass.train.checkpoint import CheckpointStore
from shards.errors import InputError
from tests.fuzz.fuzz_harness import JSON_WORDS, mutated, run_main

__all__ = ["RunTarget"]

WORDS = (
    *JSON_WORDS,
    b"\x80\x04c",
    b"cos\nsystem\n(S'touch /tmp/fuzz-was-here'\ntR.",
    b"\xff\xff\xff\xff\xff\xff",
    b"PK\x03\x04",
    b"\x08\x00",
)
MODEL = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
TRAINING = {"progress": {"epoch": 1, "history": [{"loss": None}]}, "random": [(1, 2)]}
HERE = Path("/tmp/fuzz-was-here")


class RunTarget:
    """Mutates the files of a run's folder, one at a time, and calls the functions that read them."""

    def __init__(self, folder: Path) -> None:
        self._run = RunFolder(folder / "run")
        config = apply_overrides(load_preset("glass_tiny"), ["model.global_backbone=test_vit"])
        with self._run.locked():
            self._run.begin(config, {"name": "demo", "dataset_json_sha256": "a" * 64}, {})
        self._store = CheckpointStore(self._run.checkpoints)
        self._checkpoint = self._store.save(3, MODEL, {"state": MODEL, "groups": [{}]}, TRAINING)
        save_model(self._run.model, build_model(config, with_weights=False), config)
        (self._run.path / "evaluation-test.json").write_text('{"format_version": 1, "metrics": 1}')
        self._files = {
            path: path.read_bytes()
            for path in (
                self._run.path / "run.json",
                self._run.path / "evaluation-test.json",
                *sorted(self._checkpoint.iterdir()),
                *sorted(self._run.model.iterdir()),
            )
        }

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        path = list(self._files)[int(rng.integers(len(self._files)))]
        original = self._files[path]
        part = int(rng.integers(0, 2)) * max(0, len(original) - 4096)  # a zip's list is at its end
        data = mutated(rng, original[part : part + 4096], WORDS)
        path.write_bytes(original[:part] + data + original[part + 4096 :])
        try:
            self._read(path)
            counts[f"{path.name}: taken"] += 1
        except InputError:
            counts[f"{path.name}: refused"] += 1
        finally:
            path.write_bytes(original)
        assert not HERE.exists()

    def _read(self, path: Path) -> None:
        if path.name == "run.json":
            data = {"name": "demo", "dataset_json_sha256": "a" * 64}
            self._run.record()
            self._run.is_finished(RunConfig(), data)
        elif path.name.startswith("evaluation"):
            read_evaluation(self._run.path, "test")
        elif path.parent == self._checkpoint:
            if path.name == "checkpoint.json":
                self._store.newest()
            else:  # as if the hashes had been forged too
                self._store.read(self._checkpoint)
        else:
            load_model(self._run.model, "cpu")


if __name__ == "__main__":
    sys.exit(run_main(RunTarget, __doc__ or ""))
