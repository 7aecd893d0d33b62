"""What the documents of the benches hold, checked when they are printed and when they are read.

``rows``  one per method and cell; those of images per second hold :data:`IMAGE_ROW`
``ratios``  name → number, the quotients that goals are set for; ``ratio_ranges`` holds the
smallest and largest of each over the rounds
``environment``  what it was measured on
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness.result import check_rates
from glass.config.documents import Map, Maybe, check_document
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.outputs import check_output, is_json_with

__all__ = ["ENVIRONMENT", "IMAGE_ROW", "LINE", "SCHEMAS", "check_line", "check_result", "print_result"]

ENVIRONMENT: dict[str, Any] = {
    "date": str,
    "commit": str,
    "cpu": str,
    "cpus_available": int,
    "cores_used": [int],
    "busy_cores": float,
    "memory_gib": float,
    "system": str,
    "python": str,
    "libjpeg_turbo": str,
    "versions": Map(str),
}
RANGES = Map([float])

IMAGE_ROW: dict[str, Any] = {
    "bench": str,
    "method": str,
    "num_crops": int,
    "megapixels": float,
    "threads": int,
    "images_per_s": float,
    "spread": [float],
    "bytes_read_per_image": float,
    "cpu_s_per_image": float,
    "peak_rss_mib": float,
}
"""``images_per_s`` is the median over the rounds and ``spread`` its smallest and largest value;
megapixels are the mean of the images; ``bytes_read_per_image`` are the bytes that a method touches
in storage; CPU seconds are user and system time of all its threads and processes."""
TURNS_ROW = IMAGE_ROW | {"images": str, "data": str, "rounds": int, "seconds_per_round": float}
MEASURED: dict[str, Any] = {
    "bench": str,
    "environment": ENVIRONMENT,
    "ratios": Map(float),
    "ratio_ranges": RANGES,
    "failed": Map(str),
}
ON_IMAGES = MEASURED | {
    "skipped": Map(str),
    "methods": Map(str),
    "image_sets": [
        {
            "images": str,
            "number": int,
            "megapixels": float,
            "bits_per_pixel": float,
            "window_sets_per_image": int,
            "skipped": Map(int),
        }
    ],
}
STEP_ROW: dict[str, Any] = {
    "bench": str,
    "method": str,
    "preset": str,
    "backbone": str,
    "num_crops": int,
    "crop_chunk": Maybe(int),
    "batch_size": int,
    "crop_size": int,
    "global_size": int,
    "settings": [str],
    "threads": int,
    "device": str,
    "precision": str,
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "decode": ON_IMAGES | {"rows": [TURNS_ROW | {"crop_size": int}]},
    "build": ON_IMAGES | {"rows": [TURNS_ROW]},
    "loader": MEASURED
    | {
        "skipped": Map(str),
        "samples": int,
        "rows": [TURNS_ROW | {"batch_size": int, "crop_size": int, "global_size": int}],
    },
    "memory": MEASURED
    | {
        "fits": [
            {
                "preset": str,
                "method": str,
                "intercept_bytes": float,
                "slope_bytes_per_crop": float,
                "r_squared": float,
                "crops": [int],
            }
        ],
        "rows": [
            STEP_ROW
            | {
                "counted_by": str,
                "rounds": int,
                "step_time_s": Maybe(float),
                "spread": Maybe([float]),
                "peak_bytes": float,
                "weights_bytes": float,
                "gradients_bytes": float,
                "optimiser_bytes": float,
                "input_bytes": float,
                "activations_bytes": float,
                "activations_after_forward_bytes": float,
                "kept_by_autograd_bytes": float,
                "process_peak_bytes": Maybe(float),
            }
        ],
    },
    "train": {
        "bench": str,
        "environment": ENVIRONMENT,
        "rows": [
            STEP_ROW
            | {
                "data": str,
                "rounds": int,
                "steps": int,
                "step_s": float,
                "data_wait_s": float,
                "forward_s": float,
                "backward_s": float,
                "optimiser_s": float,
                "images_per_s": float,
                "loader_images_per_s": float,
                "share_of_loader": float,
                "ranges": RANGES,
            }
        ],
    },
    "scale": {
        "bench": str,
        "goals": Map(float),
        "environment": ENVIRONMENT,
        "rows": [
            {
                "samples": int,
                "batch_size": int,
                "rounds": int,
                "manifest_mib": float,
                "open_s": float,
                "first_batch_s": float,
                "order_s": float,
                "resume_s": float,
                "open_peak_rss_mib": float,
                "peak_rss_mib": float,
                "ranges": RANGES,
            }
        ],
    },
    "remote": {
        "bench": str,
        "environment": ENVIRONMENT,
        "ratios": Map(float),
        "rows": [
            IMAGE_ROW
            | {
                "images": str,
                "data": str,
                "latency_ms": float,
                "mbit_per_s": float,
                "requests_per_image": float,
                "foreseen_ms_per_image": float,
                "measured_latency_ms": float,
                "measured_mbit_per_s": float,
                "chosen": str,
            }
        ],
    },
    "soak": {
        "bench": str,
        "environment": ENVIRONMENT,
        "soak": {
            "verdict": str,
            "rss_growth": float,
            "handles_growth": float,
            "threads_growth": float,
            "rss_first_mib": float,
            "rss_last_mib": float,
            "minutes": float,
            "seed": int,
            "epochs": int,
            "images": int,
            "wrong_epochs": int,
            "loader_restarts": int,
            "faults": Map(int),
            "masked": Map(int),
            "training_kills": int,
            "training_failures": int,
            "training_steps": int,
        },
        "series": {
            "time_s": [float],
            "rss_bytes": [int],
            "handles": [int],
            "threads": [int],
            "images": [int],
            "child_rss_bytes": [int],
        },
    },
    "doctor": {
        "bench": str,
        "gpu_half": str,
        "environment": ENVIRONMENT,
        "rows": [{"check": str, "verdict": str, "words": str, "time_s": float}],
    },
    "all": {"bench": str, "results": str, "runs": [{"bench": str, "exit_code": int, "kept": bool, "words": str}]},
    "report": {"bench": str, "compared": Map(int), "refused": Map(str), "left_out": [str]},
}
"""Bench → schema of the document that its last line is."""

LINE: dict[str, Any] = {"bench": str, "machine": str, "command": str, "exit_code": int, "document": dict}
"""A line of ``bench/results/*.jsonl``; its document has the bench's own schema."""


def check_result(name: str, document: dict[str, Any]) -> None:
    """Raises ``ValueError`` where the document of a bench is not what is written here."""
    check_document(document, SCHEMAS[name])
    if document["bench"] != name:
        raise ValueError(f"document.bench = {document['bench']!r} is not {name!r}")
    for place, row in enumerate(document.get("rows", [])):
        if IMAGE_ROW.keys() <= row.keys():
            check_rates(f"rows[{place}]", row)


def check_line(line: dict[str, Any]) -> None:
    """Raises ``ValueError`` where a line of results, or the document in it, is not as written."""
    check_document(line, LINE, "line")
    if line["bench"] not in SCHEMAS:
        raise ValueError(f"line.bench = {line['bench']!r} is not one of {', '.join(SCHEMAS)}")
    check_result(line["bench"], line["document"])


def print_result(
    document: dict[str, Any], output: Path | None, name: str, draw: Callable[[Path], object] = lambda folder: None
) -> None:
    """Checks the document, prints it as one line, then writes it to ``output/name.json`` if asked,
    and lets ``draw`` add plots. Raises ``InputError`` where that cannot be written."""
    check_result(name, document)
    print(json.dumps(document), flush=True)  # first: it took long, and a disk may be full
    if output is None:
        return
    path = output / f"{name}.json"
    remedy = "the result is the last line that was printed, keep that, and give another --output"
    check_output(path, is_json_with("bench"), remedy, folder_is_made=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, json.dumps(document, indent=1) + "\n")
        draw(output)
    except OSError as error:
        raise InputError(
            f"the result cannot be written to {output} ({error.strerror or error}): it is the last"
            " line that was printed, keep that"
        ) from error
