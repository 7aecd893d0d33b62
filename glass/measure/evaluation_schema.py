"""The schema of ``evaluation-<split>.json``, to the bottom: a report shows all of it."""

from typing import Any

from glass.config.documents import Map, Maybe, check_document
from glass.config.learnt_ids import OVERLAP_SCHEMA
from glass.measure.generators import GENERATOR_METRICS
from glass.measure.weighted_metrics import METRIC_NAMES

__all__ = ["FORMAT_VERSION", "LATER", "SCHEMA", "check_evaluation"]

FORMAT_VERSION = 1
MAX_DRAWS = 1_000_000
"""Draws of a bootstrap at most. A report draws as often as the document says."""

_NUMBER, _INTERVAL = Maybe(float), Maybe([float])
_GENERATOR = {
    "images": int,
    **dict.fromkeys(GENERATOR_METRICS, _NUMBER),
    "mean_probability": _NUMBER,
    "intervals": dict.fromkeys(GENERATOR_METRICS, _INTERVAL),
}
_REAL = {
    "images": int,
    "false_positive_rate": _NUMBER,
    "mean_probability": _NUMBER,
    "intervals": {"false_positive_rate": _INTERVAL},
}
SCHEMA: dict[str, Any] = {
    "format_version": int,
    "split": str,
    "model": {"kind": str, "weights_sha256": str, "chosen": Maybe(dict)},
    "dataset": {"name": str, "dataset_json_sha256": str},
    "settings": {"num_crops": int, "crop_size": int, "sampling": str, "seed": int, "device": str, "precision": str},
    "threshold": {"value": float, "source": str},
    "samples": dict.fromkeys(("scored", "real", "generated", "scenes", "undecodable"), int),
    "bootstrap": {"draws": int, "seed": int, "level": float},
    "metrics": dict.fromkeys(METRIC_NAMES, _NUMBER),
    "intervals": dict.fromkeys(METRIC_NAMES, _INTERVAL),
    "confusion": dict.fromkeys(("hits", "misses", "false_alarms", "real_passed"), int),
    "per_generator": {
        "generators": Map(_GENERATOR),
        "real": _REAL,
        "mean": dict.fromkeys(GENERATOR_METRICS, _NUMBER),
        "minimum": dict.fromkeys(GENERATOR_METRICS, _NUMBER),
        "worst": Maybe(str),
    },
    "roc": Maybe({"fpr": [float], "tpr": [float], "threshold": [float]}),
    "reliability": [{"low": float, "high": float, "count": int, "mean_probability": float, "share_generated": float}],
    "timing": {"time_s": float, "images_per_s": float},
    "versions": dict,
}
_QUALITY = {"ece": _NUMBER, "nll": _NUMBER, "brier": _NUMBER}
LATER: dict[str, Any] = {
    "calibration": Maybe({"temperature": float, "false_alarms": Map(float), "before": _QUALITY, "after": _QUALITY}),
    "missing": [dict],
    "learnt": Maybe(OVERLAP_SCHEMA),
    "real_slices": [{"slice": str, "images": int, "false_positive_rate": float, "interval": _INTERVAL}],
}
"""Absent in older documents."""
_CALIBRATION_LATER = {
    "data": dict,
    "in_sample": bool,
    "promise": Maybe(
        {
            "max_fpr": float,
            "calibrated_on": {"images": int, "false_alarms": int},
            "images": int,
            "false_alarms": int,
            "rate": float,
            "interval": _INTERVAL,
            "expected": [int],
            "verdict": str,
        }
    ),
    "uncertain": {"real": _NUMBER, "generated": _NUMBER},
    "decided": {"images": int, "accuracy": _NUMBER, "interval": _INTERVAL},
}
"""Absent in the calibration of older documents."""


def check_evaluation(document: Any) -> None:
    """Raises ``ValueError`` naming the first field that is missing or of another kind."""
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is int and version != FORMAT_VERSION:
        raise ValueError(f"format_version {version} is not {FORMAT_VERSION}")
    check_document(document, SCHEMA)
    for part, later in ((document, LATER), (document.get("calibration"), _CALIBRATION_LATER)):
        if part is not None:
            check_document(part, {name: later[name] for name in later if name in part})
    bootstrap = document["bootstrap"]
    if not 0 <= bootstrap["draws"] <= MAX_DRAWS or bootstrap["seed"] < 0:
        raise ValueError(f"bootstrap = {str(bootstrap)[:100]}")
