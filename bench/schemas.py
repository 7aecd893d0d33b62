"""What the documents of the benches hold, beside those of ``bench.result``; checked when printed.

``bench.result`` knows the rows of images per second; here are the others.
"""

import json
from pathlib import Path
from typing import Any

from bench.result import check_document as check_image_rows
from glass.documents import Map, Maybe, check_document
from shards.atomic import write_text_atomic

__all__ = ["ENVIRONMENT", "SCHEMAS", "check_result", "print_result"]

ENVIRONMENT: dict[str, Any] = {
    "date": str, "commit": str, "cpu": str, "cpus_available": int, "cores_used": [int],
    "load_average_1m": float, "memory_gib": float, "system": str, "python": str,
    "versions": Map(str),
}  # fmt: skip
RANGES = Map([float])

SCHEMAS: dict[str, dict[str, Any]] = {
    "scale": {
        "bench": str,
        "goals": Map(float),
        "environment": ENVIRONMENT,
        "rows": [
            {
                "samples": int, "rounds": int, "manifest_mib": float, "open_s": float,
                "first_batch_s": float, "order_s": float, "resume_s": float,
                "peak_rss_mib": float, "ranges": RANGES,
            }
        ],
    },
    "train": {
        "bench": str,
        "environment": ENVIRONMENT,
        "rows": [
            {
                "preset": str, "num_crops": int, "batch_size": int, "threads": int, "device": str,
                "precision": str, "steps": int, "step_s": float, "data_wait_s": float,
                "forward_s": float, "backward_s": float, "optimiser_s": float,
                "images_per_s": float, "loader_images_per_s": float, "share_of_loader": float,
                "ranges": RANGES,
            }
        ],
    },
    "memory": {
        "bench": str,
        "environment": ENVIRONMENT,
        "ratios": Map(float),
        "ratio_ranges": RANGES,
        "failed": Map(str),
        "fits": [
            {
                "preset": str, "method": str, "intercept_bytes": float,
                "slope_bytes_per_crop": float, "r_squared": float, "crops": [int],
            }
        ],
        "rows": [
            {
                "bench": str, "method": str, "preset": str, "backbone": str, "num_crops": int,
                "crop_chunk": Maybe(int), "batch_size": int, "crop_size": int, "global_size": int,
                "settings": [str], "threads": int, "device": str, "precision": str,
                "counted_by": str, "rounds": int, "step_time_s": Maybe(float),
                "spread": Maybe([float]), "peak_bytes": float, "weights_bytes": float,
                "gradients_bytes": float, "optimiser_bytes": float, "input_bytes": float,
                "activations_bytes": float, "activations_after_forward_bytes": float,
                "kept_by_autograd_bytes": float, "process_peak_bytes": Maybe(float),
            }
        ],
    },
    "doctor": {
        "bench": str,
        "environment": ENVIRONMENT,
        "rows": [{"check": str, "verdict": str, "words": str, "time_s": float}],
    },
}  # fmt: skip
"""Bench → schema, for those that do not count images per second of decoding methods."""


def check_result(name: str, document: dict[str, Any]) -> None:
    """Raises ``ValueError`` where the document of a bench is not what is written here."""
    if name in SCHEMAS:
        check_document(document, SCHEMAS[name])
    else:
        check_image_rows(document)
        check_document(document["environment"], ENVIRONMENT, "environment")


def print_result(document: dict[str, Any], output: Path | None, name: str) -> None:
    """Checks the document, writes it to ``output/name.json`` if asked, prints it as one line."""
    check_result(name, document)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_text_atomic(output / f"{name}.json", json.dumps(document, indent=1) + "\n")
    print(json.dumps(document), flush=True)
