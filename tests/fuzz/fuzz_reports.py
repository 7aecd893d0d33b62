"""Fuzzes the readers of calibrations, predictions, evaluations and records of runs."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from glass.config.run_folder import RunRecord
from glass.measure.calibration import ViewSettings, read_calibration, write_calibration
from glass.measure.fit_calibration import fit_calibration
from glass.measure.predictions import PREDICTION_SCHEMA
from glass.measure.result_files import write_evaluation
from glass.report import load_run, report_document
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.fuzz.fuzz_harness import JSON_WORDS, mutated, mutated_json, run_main
from tests.images.coded_images import write_images
from tests.runs.made_up import made_up
from tests.runs.made_up_runs import made_up_evaluation

__all__ = ["ReportTarget"]

WORDS = (*JSON_WORDS, b"0", b'"x"', b"\xff\xff\xff\xff", b"\x00\x00\x00\x80")
WEIGHTS = "a" * 64
SPLIT = "test"


class ReportTarget:
    """Mutates the files of an evaluated and calibrated run, one file at a time."""

    def __init__(self, folder: Path) -> None:
        write_images(folder / "images", 8)
        settings = BuildSettings(split_shares={"train": 0.5, SPLIT: 0.5}, samples_per_shard=8, global_size=32)
        build_dataset(folder / "images", folder / "data", settings, progress=False)
        self._dataset = ShardDataset.open(folder / "data")
        self._run = folder / "run"
        self._run.mkdir()
        self._write_evaluation()
        self._write_records()
        rng = np.random.default_rng(2)
        label = np.arange(60) % 2
        views = ViewSettings(4, "stratified_grid")
        calibration = fit_calibration(rng.normal(size=60) + label, label, views, WEIGHTS)
        write_calibration(self._run, calibration)
        self._files = {path: path.read_bytes() for path in sorted(self._run.iterdir())}

    def _write_evaluation(self) -> None:
        rows = self._dataset.split_rows(SPLIT)
        manifest = self._dataset.table.take(pa.array(rows))
        logits = np.random.default_rng(1).normal(size=(len(rows), 2)).astype(np.float32)
        columns = {name: manifest[name] for name in manifest.column_names}
        columns |= {
            "probability": pa.array(1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))),
            "logits": pa.array(logits.tolist()),
            "attention_weights": pa.array([[0.5, 0.5]] * len(rows)),
            "crop_windows": pa.array([[[0, 0, 8, 8]] * 2] * len(rows)),
        }
        arrays = [columns[field.name].cast(field.type) for field in PREDICTION_SCHEMA]
        table = pa.table(arrays, schema=PREDICTION_SCHEMA)
        write_evaluation(self._run, made_up_evaluation(table, self._dataset, SPLIT, WEIGHTS, 2, 8), table)

    def _write_records(self) -> None:
        record = made_up(RunRecord) | {"config": {"epochs": 2}}
        (self._run / "run.json").write_text(json.dumps(record))
        line = {"train_loss": 0.5, "valid_loss": 0.4, "train_images": 9, "train_time_s": 1.0}
        lines = [json.dumps(line | {"epoch": epoch}) + "\n" for epoch in (1, 2)]
        (self._run / "metrics.jsonl").write_text("".join(lines))

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        path = list(self._files)[int(rng.integers(len(self._files)))]
        data = self._files[path]
        if path.suffix == ".json" and rng.random() < 0.7:
            path.write_bytes(mutated_json(rng, data))
        elif path.suffix == ".jsonl" and rng.random() < 0.7:
            first, second = data.splitlines()
            path.write_bytes(first + b"\n" + mutated_json(rng, second))
        else:
            path.write_bytes(mutated(rng, data, WORDS))
        try:
            self._read(path)
            counts[f"{path.name}: taken"] += 1
        except InputError:
            counts[f"{path.name}: refused"] += 1
        finally:
            path.write_bytes(self._files[path])

    def _read(self, path: Path) -> None:
        if path.name == "calibration.json":
            calibration = read_calibration(self._run, WEIGHTS)
            assert calibration is not None
            assert 0 <= calibration.probability([1.0])[0] <= 1
            assert calibration.verdict(0.5) in ("generated", "real", "uncertain")
            assert str(calibration.views)
            return
        run = load_run("run", self._run, SPLIT, self._dataset)
        runs = [run, replace(run, name="other")]
        json.dumps(report_document(runs, self._dataset, SPLIT), allow_nan=False)


if __name__ == "__main__":
    sys.exit(run_main(ReportTarget, __doc__ or ""))
