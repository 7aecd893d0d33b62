"""The schema of ``report.json``, to the bottom; ``glass.report.data`` says what the fields mean."""

from collections.abc import Sequence
from typing import Any

from glass.config.documents import Map, Maybe, check_document
from glass.measure.evaluation_schema import LATER, SCHEMA

__all__ = ["FROM_EVALUATION", "REPORT_SCHEMA", "check_report", "run_schema"]

FROM_EVALUATION = ("intervals", "confusion", "per_generator", "samples", "threshold", "settings", "bootstrap", "timing")
"""What a report takes from an evaluation as it is."""

_NUMBER, _INTERVAL = Maybe(float), Maybe([float])
_FACTS = {"formats": Map(int), "median_megapixels": _NUMBER}
_DIFFERENCE = {"difference": _NUMBER, "interval": _INTERVAL, "share_of_draws_above_zero": _NUMBER}
REPORT_SCHEMA: dict[str, Any] = {
    "format_version": int,
    "created": str,
    "note": Maybe(str),
    "split": str,
    "dataset": {
        "name": str,
        "dataset_json_sha256": str,
        "counts": [{"split": str, "class": str, "generator": str, "images": int}],
        "evaluated": {"real": _FACTS, "generated": _FACTS},
    },
    "audit": Maybe({"severity": str, "equalised": str, "findings": [dict]}),
    "comparisons": [{"run": str, "baseline": str, "metric": str, "images": int, **_DIFFERENCE}],
}
"""Beside one entry of :func:`run_schema` per run name."""
_TRAINING = {
    "finished": bool,
    "epochs": int,
    "kept_epoch": Maybe(int),
    "valid_auroc": _NUMBER,
    "valid_accuracy": _NUMBER,
    "valid_loss": _NUMBER,
    "time_s": _NUMBER,
    "images_per_s": _NUMBER,
    "data_wait_share": _NUMBER,
}
_ROBUSTNESS = {
    "worst": Map({"row": Maybe(str), "auroc": _NUMBER}),
    "rows": [
        {
            "name": str,
            "title": str,
            "models": Map(
                {
                    "auroc": _NUMBER,
                    "tpr_at_fpr_1": _NUMBER,
                    "intervals": {"auroc": _INTERVAL, "tpr_at_fpr_1": _INTERVAL},
                    "minimum": _NUMBER,
                    "worst": Maybe(str),
                    "false_positive_rate": _NUMBER,
                }
            ),
            "differences": Map(_DIFFERENCE),
        }
    ],
}


def run_schema(split: str) -> dict[str, Any]:
    """The schema of the entry of a run that was evaluated on ``split``."""
    return {
        split: {
            **SCHEMA["metrics"],
            **{name: SCHEMA[name] for name in FROM_EVALUATION},
            "calibration": LATER["calibration"],
            "real_slices": LATER["real_slices"],
            "learnt": LATER["learnt"],
        },
        "training": _TRAINING,
        "model": SCHEMA["model"],
        "settings": dict,
        "robustness": Maybe(_ROBUSTNESS),
        "versions": dict,
    }


def check_report(document: dict[str, Any], runs: Sequence[str]) -> None:
    """Raises ``ValueError`` naming the first place that is not as written here."""
    check_document(document, REPORT_SCHEMA)
    check_document(document, dict.fromkeys(runs, run_schema(document["split"])))
