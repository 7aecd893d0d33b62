"""Stores memory measurements of training steps, and derives from them how much memory one view needs.

``memory_model.json`` next to this file holds rows produced by ``glass bench memory --save-model``. For a given
architecture and view size, the memory that autograd keeps grows by a fixed number of bytes per view (global view or
crop). The memory for weights, gradients and optimiser state can be computed without a measurement.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from shards.errors import InputError
from shards.files.atomic import write_text_atomic

__all__ = ["MEMORY_MODEL", "Row", "ViewCosts", "fitted", "is_measured", "save_rows", "view_costs"]

Row = Mapping[str, Any]

MEMORY_MODEL = Path(__file__).with_name("memory_model.json")
FORMAT_VERSION = 1
IDENTITY = ("preset", "precision", "device", "batch_size", "num_crops", "crop_chunk")
KEPT = (
    *IDENTITY,
    "backbone",
    "global_size",
    "crop_size",
    "peak_bytes",
    "weights_bytes",
    "gradients_bytes",
    "optimiser_bytes",
    "activations_bytes",
    "input_bytes",
    "kept_by_autograd_bytes",
    "step_time_s",
    "counted_by",
)


@dataclass(frozen=True)
class ViewCosts:
    """Memory that a step needs in addition to weights, gradients, optimiser state and input."""

    bytes_per_view: float
    """Bytes that autograd keeps for one view of one image."""
    fixed_bytes: float
    """Bytes kept regardless of the batch size: for half-precision copies of the weights, and for the head."""
    reserve_bytes: float
    """Largest amount by which a measured peak exceeds the sum of its known parts, because of temporary buffers."""
    image_size: int
    """Side length of the measured views, in pixels."""
    measured: tuple[Row, ...]
    """The measured rows that these values were fitted to."""


def save_rows(rows: Sequence[Row], environment: Mapping[str, Any]) -> Path:
    """Merges ``rows`` from ``glass bench memory`` into ``memory_model.json`` and returns the file's path.

    New rows replace older ones with the same preset, precision, device, batch size, number of crops and chunk size.
    Rows measured with modified presets are left out. ``environment`` provides the date and torch's version.
    """
    stamp = {"date": environment["date"], "torch": environment["versions"].get("torch")}
    fresh: list[Row] = [{**{name: row[name] for name in KEPT}, **stamp} for row in rows if not row["settings"]]
    replaced = {_identity(row) for row in fresh}
    older = [row for row in _read() if _identity(row) not in replaced]
    document = {"format_version": FORMAT_VERSION, "rows": sorted(older + fresh, key=_order)}
    write_text_atomic(MEMORY_MODEL, json.dumps(document, indent=1) + "\n")
    _read.cache_clear()
    return MEMORY_MODEL


def is_measured(backbone: str, precision: str) -> bool:
    """Whether there are measurements without chunks for this architecture and precision, with at least two different
    numbers of crops."""
    return len({row["num_crops"] for row in _plain(_measured(backbone, precision))}) > 1


def view_costs(backbone: str, precision: str) -> ViewCosts:
    """Returns the memory costs for this backbone and precision, derived from the measured rows.

    Raises ``InputError`` if there are no such rows; the message names the command that measures them.
    """
    if not is_measured(backbone, precision):
        known = sorted({(row["backbone"], row["precision"]) for row in _read()})
        raise InputError(
            f"no memory was measured for {backbone} in {precision}: run glass bench memory --presets P --save-model "
            "for a preset P that has it (measured so far: "
            f"{', '.join(f'{name} in {kind}' for name, kind in known) or 'none'})"
        )
    return fitted(_measured(backbone, precision))


def fitted(rows: Sequence[Row]) -> ViewCosts:
    """Fits the costs to those ``rows`` that were measured without chunks, as a linear function of the number of views.

    These rows must include at least two different numbers of crops.
    """
    plain = _plain(rows)
    images = np.array([row["batch_size"] for row in plain], float)
    views = images * np.array([row["num_crops"] + 1 for row in plain], float)
    kept = np.array([row["kept_by_autograd_bytes"] for row in plain], float)
    per_view, fixed = np.polyfit(views, kept, 1)
    return ViewCosts(
        bytes_per_view=float(per_view),
        fixed_bytes=max(float(fixed), 0.0),
        reserve_bytes=max(_shortfall(row, per_view, fixed) for row in plain),
        image_size=plain[0]["crop_size"],
        measured=tuple(rows),
    )


def _measured(backbone: str, precision: str) -> list[Row]:
    """Returns the rows for this architecture and precision; only the ones measured on a GPU, if there are any."""
    rows = [row for row in _read() if row["backbone"] == backbone and row["precision"] == precision]
    on_gpu = [row for row in rows if row["device"] != "cpu"]
    return on_gpu or rows


def _plain(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["crop_chunk"] is None]


def _shortfall(row: Row, per_view: float, fixed: float) -> float:
    parts = row["weights_bytes"] + row["optimiser_bytes"] + row["input_bytes"]
    kept = row["batch_size"] * (1 + row["num_crops"]) * per_view + max(fixed, 0.0)
    return max(float(row["peak_bytes"] - parts - kept), 0.0)


@cache
def _read() -> tuple[Row, ...]:
    if not MEMORY_MODEL.is_file():
        return ()
    return tuple(json.loads(MEMORY_MODEL.read_text(encoding="utf-8"))["rows"])


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in IDENTITY)


def _order(row: Row) -> tuple[str, ...]:
    return tuple(f"{value or 0:>8}" for value in _identity(row))
