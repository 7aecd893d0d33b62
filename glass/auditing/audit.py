"""Audits a data set before any model is trained on it, and states the findings in plain language.

``audit_dataset`` returns an :class:`glass.auditing.document.Audit`, the document that ``glass audit`` writes to
``DATA/audit.json``. ``glass report`` shows its findings at the top of the page.
"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from glass.auditing.document import FORMAT_VERSION, Audit, check_audit
from glass.auditing.duplicate_findings import audit_duplicates
from glass.auditing.findings import INFO, SEVERITIES
from glass.auditing.metadata_audit import FEATURES, audit_metadata
from glass.auditing.metadata_findings import metadata_findings
from glass.config.dataset_digest import dataset_digest

if TYPE_CHECKING:
    from glass.auditing.duplicates import Duplicates
    from shards.manifest.dataset import ShardDataset

__all__ = ["audit_dataset"]


def audit_dataset(dataset: "ShardDataset", duplicates: "Duplicates", seed: int = 0) -> Audit:
    """Audits ``dataset`` and returns the result as a document.

    ``duplicates`` is the result of :func:`glass.auditing.duplicates.find_duplicates`. Everything else is taken from the
    manifest.
    """
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
