"""Collects final-run results: per seed, summarised over all seeds, and compared with the baseline.

Results per generator and per subset of the real images come from the evaluation. If the data set has a split
``calibration`` with both classes, the model is calibrated on it, and the effect on the test results is recorded. The
metrics always use raw scores and the threshold 0.5, as the study's protocol requires.
"""

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glass.export.card_file import read_model_card
from glass.measure.applied_calibration import Quality, calibrated_results
from glass.measure.calibration import ViewSettings, read_calibration, write_calibration
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.measure.evaluation_schema import Evaluation
from glass.measure.fit_calibration import calibration_fault, fit_calibration
from glass.measure.predictions import read_predictions
from glass.studies.final_documents import (
    GENERATOR_METRICS,
    CalibratedSeed,
    CalibratedSeeds,
    OverSeeds,
    QualitySummaries,
    SeedResults,
    Summaries,
    Summary,
)
from glass.studies.study_documents import Comparison, StudyResult
from shards.manifest.dataset import ShardDataset

__all__ = ["calibrate_seed", "comparisons", "over_seeds", "seed_results", "summary"]

logger = logging.getLogger(__name__)

CALIBRATION = "calibration"
COMPARED = ("accuracy", "auroc")


def calibrate_seed(run: Path, dataset: ShardDataset, options: EvaluationOptions) -> None:
    """Calibrates the model in ``run`` on the split ``calibration``.

    Does nothing if that split is missing or lacks a class. If the model does not separate the classes, only logs a
    warning.
    """
    count = dataset.info.counts.get(CALIBRATION)
    if count is None or not (count.real and count.generated):
        return
    document, table = evaluate_run(run, dataset, CALIBRATION, replace(options, draws=0))
    settings, sha256 = document["settings"], document["model"]["weights_sha256"]
    views = ViewSettings(settings["num_crops"], settings["sampling"])
    margin, label = _margin(table), table["label"].to_numpy()
    groups = table["group"].to_numpy(zero_copy_only=False)
    calibration = fit_calibration(margin, label, views, sha256, groups=groups)
    if fault := calibration_fault(calibration, margin, label):
        logger.warning("%s is not calibrated: %s", run, fault)
        return
    data = calibration.data | document["dataset"] | {"split": CALIBRATION}
    write_calibration(run / "model", replace(calibration, data=data))


def seed_results(run: Path, evaluation: Evaluation, dataset: ShardDataset) -> SeedResults:
    """The results of the run in the folder ``run``. ``evaluation`` is for the test split."""
    rows = evaluation["per_generator"]
    return {
        "generators": {
            name: {"images": row["images"], **{m: row[m] for m in GENERATOR_METRICS}}
            for name, row in rows["generators"].items()
        },
        "generators_mean": {metric: rows["mean"][metric] for metric in GENERATOR_METRICS},
        "generators_minimum": {metric: rows["minimum"][metric] for metric in GENERATOR_METRICS},
        "real_slices": [
            {"slice": row["slice"], "images": row["images"], "false_positive_rate": row["false_positive_rate"]}
            for row in evaluation.get("real_slices", [])
        ],
        "calibration": _calibrated(run, evaluation["split"], dataset),
    }


def _calibrated(run: Path, split: str, dataset: ShardDataset) -> CalibratedSeed | None:
    calibration = read_calibration(run / "model", read_model_card(run / "model")["weights_sha256"])
    if calibration is None or calibration.is_at_bound:
        return None
    table = read_predictions(run, split)
    place = table.schema.get_field_index("probability")
    probability = pa.array(calibration.probability(_margin(table)), table.schema.field(place).type)
    table = table.set_column(place, table.schema.field(place), probability)
    results = calibrated_results(calibration, table, dataset.root, split)
    promise: Mapping[str, Any] = results["promise"] or {}
    return {
        "before": results["before"],
        "after": results["after"],
        "false_positive_rate": promise.get("rate"),
        "max_fpr": calibration.max_fpr,
        "verdict": promise.get("verdict"),
    }


