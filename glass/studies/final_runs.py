"""The study's protocol for a final figure: several seeds, and the test split touched once by each.

train and valid are merged and 5 % held back to choose the epoch; the model of the best epoch is
tested. A folder per seed, so whatever was killed goes on; a finished one does nothing.
"""

import copy
import math
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glass.config import RunConfig, config_to_dict
from glass.documents import Map, Maybe, write_document
from glass.evaluation import (
    EvaluationOptions,
    evaluate_run,
    evaluation_path,
    read_evaluation,
    write_evaluation,
)
from glass.metrics import METRIC_NAMES
from glass.run_folder import RunFolder, dataset_digest
from glass.studies.hold_out import HELD_BACK, LEARNT, hold_back
from glass.training import TrainingStopped, train
from loaders.open_shards import OpenShards

__all__ = ["FINAL_SCHEMA", "SEEDS", "FinalPlan", "is_finished", "run_seeds", "student_interval"]

FORMAT_VERSION = 1
SEEDS = (100, 200, 300, 400, 500)
TEST = "test"

SUMMARY = {"mean": Maybe(float), "sd": Maybe(float), "interval": Maybe([float]), "seeds": int}
FINAL_SCHEMA: dict[str, Any] = {
    "format_version": int,
    "preset": str,
    "kind": str,
    "epochs": int,
    "hold_out": {"share": float, "learnt": int, "held_back": int},
    "split": str,
    "dataset": {"name": str, "dataset_json_sha256": str},
    "config": dict,  # of the first seed
    "seeds": [
        {
            "seed": int,
            "folder": str,  # relative to the document's
            "best_epoch": int,
            "valid": Maybe(float),  # the metric that chose it
            "metrics": Map(Maybe(float)),
            "train_time_s": float,  # of all epochs, validation included
        }
    ],
    "summary": Map(SUMMARY),  # metric → mean, sd (n - 1) and Student's 95 % interval of the mean
}


@dataclass(frozen=True)
class FinalPlan:
    """What is trained, with which seeds."""

    config: RunConfig
    """``config.epochs`` are those of a seed."""
    seeds: tuple[int, ...] = SEEDS
    hold_out: float = 0.05

    def for_seed(self, seed: int) -> RunConfig:
        """The settings of one seed."""
        loader = replace(self.config.loader, seed=seed)
        return replace(
            self.config, seed=seed, loader=loader, train_split=LEARNT, valid_split=HELD_BACK
        )


def seed_folder(output: Path, seed: int) -> Path:
    """Where a seed trains."""
    return output / f"seed-{seed}"


def is_finished(plan: FinalPlan, output: Path, data: OpenShards) -> bool:
    """Whether every seed is trained and tested; ``InputError`` where ``output`` holds others."""
    digest = dataset_digest(data.dataset.root)
    done = [_is_tested(plan.for_seed(s), seed_folder(output, s), digest) for s in plan.seeds]
    return all(done) and (output / "final_runs.json").is_file()


def _is_tested(config: RunConfig, folder: Path, digest: dict[str, str]) -> bool:
    run = RunFolder(folder)
    before = run.record()
    if before is not None:  # where the run was trained is no matter of settings
        device = before["config"]["loader"]["device"]
        config = replace(config, loader=replace(config.loader, device=device))
    return run.is_finished(config, digest) and evaluation_path(folder, TEST).is_file()


def run_seeds(
    data: OpenShards, plan: FinalPlan, output: Path, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Trains and tests every seed that is not done; writes and returns ``final_runs.json``.

    ``tell`` gets a line per seed. Raises ``TrainingStopped`` where a signal asked to stop.
    """
    held = hold_back(data.dataset, "train+valid", plan.hold_out)
    digest = dataset_digest(data.dataset.root)
    rows = []
    for seed in plan.seeds:
        folder, config = seed_folder(output, seed), plan.for_seed(seed)
        if not _is_tested(config, folder, digest):
            _train_and_test(data, held.dataset, config, folder)
        rows.append(_row(seed, folder, output, config.select_by))
        tell(_line(rows[-1]))
    document = {
        "format_version": FORMAT_VERSION,
        "preset": plan.config.preset,
        "kind": plan.config.model.kind,
        "epochs": plan.config.epochs,
        "hold_out": {
            "share": plan.hold_out, "learnt": held.learnt, "held_back": held.held_back,
        },
        "split": TEST,
        "dataset": digest,
        "config": config_to_dict(plan.for_seed(plan.seeds[0])),
        "seeds": rows,
        "summary": {
            name: summary([row["metrics"][name] for row in rows]) for name in METRIC_NAMES
        },
    }  # fmt: skip
    write_document(output / "final_runs.json", document, FINAL_SCHEMA)
    return document


def _train_and_test(data: OpenShards, dataset: Any, config: RunConfig, folder: Path) -> None:
    with_parts = copy.copy(data)  # the same open shards
    with_parts.dataset = dataset
    if not train(with_parts, config, folder):
        raise TrainingStopped
    document, table = evaluate_run(folder, data.dataset, TEST, EvaluationOptions())
    write_evaluation(folder, document, table)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nothing goes on from here


def _row(seed: int, folder: Path, output: Path, select_by: str) -> dict[str, Any]:
    evaluation = read_evaluation(folder, TEST)
    lines = RunFolder(folder).read_metrics()
    chosen = evaluation["model"]["chosen"]
    return {
        "seed": seed,
        "folder": str(folder.relative_to(output)),
        "best_epoch": chosen["epoch"],
        "valid": chosen[f"valid_{select_by}"],
        "metrics": evaluation["metrics"],
        "train_time_s": sum(line["epoch_time_s"] for line in lines),
    }


def _line(row: dict[str, Any]) -> str:
    metrics = row["metrics"]
    auroc = "–" if metrics["auroc"] is None else f"{metrics['auroc']:.4f}"
    return (
        f"seed {row['seed']}: epoch {row['best_epoch']}, test accuracy"
        f" {metrics['accuracy']:.4f}, AUROC {auroc}"
    )


def summary(values: Sequence[float | None]) -> dict[str, Any]:
    """``mean``, ``sd`` (n - 1), Student's 95 % ``interval`` of the mean, over the ``seeds`` for
    which the metric is defined."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    sd = statistics.stdev(known) if len(known) > 1 else None
    interval = student_interval(known)
    return {"mean": mean, "sd": sd, "interval": interval, "seeds": len(known)}


def student_interval(values: Sequence[float]) -> list[float] | None:
    """95 % interval of the mean of independent values; None for less than two."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return [mean - half, mean + half]
