"""Results of final runs: of a seed per generator and calibrated, over all seeds, and against the baseline.

Results per generator and per kind of real image are those of the evaluation. Where the data set has a split
``calibration`` with both classes, the effect of a calibration on it is recorded; the metrics themselves stay those of
raw scores at 0.5, the study's protocol.
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

from glass.config.documents import Map, Maybe
from glass.export.model_folder import read_model_card
from glass.measure.applied_calibration import calibrated_results
from glass.measure.calibration import ViewSettings, read_calibration, write_calibration
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.measure.fit_calibration import calibration_fault, fit_calibration
from glass.measure.predictions import read_predictions
from glass.measure.weighted_metrics import FPR_LIMITS
from shards.manifest.dataset import ShardDataset

__all__ = [
    "COMPARISON_ROW",
    "OVER_SEEDS",
    "SEED_RESULTS",
    "SUMMARY",
    "calibrate_seed",
    "comparisons",
    "over_seeds",
    "seed_results",
    "summary",
]

logger = logging.getLogger(__name__)

CALIBRATION = "calibration"
GENERATOR_METRICS = ("auroc", *FPR_LIMITS)
QUALITY = ("ece", "nll", "brier")
COMPARED = ("accuracy", "auroc")

_METRICS = dict.fromkeys(GENERATOR_METRICS, Maybe(float))
_QUALITY = dict.fromkeys(QUALITY, Maybe(float))
SUMMARY = {"mean": Maybe(float), "sd": Maybe(float), "interval": Maybe([float]), "seeds": int}
_SUMMARIES = dict.fromkeys(GENERATOR_METRICS, SUMMARY)
SEED_RESULTS: dict[str, Any] = {
    "generators": Map({"images": int, **_METRICS}),
    "generators_mean": _METRICS,
    "generators_minimum": _METRICS,
    "real_slices": [{"slice": str, "images": int, "false_positive_rate": float}],
    "calibration": Maybe(
        {
            "before": _QUALITY,
            "after": _QUALITY,
            "false_positive_rate": Maybe(float),
            "max_fpr": float,
            "verdict": Maybe(str),
        }
    ),
}
OVER_SEEDS: dict[str, Any] = {
    "generators": Map({"images": int, **_SUMMARIES}),
    "generators_mean": _SUMMARIES,
    "generators_minimum": _SUMMARIES,
    "real_slices": [{"slice": str, "images": int, "false_positive_rate": SUMMARY}],
    "calibration": Maybe(
        {
            "before": dict.fromkeys(QUALITY, SUMMARY),
            "after": dict.fromkeys(QUALITY, SUMMARY),
            "false_positive_rate": SUMMARY,
            "max_fpr": float,
            "verdicts": Map(int),  # verdict on the promised rate → seeds
        }
    ),
}
COMPARISON_ROW: dict[str, Any] = {
    "family": str,
    "terms": str,
    "compute_share": Maybe(float),  # of the compute of GLASS's search, used by the baseline's
    "metric": str,
    "glass": Maybe(float),
    "baseline": Maybe(float),
    "difference": Maybe(float),
    "interval": Maybe([float]),  # Student's 95 %, over pairs of seeds
}


def calibrate_seed(run: Path, dataset: ShardDataset, options: EvaluationOptions) -> None:
    """Calibrates the model in ``run`` on the split ``calibration``, where it holds both classes and the model
    separates them."""
    count = dataset.info.counts.get(CALIBRATION)
    if count is None or not (count.real and count.generated):
        return
    document, table = evaluate_run(run, dataset, CALIBRATION, replace(options, draws=0))
    settings, sha256 = document["settings"], document["model"]["weights_sha256"]
    views = ViewSettings(settings["num_crops"], settings["sampling"])
    margin, label = _margin(table), table["label"].to_numpy()
    calibration = fit_calibration(margin, label, views, sha256)
    if fault := calibration_fault(calibration, margin, label):
        logger.warning("%s is not calibrated: %s", run, fault)
        return
    data = calibration.data | document["dataset"] | {"split": CALIBRATION}
    write_calibration(run / "model", replace(calibration, data=data))


def seed_results(run: Path, evaluation: Mapping[str, Any], dataset: ShardDataset) -> dict[str, Any]:
    """``SEED_RESULTS`` of ``run``, whose test is ``evaluation``."""
    rows = evaluation["per_generator"]
    return {
        "generators": {
            name: {"images": row["images"], **{m: row[m] for m in GENERATOR_METRICS}}
            for name, row in rows["generators"].items()
        },
        "generators_mean": {metric: rows["mean"][metric] for metric in GENERATOR_METRICS},
        "generators_minimum": {metric: rows["minimum"][metric] for metric in GENERATOR_METRICS},
        "real_slices": [
            {name: row[name] for name in ("slice", "images", "false_positive_rate")}
            for row in evaluation.get("real_slices", [])
        ],
        "calibration": _calibrated(run, evaluation["split"], dataset),
    }


def _calibrated(run: Path, split: str, dataset: ShardDataset) -> dict[str, Any] | None:
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


def over_seeds(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``OVER_SEEDS`` of the ``SEED_RESULTS`` of each seed, all of one test split."""
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


def _over_calibrations(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    verdicts = [seed["verdict"] for seed in seeds if seed["verdict"] is not None]
    return {
        **{
            when: {name: summary([seed[when][name] for seed in seeds]) for name in QUALITY}
            for when in ("before", "after")
        },
        "false_positive_rate": summary([seed["false_positive_rate"] for seed in seeds]),
        "max_fpr": seeds[0]["max_fpr"],
        "verdicts": {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
    }


def _summaries(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {metric: summary([row[metric] for row in rows]) for metric in GENERATOR_METRICS}


def summary(values: Sequence[float | None]) -> dict[str, Any]:
    """``mean``, ``sd`` (n - 1), Student's 95 % ``interval`` of the mean, over the ``seeds`` for
    which the metric is defined."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    sd = statistics.stdev(known) if len(known) > 1 else None
    interval = _student_interval(known)
    return {"mean": mean, "sd": sd, "interval": interval, "seeds": len(known)}


def _student_interval(values: Sequence[float]) -> list[float] | None:
    """95 % interval of the mean of independent values; None for less than two."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return [mean - half, mean + half]


def comparisons(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """GLASS minus baseline, seed by seed, for every family, terms and metric."""
    rows = []
    ours = {row["family"]: row for row in results if row["kind"] == "glass"}
    for other in (row for row in results if row["kind"] != "glass" and row["family"] in ours):
        glass = ours[other["family"]]
        for metric in COMPARED:
            a, b = ({seed["seed"]: seed["metrics"][metric] for seed in row["final"]["seeds"]} for row in (glass, other))
            differences = [a[seed] - b[seed] for seed in a if a[seed] is not None and b.get(seed) is not None]
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
