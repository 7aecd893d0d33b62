"""The study's protocol for final results: trains a model with several seeds, and tests each resulting model once on the
test split.

The train and valid splits are merged, and 5 % of their samples are held back to choose the best epoch, whose model is
then tested. Each seed has its own folder, so interrupted runs can be resumed, and finished seeds are not run again.
Seeds may be added later, but none may be dropped, because results on selected seeds would be biased.
"""

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glass.config.dataset_digest import DatasetDigest, dataset_digest
from glass.config.overrides import flat_settings
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_folder import FREE_TO_CHANGE, RunFolder
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.measure.result_files import evaluation_path, read_evaluation, write_evaluation
from glass.measure.weighted_metrics import METRIC_NAMES
from glass.studies.final_documents import FinalRuns, SeedRow, Seeds
from glass.studies.hold_out import HELD_BACK, LEARNT, hold_back
from glass.studies.plan import PLAN_FILE, check_trainable, settle_plan
from glass.studies.seed_results import calibrate_seed, over_seeds, seed_results, summary
from glass.train.processes import run_device
from glass.train.run import TrainingStopped, train
from loaders.reading.open_shards import OpenShards
from shards.errors import InputError
from shards.files.documents import read_document, write_document
from shards.files.outputs import make_folder
from shards.manifest.dataset import ShardDataset

__all__ = ["SEEDS", "FinalPlan", "is_finished", "run_seeds"]

FORMAT_VERSION = 1
SEEDS = (100, 200, 300, 400, 500)
TEST = "test"
STUDY_FILE, SEEDS_FILE = "final_runs.json", "seeds.json"
PER_SEED = frozenset({"seed", "loader.seed", "train_split", "valid_split"})
"""Settings that the protocol sets for each seed, whatever the plan says."""


@dataclass(frozen=True)
class FinalPlan:
    """The training settings and the seeds."""

    config: RunConfig
    """The settings for all seeds. ``config.epochs`` is the number of epochs per seed."""
    seeds: tuple[int, ...] = SEEDS
    hold_out: float = 0.05

    def for_seed(self, seed: int) -> RunConfig:
        """The run's settings for ``seed``."""
        loader = replace(self.config.loader, seed=seed)
        return replace(self.config, seed=seed, loader=loader, train_split=LEARNT, valid_split=HELD_BACK)


def seed_folder(output: Path, seed: int) -> Path:
    """The run folder for ``seed``."""
    return output / f"seed-{seed}"


def is_finished(plan: FinalPlan, output: Path, data: OpenShards) -> bool:
    """Whether every seed has been trained and tested, and ``final_runs.json`` has been written. Records the plan in
    ``output``.

    Raises ``InputError`` if the plan cannot be trained, or if ``output`` contains runs with other settings, another
    held-back fraction, or seeds that the plan lacks.
    """
    configs = {seed: plan.for_seed(seed) for seed in plan.seeds}  # unsuitable seeds raise here, before any is recorded
    if not (output / PLAN_FILE).exists():
        held = hold_back(data.dataset, "train+valid", plan.hold_out)
        check_trainable(held.dataset, configs[plan.seeds[0]])
    digest = dataset_digest(data.dataset.root)
    flat = flat_settings(config_to_dict(plan.config))
    fixed = {key: flat[key] for key in flat if key not in FREE_TO_CHANGE | PER_SEED}
    settings = {**fixed, "hold_out": plan.hold_out, "data": digest["dataset_json_sha256"]}
    settle_plan(output / PLAN_FILE, "final runs", settings)
    _settle_seeds(plan.seeds, output)
    done = [_is_tested(c, seed_folder(output, seed), digest) for seed, c in configs.items()]
    path = output / STUDY_FILE
    if not (all(done) and path.is_file()):
        return False
    remedy = "delete it and run the same command again"
    document = read_document(path, FinalRuns, "a document of final runs", remedy)
    return {row["seed"] for row in document["seeds"]} == set(plan.seeds)


