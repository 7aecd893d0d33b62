"""Typed schemas of the JSON documents of all benches. Each document is checked both when it is printed and when it is
read.

``rows``  one row per measured combination of method and settings; benches that measure images per second use
:class:`ImageRow`
``ratios``  maps names to values, for all ratios with targets and some others; ``ratio_ranges`` holds the smallest and
largest value of each ratio over the rounds
``environment``  the machine and software used for the measurement
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from bench.harness.image_documents import Build, Decode, Environment, ImageRow, Loader, Ranges, Remote
from bench.harness.result import check_rates
from bench.harness.step_documents import Memory, Train
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.documents import Interval, Number, typed_document
from shards.files.outputs import check_output, is_json_with

__all__ = ["SCHEMAS", "Environment", "ImageRow", "Line", "check_line", "check_result", "print_result"]


class ScaleRow(TypedDict):
    """Time and memory to open a manifest, order its samples and resume an epoch. Values are medians over the rounds."""

    samples: int
    batch_size: int
    rounds: int
    manifest_mib: Number
    open_s: Number
    first_batch_s: Number
    order_s: Number
    resume_s: Number
    open_peak_rss_mib: Number
    peak_rss_mib: Number
    ranges: Ranges


class Scale(TypedDict):
    """The document that ``bench scale`` writes."""

    bench: str
    goals: dict[str, Number]
    environment: Environment
    rows: list[ScaleRow]


class SoakSummary(TypedDict):
    """The result of a soak test: how much memory use grew, how many handles and threads were added, and how many faults
    and kills occurred."""

    verdict: str
    rss_growth: Number
    handles_growth: Number
    threads_growth: Number
    rss_first_mib: Number
    rss_last_mib: Number
    minutes: Number
    seed: int
    epochs: int
    images: int
    wrong_epochs: int
    loader_restarts: int
    faults: dict[str, int]
    masked: dict[str, int]
    training_kills: int
    training_failures: int
    training_steps: int


class SoakSeries(TypedDict):
    """Time series of the values measured during a soak test."""

    time_s: list[Number]
    rss_bytes: list[int]
    handles: list[int]
    threads: list[int]
    images: list[int]
    child_rss_bytes: list[int]


class Soak(TypedDict):
    """The document written by ``bench soak``, a long-running test with injected faults."""

    bench: str
    environment: Environment
    soak: SoakSummary
    series: SoakSeries


class SpectrumRow(TypedDict):
    """How well one generator's images, or all generators' images, can be distinguished from all real images."""

    generator: str
    images: int
    auroc: Number | None
    interval: Interval


class Spectrum(TypedDict):
    """The document that ``bench spectrum`` writes."""

    bench: str
    data: str
    train_split: str
    split: str
    real: int
    rows: list[SpectrumRow]
    environment: Environment


class DoctorRow(TypedDict):
    """The result of one check of the machine."""

    check: str
    verdict: str
    words: str
    time_s: Number


class Doctor(TypedDict):
    """The document that ``bench doctor`` writes."""

    bench: str
    gpu_half: str
    environment: Environment
    rows: list[DoctorRow]


class GpuRow(TypedDict):
    """The result of one measurement of ``bench gpu``."""

    part: str
    cell: str
    state: str
    """``done``, ``failed``, ``skipped`` or ``cut off``."""
    words: str
    time_s: Number
    figures: dict[str, Any]


class Gpu(TypedDict):
    """The document that ``bench gpu`` writes."""

    bench: str
    device: str
    minutes: Number
    data: str
    rows: list[GpuRow]
    verdicts: dict[str, str]
    """Maps each part to a sentence that sums it up. Parts that were not started are missing."""
    environment: Environment


class RunOfAll(TypedDict):
    """One of the benches that ``bench all`` ran."""

    bench: str
    exit_code: int
    kept: bool
    words: str


class All(TypedDict):
    """The document that ``bench all`` writes."""

    bench: str
    results: str
    runs: list[RunOfAll]


class Report(TypedDict):
    """The document that ``bench report`` writes."""

    bench: str
    compared: dict[str, int]
    refused: dict[str, str]
    left_out: list[str]


SCHEMAS: dict[str, type[Mapping[str, Any]]] = {
    "decode": Decode,
    "build": Build,
    "loader": Loader,
    "memory": Memory,
    "train": Train,
    "scale": Scale,
    "remote": Remote,
    "soak": Soak,
    "spectrum": Spectrum,
    "doctor": Doctor,
    "gpu": Gpu,
    "all": All,
    "report": Report,
}
"""Maps each bench to the type of the document that it prints as its last line."""


class Line(TypedDict):
    """A line of ``bench/results/*.jsonl``. The type of ``document`` depends on the bench."""

    bench: str
    machine: str
    command: str
    exit_code: int
    document: dict[str, Any]


def check_result(name: str, document: dict[str, Any]) -> None:
    """Raises ``ValueError`` if the document does not have the type that :data:`SCHEMAS` declares for the bench
    ``name``."""
    typed_document(document, SCHEMAS[name])
    if document["bench"] != name:
        raise ValueError(f"document.bench = {document['bench']!r} is not {name!r}")
    for place, row in enumerate(document.get("rows", [])):
        if ImageRow.__required_keys__ <= row.keys():
            check_rates(f"rows[{place}]", row)


def check_line(line: object) -> Line:
    """Checks one line of a results file and returns it. Raises ``ValueError`` if the line or its document does not
    match its type."""
    checked = typed_document(line, Line, "line")
    if checked["bench"] not in SCHEMAS:
        raise ValueError(f"line.bench = {checked['bench']!r} is not one of {', '.join(SCHEMAS)}")
    check_result(checked["bench"], checked["document"])
    return checked


def print_result(
    document: dict[str, Any], output: Path | None, name: str, draw: Callable[[Path], object] = lambda folder: None
) -> None:
    """Checks the document and prints it as one line. If ``output`` is given, writes the document to
    ``output/name.json`` and calls ``draw(output)``, which may add plots. Raises ``InputError`` if a file cannot be
    written."""
    check_result(name, document)
    print(json.dumps(document), flush=True)  # first: it took long, and a disk may be full
    if output is None:
        return
    path = output / f"{name}.json"
    remedy = "the result is the last line printed: keep it, and give another --output next time"
    check_output(path, is_json_with("bench"), remedy, folder_is_made=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, json.dumps(document, indent=1) + "\n")
        draw(output)
    except OSError as error:
        raise InputError(
            f"the result cannot be written to {output} ({error.strerror or error}): keep the last line printed, which "
            "is the result"
        ) from error
