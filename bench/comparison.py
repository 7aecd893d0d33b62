"""Reads results files of ``glass bench all``, and compares rows that were measured under the same conditions.

Rows are comparable if all fields in :data:`IDENTITY` are equal. For most benches, one of these fields is ``data``, a
digest of the images or shards that the bench read. Rows measured on different photographs, or on differently built
shards, are therefore never compared, even if their names match. Lines written by another version of the benches fail
the check in ``bench.harness.schemas`` and are skipped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness.environment import QUIET_CORES
from bench.harness.schemas import SCHEMAS, check_line
from glass.report.tables import three_digits
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.json_file import parse_json, read_json_bytes

__all__ = ["IDENTITY", "METRICS", "Comparison", "NotAlike", "Result", "compare", "read_results"]

Key = tuple[str | int | float | None, ...]

_TURNS = ("threads", "seconds_per_round")
_SIZES = ("num_crops", "crop_chunk", "batch_size", "crop_size", "global_size")
_STEP = ("backbone", *_SIZES, "settings", "precision", "threads")

IDENTITY: Mapping[str, tuple[str, ...]] = {
    "decode": ("method", "images", "megapixels", "num_crops", "crop_size", "data", *_TURNS),
    "build": ("method", "images", "megapixels", "data", *_TURNS),
    "loader": ("method", "images", "num_crops", "batch_size", "crop_size", "global_size", "data", *_TURNS),
    "train": ("preset", *_STEP, "device", "data"),
    "memory": ("preset", "method", *_STEP, "counted_by"),
    "scale": ("samples", "batch_size"),
}
"""Maps each bench to the fields that identify a row. ``memory`` has no ``data``, because it runs on random pixels. Its
``counted_by`` records how memory was measured but not the GPU model, so that results from different machines remain
comparable."""

METRICS: Mapping[str, tuple[str, ...]] = {
    "decode": ("images_per_s",),
    "build": ("images_per_s",),
    "loader": ("images_per_s",),
    "train": ("images_per_s", "share_of_loader"),
    "memory": ("peak_bytes", "process_peak_bytes", "step_time_s"),
    "scale": ("open_s", "first_batch_s", "order_s", "resume_s", "open_peak_rss_mib", "peak_rss_mib"),
}
"""Maps each bench to the figures that are compared side by side. The first of them is plotted."""

_SPREAD_OF = ("images_per_s", "step_time_s")
"""Figures whose range is stored in a row's ``spread`` rather than in its ``ranges``."""
_TEXTS = ("preset", "method", "backbone", "images", "device", "precision", "counted_by")
"""Fields whose values are self-explanatory and are therefore shown without the field's name."""


class NotAlike(Exception):
    """Raised if the results have no row in common. The message names the results."""


@dataclass(frozen=True)
class Result:
    """One line of a results file."""

    bench: str
    machine: str
    document: dict[str, Any]
    exit_code: int = 0

    @property
    def label(self) -> str:
        """Machine, commit and date, for a column header."""
        found = self.document["environment"]
        return f"{self.machine}, {found['commit'][:20]}, {found['date'][:10]}"

    @property
    def rows(self) -> dict[Key, dict[str, Any]]:
        """Maps the identity of each row (its values in the :data:`IDENTITY` fields) to the row. List values
        (``settings``) are converted to JSON text."""

        def key(row: Mapping[str, Any]) -> Key:
            values = (row[name] for name in IDENTITY[self.bench])
            return tuple(json.dumps(value) if isinstance(value, list) else value for value in values)

        return {key(row): row for row in self.document["rows"]}

    @property
    def busy(self) -> bool:
        """Whether other programs kept the machine busy during the measurement."""
        return bool(self.document["environment"]["busy_cores"] > QUIET_CORES)


