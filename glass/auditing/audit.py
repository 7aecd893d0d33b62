"""What is wrong with a data set before any model is trained on it: findings in plain language.

``audit_dataset`` yields the document that ``scripts.audit`` writes as ``DATA/audit.json``, and that
reports show on top. :func:`check_audit` holds it to this:

``format_version``  int, 1
``dataset``         ``name`` of its folder, ``dataset_json_sha256``
``samples``         ``all``, ``real``, ``generated``
``equalised``       str: what the build did about differences between the classes, "" for nothing
``metadata``        null for a small set, else ``auroc``, ``interval``, ``noise``, ``images``,
                    ``features`` (list of ``feature``, ``name``, ``auroc``, ``importance``,
                    ``real``, ``generated``, ``in_pixels``, ``differs``), ``generators`` (name →
                    AUROC), ``not_in_pixels`` (``auroc``, ``interval`` by facts that no pixel shows,
                    or null), ``quant_tables`` (class → number of distinct JPEG tables)
``duplicates``      ``same_file``, ``same_pixels``, ``near``: pairs, ``candidates``, ``compared``
                    (null where near duplicates were not searched), ``pairs``: the first 1,000 as
                    ``kind``, ``detail``, and of both ``path``, ``split``, ``class_name``, ``group``
``findings``        the most severe first; each has every field of :class:`Finding`
``severity``        the worst of the findings
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass.config.run_folder import dataset_digest
from shards.errors import InputError
from shards.files.json_file import read_json

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = [
    "AUDIT_NAME",
    "INFO",
    "KINDS",
    "SERIOUS",
    "SEVERITIES",
    "WARNING",
    "Finding",
    "audit_dataset",
    "check_audit",
    "read_audit",
]

AUDIT_NAME = "audit.json"
FORMAT_VERSION = 1
SERIOUS, WARNING, INFO = SEVERITIES = ("serious", "warning", "info")

KINDS = {
    "metadata": "how well all facts about files that show in the pixels tell the classes apart",
    "metadata_feature": "one such fact that tells the classes apart by itself",
    "not_in_pixels": "facts that tell the classes apart and are not in the pixels",
    "metadata_generator": "a generator whose files give themselves away",
    "group_across_splits": "a group whose samples lie in several splits",
    "duplicates_across_splits": "the same file or the same pixels in several splits",
    "near_duplicates_across_splits": "one picture, saved anew, in several splits",
    "duplicates_of_both_classes": "the same pixels as real and as generated",
    "near_duplicates_of_both_classes": "one picture, saved anew, as real and as generated",
    "duplicates_within_split": "the same file or the same pixels more than once in a split",
    "near_duplicates_within_split": "one picture, saved anew, more than once in a split",
    "not_searched": "something that was not looked for, or not to the end",
}
"""Kind of a finding → what it is about."""

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


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know."""

    kind: str
    """Key of ``KINDS``."""
    severity: str
    """``serious``: results on this set would mislead; ``warning``: look at it; ``info``."""
    text: str
    """What was found."""
    advice: str = ""
    """What to do about it."""
    feature: str | None = None
    """Of facts about files: key of ``shards.build.class_differences.FACT_NAMES`` that tells most."""
    auroc: float | None = None
    """Of metadata: 0.5 tells nothing, 1 everything."""
    interval: tuple[float, float] | None = None
    """95 % interval of ``auroc``, where there is one."""
    count: int | None = None
    """Of duplicates: pairs; of groups: groups."""
    examples: tuple[tuple[str, ...], ...] = ()
    """Of duplicates: up to five pairs of paths; of groups: up to five names."""


def audit_dataset(
    dataset: "ShardDataset",
    near: bool = True,
    threads: int = 1,
    seed: int = 0,
    advance: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """The document; see the module. Without ``near`` only the manifest is read.

    ``advance(n)`` is told of every ``n`` global views read. Raises ``InputError`` where a shard
    cannot be read.
    """
    from glass.auditing.duplicate_findings import audit_duplicates
    from glass.auditing.metadata_audit import FEATURES, audit_metadata
    from glass.auditing.metadata_findings import metadata_findings

    metadata = audit_metadata(dataset, seed)
    duplicates, findings = audit_duplicates(dataset, near, threads, advance)
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
        "duplicates": duplicates,
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
