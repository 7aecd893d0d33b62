"""Typed schema of ``study.json``: searches, final runs, crop studies and comparisons."""

from typing import TypedDict

from glass.auditing.document import AuditSummary
from glass.config.dataset_digest import DatasetDigest
from glass.studies.crop_documents import BaselineCost, CropStudy
from glass.studies.final_documents import FinalRuns
from glass.studies.search_records import Tuning, Value
from shards.files.documents import Interval, Number

__all__ = ["AboutModel", "BaselineRow", "Comparison", "SearchResult", "StudyDocument", "StudyResult"]


class AboutModel(TypedDict):
    """Name, backbone family and kind of a model in the study."""

    name: str
    family: str
    kind: str
    """``glass`` or ``single_view``."""


class SearchResult(AboutModel):
    """The search over a model's settings. ``flops`` is the number of floating-point operations that it used."""

    flops: Number
    tuning: Tuning


class StudyResult(AboutModel):
    """The final runs of a model with the best settings of its search."""

    terms: str
    """How extensively the settings were searched: ``tuned`` for a GLASS model; for a baseline, ``equal trials`` or
    ``equal compute``, relative to the search for its GLASS model."""
    trials: int
    search_flops: Number
    compute_share: Number | None
    """Number of operations used by the model's search, divided by the number used by the search for the GLASS model of
    the same family; null if there was no such search."""
    best_trial: int
    params: dict[str, Value]
    final: FinalRuns


class Comparison(TypedDict):
    """The difference between GLASS and its baseline (GLASS minus baseline), over pairs of runs with the same seed."""

    family: str
    terms: str
    compute_share: Number | None
    """Number of operations used by the baseline's search, divided by the number used by the search for the GLASS
    model."""
    metric: str
    glass: Number | None
    baseline: Number | None
    difference: Number | None
    interval: Interval
    """Student's 95 % interval of the difference, over pairs of seeds."""


class BaselineRow(BaselineCost):
    """The name of a resize-only baseline and its training cost."""

    name: str
    family: str


class StudyDocument(TypedDict):
    """The content of ``study.json``."""

    format_version: int
    created: str
    """Time of writing: ISO 8601, UTC."""
    budget: str
    note: str | None
    dataset: DatasetDigest
    audit: AuditSummary | None
    splits: dict[str, int]
    """Name of a split → number of images."""
    device: str
    versions: dict[str, str]
    searches: list[SearchResult]
    results: list[StudyResult]
    comparisons: list[Comparison]
    crop_studies: dict[str, CropStudy]
    """Name of a model → its crop study."""
    baseline_memory: list[BaselineRow]
    memory_is: str
    time_s: Number
    """Duration of the final invocation in seconds, excluding earlier, interrupted ones."""
