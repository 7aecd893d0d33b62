"""The audit of a data set before any model is trained on it: findings in plain language.

``audit_dataset`` yields the document that ``scripts.audit`` writes as ``DATA/audit.json``, and that
reports show on top. :func:`check_audit` holds it to this:

``format_version``  int, 1
``dataset``         ``name`` of its folder, ``dataset_json_sha256``
``samples``         ``all``, ``real``, ``generated``
``equalised``       str: how the build reduced differences between the classes, "" if it did not
``metadata``        null for a small set, else ``auroc``, ``interval``, ``noise``, ``images``,
                    ``features`` (list of ``feature``, ``name``, ``auroc``, ``importance``,
                    ``real``, ``generated``, ``in_pixels``, ``differs``), ``generators`` (name →
                    AUROC), ``not_in_pixels`` (``auroc``, ``interval`` by facts that no pixel shows,
                    or null), ``quant_tables`` (class → number of distinct JPEG tables)
``duplicates``      ``same_file``, ``same_pixels``, ``near``: pairs, ``candidates``, ``compared``
                    (null where near duplicates were not searched), ``pairs``: the first 1,000, the
                    worst first, as ``kind`` (``same_file``, ``same_pixels``, ``near``), ``detail``,
                    ``differ`` (list of sentences), ``samples``: of both ``path``, ``split``,
                    ``class_name``, ``generator``, ``group``, ``width``, ``height``
``findings``        the most severe first; each has every field of ``Finding``
``severity``        the worst of the findings
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass.auditing.findings import INFO, KINDS, SEVERITIES, Finding
from glass.config.run_folder import dataset_digest
from shards.errors import InputError
from shards.files.json_file import read_json

if TYPE_CHECKING:
    from glass.auditing.duplicates import Duplicates
    from shards.manifest.dataset import ShardDataset

__all__ = ["AUDIT_NAME", "audit_dataset", "check_audit", "read_audit"]

AUDIT_NAME = "audit.json"
FORMAT_VERSION = 1
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "format_version": int,
    "dataset": dict,
    "samples": dict,
    "equalised": str,
    "metadata": (dict, type(None)),
    "duplicates": dict,
    "findings": list,
    "severity": str,
}


def audit_dataset(dataset: "ShardDataset", duplicates: "Duplicates", seed: int = 0) -> dict[str, Any]:
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
    document = json.loads(json.dumps(document, allow_nan=False))
    check_audit(document)
    return document


def read_audit(root: Path) -> dict[str, Any] | None:
    """``audit.json`` of the data set in ``root``, None where there is none of this very data set.

    Raises ``InputError`` for a file that is damaged.
    """
    path = root / AUDIT_NAME
    try:
        document = read_json(path)
        check_audit(document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is no audit of this version ({error}): run python -m scripts.audit {root} again"
        ) from error
    own = dataset_digest(root)["dataset_json_sha256"]
    return document if document["dataset"]["dataset_json_sha256"] == own else None


def check_audit(document: Any) -> None:
    """Raises ``ValueError`` naming the first field that is missing or of another kind."""
    if not isinstance(document, Mapping):
        raise ValueError("not a JSON object")
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name, ...), kind):
            raise ValueError(f"field {name} is missing or of another type")
    if document["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format_version {document['format_version']} is not {FORMAT_VERSION}")
    expected = set(Finding.__dataclass_fields__)
    for finding in document["findings"]:
        if not isinstance(finding, Mapping) or set(finding) != expected:
            raise ValueError("a finding lacks a field, or has one too many")
        if finding["kind"] not in KINDS or finding["severity"] not in SEVERITIES:
            raise ValueError(f"a finding is of kind {finding['kind']!r}, {finding['severity']!r}")
    if document["severity"] not in SEVERITIES:
        raise ValueError(f"severity {document['severity']!r} is none of {', '.join(SEVERITIES)}")
