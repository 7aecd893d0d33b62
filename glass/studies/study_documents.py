"""The types of ``study.json``: searches, final runs, crop studies and what they come to."""

from typing import TypedDict

from glass.auditing.document import AuditSummary
from glass.config.dataset_digest import DatasetDigest
from glass.studies.crop_documents import BaselineCost, CropStudy
from glass.studies.final_documents import FinalRuns
from glass.studies.search_records import Tuning, Value
from shards.files.documents import Interval, Number

__all__ = ["AboutModel", "BaselineRow", "Comparison", "SearchResult", "StudyDocument", "StudyResult"]


class AboutModel(TypedDict):
    """A model of the study."""

    name: str
    family: str
    kind: str
    """``glass`` or ``single_view``."""


class SearchResult(AboutModel):
    """The search of a model."""

    flops: Number
    tuning: Tuning


class StudyResult(AboutModel):
    """Final runs of a model on some terms."""

    terms: str
    """``tuned``, ``equal trials`` or ``equal compute``."""
    trials: int
    search_flops: Number
    compute_share: Number | None
    """Share of the compute of the family's GLASS search; None without one."""
    best_trial: int
    params: dict[str, Value]
    final: FinalRuns


class Comparison(TypedDict):
    """GLASS against its baseline, seed by seed."""

    family: str
    terms: str
    compute_share: Number | None
    """Share of the compute of GLASS's search that the baseline's used."""
    metric: str
    glass: Number | None
    baseline: Number | None
    difference: Number | None
    interval: Interval
    """Student's 95 %, over pairs of seeds."""


class BaselineRow(BaselineCost):
    """The cost of a resize-only baseline."""

    name: str
    family: str


class StudyDocument(TypedDict):
    """``study.json``."""

    format_version: int
    created: str
    """ISO 8601, UTC."""
    budget: str
    note: str | None
    dataset: DatasetDigest
    audit: AuditSummary | None
    splits: dict[str, int]
    """Name → images."""
    device: str
    versions: dict[str, str]
    searches: list[SearchResult]
    results: list[StudyResult]
    comparisons: list[Comparison]
    crop_studies: dict[str, CropStudy]
    """By model."""
    baseline_memory: list[BaselineRow]
    memory_is: str
    time_s: Number
    """This call's; with earlier, killed calls the study took longer."""