@dataclass(frozen=True)
class Comparison:
    """Results of one bench, and the rows that they all contain."""

    bench: str
    results: tuple[Result, ...]
    common: tuple[Key, ...]
    left_out: int
    """Number of rows that are missing from at least one result."""

    @property
    def shared(self) -> dict[str, Any]:
        """Maps each identity field that has the same value in all common rows to that value. They are stated once,
        above the table."""
        columns = zip(IDENTITY[self.bench], zip(*self.common, strict=True), strict=True)
        return {name: column[0] for name, column in columns if len(set(column)) == 1}

    def row_name(self, key: Key) -> str:
        """Returns a name for the row. It is built from the first identity field and from those other identity fields
        that differ between the common rows."""
        first = IDENTITY[self.bench][0]
        fields = zip(IDENTITY[self.bench], key, strict=True)
        return _named({name: value for name, value in fields if name == first or name not in self.shared})

    def table(self) -> list[list[str]]:
        """A header row, then one row of text per common row and figure."""
        lines = [["measured", "figure", *(r.label + (" (busy!)" if r.busy else "") for r in self.results)]]
        for key in self.common:
            for metric in METRICS[self.bench]:
                cells = [_with_range(result.rows[key], metric) for result in self.results]
                lines.append([self.row_name(key), metric.replace("_bytes", "_mib"), *cells])
        return lines

    def notes(self) -> list[str]:
        """Remarks to print above the table: shared conditions, omitted rows, unreliable results, and non-zero exit
        codes."""
        shared = {name: value for name, value in self.shared.items() if name != IDENTITY[self.bench][0]}
        notes = [f"All rows: {_named(shared)}."] if shared else []
        if self.left_out:
            notes.append(f"Left out: {counted(self.left_out, 'row')} that some results lack.")
        if any(result.busy for result in self.results):
            notes.append("Results marked (busy!) were measured while other programs used the CPU, and are unreliable.")
        ended = [f"{r.label} with {r.exit_code}" for r in self.results if r.exit_code]
        if ended:
            notes.append(f"Exit codes other than 0, for example after a missed target: {ended}.")
        return notes


def _named(fields: Mapping[str, Any]) -> str:
    """The fields as text, such as "glass_tiny, crops 4, threads 1"."""
    return ", ".join(
        str(value) if name in _TEXTS else f"{name.replace('num_', '').replace('_', ' ')} {value}"
        for name, value in fields.items()
        if value not in (None, "[]")
    )


def _with_range(row: Mapping[str, Any], metric: str) -> str:
    """Formats a row's ``metric`` with its range. Bytes are converted to MiB. Returns "–" if the metric was not
    measured."""
    if row[metric] is None:
        return "–"
    unit = 2**20 if metric.endswith("_bytes") else 1
    spread = row.get("spread") if metric in _SPREAD_OF else None
    span = row.get("ranges", {}).get(metric) or spread
    text = three_digits(row[metric] / unit)
    return f"{text} ({three_digits(span[0] / unit)} – {three_digits(span[1] / unit)})" if span else text


def read_results(files: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """Reads the results in ``files``. Returns them, together with one sentence for each line that was skipped because
    another version of the benches wrote it.

    Raises ``InputError`` naming the file if it cannot be read, or the file and line if a line is not a result at all.
    """
    results: list[Result] = []
    left_out: list[str] = []
    for path in files:
        try:
            lines = read_json_bytes(path).decode("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}): give result files of glass bench all") from error
        for number, text in enumerate(lines, 1):
            where = f"{path} line {number}"
            try:
                results.append(_result(where, text))
            except ValueError as error:
                left_out.append(f"{where} is left out, because another version of the bench wrote it ({error})")
    return results, left_out


def _result(where: str, text: str) -> Result:
    """Parses a line. Raises ``InputError`` if it is not a result, ``ValueError`` if another version of the benches
    wrote it."""
    try:
        line = parse_json(text.encode("utf-8"))
        bench, document = line["bench"], line["document"]
        if bench not in SCHEMAS or not isinstance(document, dict) or "environment" not in document:
            raise ValueError(f"it lacks a document of one of the benches {', '.join(SCHEMAS)}")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where} is not a bench result ({error}): give result files of glass bench all") from error
    check_line(line)
    return Result(bench, line["machine"], document, line["exit_code"])


def compare(results: Sequence[Result]) -> Comparison:
    """Compares results of one bench. Raises ``NotAlike`` if they have no row in common."""
    bench = results[0].bench
    rows = [result.rows for result in results]
    common = tuple(key for key in rows[0] if all(key in other for other in rows))
    if not common:
        names = "; ".join(result.label for result in results)
        raise NotAlike(
            f"the results of {bench} ({names}) share no row that was measured in the same way (same "
            f"{', '.join(IDENTITY[bench])}): write a report for each"
        )
    everything = {key for keys in rows for key in keys}
    return Comparison(bench, tuple(results), common, len(everything) - len(common))
