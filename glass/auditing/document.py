"""Typed schema for ``audit.json``, which holds the result of an audit, and functions to read and check the file."""

from pathlib import Path
from typing import Annotated, TypedDict

from msgspec import Meta

from glass.auditing.findings import KINDS, SEVERITIES
from glass.config.dataset_digest import DatasetDigest, dataset_json_sha256
from shards.errors import InputError
from shards.files.documents import Count, Interval, Number, versioned_document
from shards.files.json_file import read_json

__all__ = [
    "AUDIT_NAME",
    "FORMAT_VERSION",
    "Audit",
    "AuditSummary",
    "DuplicatesRecord",
    "FindingRecord",
    "PairRecord",
    "audit_summary",
    "check_audit",
    "read_audit",
]

AUDIT_NAME = "audit.json"
FORMAT_VERSION = 1


class FindingRecord(TypedDict):
    """A :class:`Finding` as JSON."""

    kind: str
    severity: str
    text: str
    advice: str
    feature: str | None
    auroc: Number | None
    interval: Interval
    count: int | None
    examples: list[list[str]]


class AuditSamples(TypedDict):
    """Number of samples, in total and in each class."""

    all: Count
    real: Count
    generated: Count


class FeatureRecord(TypedDict):
    """A :class:`glass.auditing.metadata_audit.FeatureAudit` as JSON."""

    feature: str
    name: str
    """The feature's display name."""
    auroc: Number
    importance: Number
    real: str
    generated: str
    in_pixels: bool
    differs: bool


class Separation(TypedDict):
    """How well file properties separate the classes."""

    auroc: Number
    interval: Interval


class MetadataRecord(Separation):
    """A :class:`glass.auditing.metadata_audit.MetadataAudit` as JSON."""

    noise: Number
    images: Count
    features: list[FeatureRecord]
    generators: dict[str, Number]
    """Maps each generator to the AUROC of its images against all real images. The scores come from a model trained on
    all file properties that leave traces in the pixels."""
    not_in_pixels: Separation | None
    """Separation by the file properties that leave no trace in the pixels; null if none of them varies."""
    quant_tables: dict[str, Count]
    """Maps each class to the number of distinct JPEG quantisation table sets in its images."""


class PairSample(TypedDict):
    """One of two images that show the same picture."""

    path: str
    split: str
    class_name: str
    generator: str
    group: str
    width: Count
    height: Count


class PairRecord(TypedDict):
    """Two images that show the same picture."""

    kind: str
    """``same_file``, ``same_pixels`` (but different files) or ``near`` (near duplicates)."""
    detail: Number
    """Correlation of fine detail after alignment; 1 for equal pixels."""
    differ: list[str]
    """Differences between the two files, as readable text."""
    samples: Annotated[list[PairSample], Meta(min_length=2, max_length=2)]


class DuplicatesRecord(TypedDict):
    """Pairs of images that show the same picture, and how many candidate pairs were compared to find them."""

    same_file: Count
    same_pixels: Count
    """Number of pairs with equal pixels, including pairs of identical files."""
    near: Count | None
    """Number of near-duplicate pairs. If they were not searched for, ``near``, ``candidates`` and ``compared`` are
    null."""
    candidates: Count | None
    compared: Count | None
    pairs: list[PairRecord]
    """Up to 1,000 pairs, the worst first; the worst are those that differ in both split and class."""


class AuditSummary(TypedDict):
    """The subset of an audit that reports show."""

    severity: str
    """Severity of the worst finding."""
    equalised: str
    """How the build reduced differences between the classes; empty if it did not."""
    findings: list[FindingRecord]
    """Findings, the most severe first."""


class Audit(AuditSummary):
    """The content of ``audit.json``."""

    format_version: int
    dataset: DatasetDigest
    samples: AuditSamples
    metadata: MetadataRecord | None
    """Audit of the file properties; null if the data set has too few scenes."""
    duplicates: DuplicatesRecord


def read_audit(root: Path) -> Audit | None:
    """Returns the content of ``audit.json`` for the data set in ``root``. Returns None if the file does not exist, or
    if it was made for another data set.

    Raises ``InputError`` if the file is damaged.
    """
    path = root / AUDIT_NAME
    try:
        document = check_audit(read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not an audit of this version ({error}): run glass audit {root} again") from error
    own = dataset_json_sha256(root)
    return document if document["dataset"]["dataset_json_sha256"] == own else None


def audit_summary(audit: Audit) -> AuditSummary:
    """Returns the subset of ``audit`` that reports show."""
    return {"severity": audit["severity"], "equalised": audit["equalised"], "findings": audit["findings"]}


def check_audit(document: object) -> Audit:
    """Checks that ``document`` is a valid audit and returns it. Raises ``ValueError`` describing the first
    violation."""
    audit = versioned_document(document, Audit, FORMAT_VERSION)
    for finding in audit["findings"]:
        if set(finding) != set(FindingRecord.__annotations__):
            raise ValueError("a finding has an unknown field")
        if finding["kind"] not in KINDS or finding["severity"] not in SEVERITIES:
            raise ValueError(f"a finding is of kind {finding['kind']!r}, {finding['severity']!r}")
    if audit["severity"] not in SEVERITIES:
        raise ValueError(f"severity {audit['severity']!r} is none of {', '.join(SEVERITIES)}")
    return audit