def _settle_seeds(seeds: Sequence[int], output: Path) -> None:
    """Records the seeds before the first run. Raises ``InputError`` if ``seeds`` lacks a previously recorded seed."""
    path = output / SEEDS_FILE
    before: list[int] = []
    if path.exists():
        remedy = "give another --output"
        before = read_document(path, Seeds, "a list of seeds", remedy)["seeds"]
    if left_out := [seed for seed in before if seed not in seeds]:
        every = ",".join(str(seed) for seed in dict.fromkeys([*before, *seeds]))
        raise InputError(
            f"{output} holds final runs with seeds {', '.join(map(str, before))}, and --seeds"
            f" leaves out {left_out[0]}: give --seeds {every} (more may be added), or another"
            " --output"
        )
    if set(before) != set(seeds):
        document = {"format_version": FORMAT_VERSION, "seeds": list(seeds)}
        write_document(path, document, Seeds)


def _is_tested(config: RunConfig, folder: Path, digest: DatasetDigest) -> bool:
    finished = RunFolder(folder).is_finished(config, digest)
    return finished and evaluation_path(folder, TEST).is_file()


def run_seeds(
    data: OpenShards, plan: FinalPlan, output: Path, report: Callable[[str], None] = lambda _: None
) -> FinalRuns:
    """Trains and tests every unfinished seed, writes ``final_runs.json`` and returns its contents.

    ``report`` is called with a line of text for each seed. Raises ``TrainingStopped`` if a signal asked to stop.
    """
    make_folder(output)
    if is_finished(plan, output, data):
        return json.loads((output / STUDY_FILE).read_text(encoding="utf-8"))
    held = hold_back(data.dataset, "train+valid", plan.hold_out)
    digest = dataset_digest(data.dataset.root)
    rows = []
    for seed in plan.seeds:
        folder, config = seed_folder(output, seed), plan.for_seed(seed)
        if not _is_tested(config, folder, digest):
            _train_and_test(data, held.dataset, config, folder)
        rows.append(_row(seed, folder, output, config.select_by, data.dataset))
        report(_line(rows[-1]))
    document: FinalRuns = {
        "format_version": FORMAT_VERSION,
        "preset": plan.config.preset,
        "kind": plan.config.model.kind,
        "epochs": plan.config.epochs,
        "hold_out": {"share": plan.hold_out, "learnt": held.learnt, "held_back": held.held_back},
        "split": TEST,
        "dataset": digest,
        "config": config_to_dict(plan.for_seed(plan.seeds[0])),
        "seeds": rows,
        "summary": {name: summary([row["metrics"][name] for row in rows]) for name in METRIC_NAMES},
        "tests": over_seeds([row["results"] for row in rows]),
    }
    write_document(output / STUDY_FILE, document, FinalRuns)
    return document


def _train_and_test(data: OpenShards, dataset: Any, config: RunConfig, folder: Path) -> None:
    with_parts = copy.copy(data)  # the same open shards
    with_parts.dataset = dataset
    if not train(with_parts, config, folder):
        raise TrainingStopped
    options = EvaluationOptions(device=run_device().type, calibrated=False)
    calibrate_seed(folder, data.dataset, options)
    document, table = evaluate_run(folder, data.dataset, TEST, options)
    write_evaluation(folder, document, table)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a tested seed is never resumed


def _row(seed: int, folder: Path, output: Path, select_by: str, dataset: ShardDataset) -> SeedRow:
    evaluation = read_evaluation(folder, TEST)
    lines = RunFolder(folder).read_metrics()
    chosen = evaluation["model"]["chosen"]
    assert chosen is not None  # training records it
    return {
        "seed": seed,
        "folder": str(folder.relative_to(output)),
        "best_epoch": chosen["epoch"],
        "valid": chosen[f"valid_{select_by}"],
        "metrics": evaluation["metrics"],
        "results": seed_results(folder, evaluation, dataset),
        "train_time_s": sum(line["epoch_time_s"] for line in lines),
    }


def _line(row: SeedRow) -> str:
    metrics = row["metrics"]
    auroc = "–" if metrics["auroc"] is None else f"{metrics['auroc']:.4f}"
    return f"seed {row['seed']}: epoch {row['best_epoch']}, test accuracy {metrics['accuracy']:.4f}, AUROC {auroc}"