def _margin(table: pa.Table) -> np.ndarray:
    logits = np.array(table["logits"].to_pylist(), np.float64)
    return logits[:, 1] - logits[:, 0]


def over_seeds(seeds: Sequence[SeedResults]) -> OverSeeds:
    """Summarises the results for all seeds, which were tested on the same split."""
    first = seeds[0]
    alarms = [{row["slice"]: row["false_positive_rate"] for row in seed["real_slices"]} for seed in seeds]
    calibrated = [seed["calibration"] for seed in seeds if seed["calibration"] is not None]
    return {
        "generators": {
            name: {"images": row["images"], **_summaries([s["generators"][name] for s in seeds])}
            for name, row in first["generators"].items()
        },
        "generators_mean": _summaries([seed["generators_mean"] for seed in seeds]),
        "generators_minimum": _summaries([seed["generators_minimum"] for seed in seeds]),
        "real_slices": [
            {
                "slice": row["slice"],
                "images": row["images"],
                "false_positive_rate": summary([seed.get(row["slice"]) for seed in alarms]),
            }
            for row in first["real_slices"]
        ],
        "calibration": _over_calibrations(calibrated) if calibrated else None,
    }


def _over_calibrations(seeds: Sequence[CalibratedSeed]) -> CalibratedSeeds:
    verdicts = [seed["verdict"] for seed in seeds if seed["verdict"] is not None]
    return {
        "before": _over_quality([seed["before"] for seed in seeds]),
        "after": _over_quality([seed["after"] for seed in seeds]),
        "false_positive_rate": summary([seed["false_positive_rate"] for seed in seeds]),
        "max_fpr": seeds[0]["max_fpr"],
        "verdicts": {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
    }


def _over_quality(seeds: Sequence[Quality]) -> QualitySummaries:
    return {
        "ece": summary([seed["ece"] for seed in seeds]),
        "nll": summary([seed["nll"] for seed in seeds]),
        "brier": summary([seed["brier"] for seed in seeds]),
    }


def _summaries(rows: Sequence[Mapping[str, float | None]]) -> Summaries:
    return {metric: summary([row[metric] for row in rows]) for metric in GENERATOR_METRICS}


def summary(values: Sequence[float | None]) -> Summary:
    """Returns the mean of the values that are not None, their standard deviation (with n - 1 in the denominator), and
    Student's 95 % interval for the mean.
    """
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    sd = statistics.stdev(known) if len(known) > 1 else None
    interval = _student_interval(known)
    return {"mean": mean, "sd": sd, "interval": interval, "seeds": len(known)}


def _student_interval(values: Sequence[float]) -> list[float] | None:
    """Student's 95 % interval for the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return [mean - half, mean + half]


def comparisons(results: Sequence[StudyResult]) -> list[Comparison]:
    """Returns one row per baseline result and metric: the mean difference (GLASS minus baseline) over runs paired by
    seed.
    """
    rows: list[Comparison] = []
    ours = {row["family"]: row for row in results if row["kind"] == "glass"}
    for other in (row for row in results if row["kind"] != "glass" and row["family"] in ours):
        glass = ours[other["family"]]
        for metric in COMPARED:
            a, b = ({seed["seed"]: seed["metrics"][metric] for seed in row["final"]["seeds"]} for row in (glass, other))
            pairs = ((a[seed], b.get(seed)) for seed in a)
            differences = [x - y for x, y in pairs if x is not None and y is not None]
            rows.append(
                {
                    "family": other["family"],
                    "terms": other["terms"],
                    "compute_share": other["compute_share"],
                    "metric": metric,
                    "glass": glass["final"]["summary"][metric]["mean"],
                    "baseline": other["final"]["summary"][metric]["mean"],
                    "difference": summary(differences)["mean"],
                    "interval": _student_interval(differences),
                }
            )
    return rows
