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
    """A studied model's name, backbone family and kind."""

    name: str
    family: str
    kind: str
    """``glass`` or ``single_view``."""


class SearchResult(AboutModel):
    """The search over a model's settings. ``flops`` is how many floating-point operations it used."""

    flops: Number
    tuning: Tuning


class StudyResult(AboutModel):
    """A model's final runs with the best settings from its search."""

    terms: str
    """How extensively the settings were searched: ``tuned`` for a GLASS model; for a baseline, ``equal trials`` or
    ``equal compute``, relative to the search for its GLASS model."""
    trials: int
    search_flops: Number
    compute_share: Number | None
    """Floating-point operations used by the model's search, divided by those used by the search for the same family's
    GLASS model; null if there was no such search."""
    best_trial: int
    params: dict[str, Value]
    final: FinalRuns


class Comparison(TypedDict):
    """The difference between GLASS and its baseline (GLASS minus baseline), over runs paired by seed."""

    family: str
    terms: str
    compute_share: Number | None
    """Floating-point operations used by the baseline's search, divided by those used by the GLASS model's search."""
    metric: str
    glass: Number | None
    baseline: Number | None
    difference: Number | None
    interval: Interval
    """Student's 95 % interval for the difference, over pairs of runs."""


class BaselineRow(BaselineCost):
    """A resize-only baseline's name and training cost."""

    name: str
    family: str


class StudyDocument(TypedDict):
    """The contents of ``study.json``."""

    format_version: int
    created: str
    """When the file was written: ISO 8601, UTC."""
    budget: str
    note: str | None
    dataset: DatasetDigest
    audit: AuditSummary | None
    splits: dict[str, int]
    """Maps split names to numbers of images."""
    device: str
    versions: dict[str, str]
    searches: list[SearchResult]
    results: list[StudyResult]
    comparisons: list[Comparison]
    crop_studies: dict[str, CropStudy]
    """Maps model names to their crop studies."""
    baseline_memory: list[BaselineRow]
    memory_is: str
    time_s: Number
    """Duration of the last invocation in seconds, without earlier, interrupted ones."""
