"""The audit of a data set before any model is trained on it: findings in plain language.

``audit_dataset`` yields the document that ``scripts.audit`` writes as ``DATA/audit.json``, and that
reports show on top: an :class:`Audit`. Of its parts that only the page of an audit shows,

``metadata``        is null for a small set, else ``auroc``, ``interval``, ``noise``, ``images``,
                    ``features`` (list of ``feature``, ``name``, ``auroc``, ``importance``,
                    ``real``, ``generated``, ``in_pixels``, ``differs``), ``generators`` (name →
                    AUROC), ``not_in_pixels`` (``auroc``, ``interval`` by facts that no pixel shows,
                    or null), ``quant_tables`` (class → number of distinct JPEG tables)
``duplicates``      is ``same_file``, ``same_pixels``, ``near``: pairs, ``candidates``, ``compared``
                    (null where near duplicates were not searched), ``pairs``: the first 1,000, the
                    worst first, as ``kind`` (``same_file``, ``same_pixels``, ``near``), ``detail``,
                    ``differ`` (list of sentences), ``samples``: of both ``path``, ``split``,
                    ``class_name``, ``generator``, ``group``, ``width``, ``height``
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from glass.auditing.findings import INFO, KINDS, SEVERITIES
from glass.config.dataset_digest import DatasetDigest, dataset_digest
from shards.errors import InputError
from shards.files.documents import Interval, Number, versioned_document
from shards.files.json_file import read_json

if TYPE_CHECKING:
    from glass.auditing.duplicates import Duplicates
    from shards.manifest.dataset import ShardDataset

__all__ = ["AUDIT_NAME", "Audit", "AuditSummary", "audit_dataset", "audit_summary", "check_audit", "read_audit"]

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
    """Samples by class."""

    all: int
    real: int
    generated: int


class AuditSummary(TypedDict):
    """The parts of an audit that reports show."""

    severity: str
    """The worst of the findings."""
    equalised: str
    """What the build did about differences between the classes, "" for nothing."""
    findings: list[FindingRecord]
    """The most severe first."""


class Audit(AuditSummary):
    """``audit.json``."""

    format_version: int
    dataset: DatasetDigest
    samples: AuditSamples
    metadata: dict[str, Any] | None
    """:class:`glass.auditing.metadata_audit.MetadataAudit` with the names of features; None for a small set."""
    duplicates: dict[str, Any]
    """See the module."""


def audit_dataset(dataset: "ShardDataset", duplicates: "Duplicates", seed: int = 0) -> Audit:
    """The document; see the module. ``duplicates`` are those that
    :func:`glass.auditing.duplicates.find_duplicates` found; here only the manifest is read."""
    # Reading an audit needs neither Pillow nor the bootstrap.
    from glass.auditing.duplicate_findings import audit_duplicates
    from glass.auditing.metadata_audit import FEATURES, audit_metadata
    from glass.auditing.metadata_findings import metadata_findings

    metadata = audit_metadata(dataset, seed)
    found, findings = audit_duplicates(dataset, duplicates)
    labels = dataset.column("label")
    real, generated = int((labels == 0).sum()), int((labels == 1).sum())
    equalised = dataset.info.equalised
    findings = [*metadata_findings(metadata, real, generated, equalised), *findings]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    document = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset_digest(dataset.root),
        "samples": {"all": len(labels), "real": real, "generated": generated},
        "equalised": equalised,
        "metadata": None
        if metadata is None
        else {
            **asdict(metadata),
            "features": [{**asdict(f), "name": FEATURES[f.feature]} for f in metadata.features],
            "generators": {name: auroc for name, (auroc, _) in metadata.generators.items()},
        },
        "duplicates": found,
        "findings": [asdict(finding) for finding in findings],
        "severity": findings[0].severity if findings else INFO,
    }
    # Tuples become lists, as in a document that was read back.
    return check_audit(json.loads(json.dumps(document, allow_nan=False)))


def read_audit(root: Path) -> Audit | None:
    """``audit.json`` of the data set in ``root``, None where there is none of this very data set.

    Raises ``InputError`` for a file that is damaged.
    """
    path = root / AUDIT_NAME
    try:
        document = check_audit(read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is no audit of this version ({error}): run python -m scripts.audit {root} again"
        ) from error
    own = dataset_digest(root)["dataset_json_sha256"]
    return document if document["dataset"]["dataset_json_sha256"] == own else None


def audit_summary(audit: Audit) -> AuditSummary:
    """What reports show of ``audit``."""
    return {"severity": audit["severity"], "equalised": audit["equalised"], "findings": audit["findings"]}


def check_audit(document: object) -> Audit:
    """``document``, an audit. Raises ``ValueError`` naming the first place that is not as declared."""
    audit = versioned_document(document, Audit, FORMAT_VERSION)
    for finding in audit["findings"]:
        if set(finding) != set(FindingRecord.__annotations__):
            raise ValueError("a finding has a field too many")
        if finding["kind"] not in KINDS or finding["severity"] not in SEVERITIES:
            raise ValueError(f"a finding is of kind {finding['kind']!r}, {finding['severity']!r}")
    if audit["severity"] not in SEVERITIES:
        raise ValueError(f"severity {audit['severity']!r} is none of {', '.join(SEVERITIES)}")
    return audit
