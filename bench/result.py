"""The JSON document that every bench prints as the last line of standard output.

``rows``  one per method and cell, with at least the fields of :data:`ROW_FIELDS`
``ratios``  name → number, the quotients that ``DESIGN`` sets goals for; ``ratio_ranges`` holds the
smallest and largest of each over the rounds
``environment``  what it was measured on
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.harness import Measurement, Ratio
from shards.atomic import write_text_atomic

__all__ = ["ROW_FIELDS", "check_document", "print_document", "ratio_fields", "row_of"]

ROW_FIELDS: dict[str, tuple[type, ...]] = {
    "bench": (str,),
    "method": (str,),
    "num_crops": (int,),
    "megapixels": (int, float),
    "threads": (int,),
    "images_per_s": (int, float),
    "spread": (list,),
    "bytes_read_per_image": (int, float),
    "cpu_s_per_image": (int, float),
    "peak_rss_mib": (int, float),
}
"""Field → types. ``images_per_s`` is the median over the rounds and ``spread`` its smallest and
largest value; megapixels are the mean of the images; ``bytes_read_per_image`` are the bytes that a
method touches in storage; CPU seconds are user and system time of all its threads and processes."""

DOCUMENT_FIELDS = {"rows": list, "ratios": dict, "environment": dict}


def row_of(bench: str, measurement: Measurement, megapixels: float, **more: Any) -> dict[str, Any]:
    """A measurement as a row; ``more`` are further fields, as is what the method itself reports."""
    task, report = measurement.task, dict(measurement.report)
    row = {
        "bench": bench,
        "method": task.method,
        "num_crops": task.num_crops,
        "megapixels": round(megapixels, 2),
        "threads": task.threads,
        "images_per_s": _rounded(measurement.median),
        "spread": [_rounded(f(measurement.images_per_s)) for f in (min, max)],
        "bytes_read_per_image": round(report.pop("bytes_read_per_image")),
        "cpu_s_per_image": _rounded(measurement.cpu_s / measurement.images),
        "peak_rss_mib": round(measurement.peak_rss_mib, 1),
        "rounds": len(measurement.images_per_s),
    }
    return {**row, **more, **{name: _rounded(value) for name, value in report.items()}}


def ratio_fields(ratios: Mapping[str, Ratio]) -> dict[str, dict[str, Any]]:
    """``ratios`` and ``ratio_ranges`` of the document."""
    return {
        "ratios": {name: _rounded(value.median) for name, value in ratios.items()},
        "ratio_ranges": {
            name: [_rounded(value.low), _rounded(value.high)] for name, value in ratios.items()
        },
    }


def check_document(document: dict[str, Any]) -> None:
    """Raises ``ValueError`` naming the first field that is missing or not what it should be."""
    for name, kind in DOCUMENT_FIELDS.items():
        if not isinstance(document.get(name), kind):
            raise ValueError(f"{name} is not a {kind.__name__}")
    for place, row in enumerate(document["rows"]):
        _check_row(f"rows[{place}]", row)
    for name, value in document["ratios"].items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"ratios[{name!r}] = {value!r} is not a number")


def _check_row(where: str, row: dict[str, Any]) -> None:
    for name, kinds in ROW_FIELDS.items():
        value = row.get(name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{where}.{name} = {value!r} is not of type {kinds[-1].__name__}")
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{where}.{name} = {value!r} is not a number of at least 0")
    spread = row["spread"]
    if len(spread) != 2 or not spread[0] <= row["images_per_s"] <= spread[1]:
        raise ValueError(f"{where}.spread = {spread!r} does not enclose the median")


def print_document(document: dict[str, Any], output: Path | None, name: str) -> None:
    """Checks the document, writes it to ``output/name.json`` if asked, prints it as one line."""
    check_document(document)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_text_atomic(output / f"{name}.json", json.dumps(document, indent=1) + "\n")
    print(json.dumps(document), flush=True)


def _rounded(value: float) -> float:
    """Four significant digits: more is noise."""
    return float(f"{value:.4g}")
