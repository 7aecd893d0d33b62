"""The types of ``study.json``: searches, final runs, crop studies and comparisons."""

from typing import TypedDict

from glass.auditing.document import AuditSummary
from glass.config.dataset_digest import DatasetDigest
from glass.studies.crop_documents import BaselineCost, CropStudy
from glass.studies.final_documents import FinalRuns
from glass.studies.search_records import Tuning, Value
from shards.files.documents import Interval, Number

__all__ = ["AboutModel", "BaselineRow", "Comparison", "SearchResult", "StudyDocument", "StudyResult"]


class AboutModel(TypedDict):
    """Name, family and kind of a model of the study."""

    name: str
    family: str
    kind: str
    """``glass`` or ``single_view``."""


class SearchResult(AboutModel):
    """The search over the settings of a model."""

    flops: Number
    tuning: Tuning


class StudyResult(AboutModel):
    """The final runs of a model, on one of the terms of comparison."""

    terms: str
    """``tuned``, ``equal trials`` or ``equal compute``."""
    trials: int
    search_flops: Number
    compute_share: Number | None
    """Operations of the model's search, divided by those of the family's GLASS search; null if that search is
    missing."""
    best_trial: int
    params: dict[str, Value]
    final: FinalRuns


class Comparison(TypedDict):
    """GLASS minus its baseline, paired by seed."""

    family: str
    terms: str
    compute_share: Number | None
    """Operations of the baseline's search, divided by those of the GLASS model's search."""
    metric: str
    glass: Number | None
    baseline: Number | None
    difference: Number | None
    interval: Interval
    """Student's 95 % interval of the difference, over pairs of seeds."""


class BaselineRow(BaselineCost):
    """The cost of training a resize-only baseline, with its name."""

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
    """Duration of the last call; earlier calls that were killed are not counted."""
