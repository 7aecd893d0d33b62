"""Turns duplicates and groups that cross splits into findings with advice."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glass.auditing.document import DuplicatesRecord, PairRecord
from glass.auditing.duplicates import Duplicates, exact_duplicates, groups_across_splits
from glass.auditing.findings import INFO, SERIOUS, WARNING, Finding
from shards.cli.wording import counted

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = ["audit_duplicates"]

MAX_LISTED = 1000
_MAX_EXAMPLES = 5

_REGROUP = (
    "check them, write them to a list with glass audit --write-groups FILE, and build again into another folder with "
    "--groups FILE, so that each pair shares a split"
)
_SHOWN = ("source_path", "split", "class_name", "generator", "group", "width", "height")
_COMPARED = ("sha256", "format", "jpeg_quality", "source_bytes")
_LEAK = "Images that the model memorised in training count as detected, so test scores come out too high."


def audit_duplicates(dataset: "ShardDataset", duplicates: Duplicates) -> tuple[DuplicatesRecord, list[Finding]]:
    """Reports on duplicates and on groups that cross splits.

    Returns (the audit document's entry ``duplicates``, the findings).
    """
    equal, found = duplicates.same_pixels, duplicates.near
    findings = [
        *_groups(groups_across_splits(dataset)),
        *_pairs(dataset, duplicates.pairs[equal], "duplicates", "the same pixels"),
        *_pairs(dataset, duplicates.pairs[~equal], "near_duplicates", "the same picture, re-saved or cropped"),
    ]
    if found is None:
        text = "Near duplicates (re-saves, resizes, crops) were not searched for."
        findings.append(Finding("not_searched", INFO, text, "run glass audit without --no-near"))
    elif found.compared < found.candidates:
        text = (
            f"Of {counted(found.candidates, 'pair')} of similar composition, only the {found.compared:,} most similar "
            "were compared: large crops may have been missed."
        )
        findings.append(Finding("not_searched", INFO, text))
    entry: DuplicatesRecord = {
        "same_file": len(exact_duplicates(dataset, "sha256")),
        "same_pixels": int(equal.sum()),
        "near": len(found.pairs) if found else None,
        "candidates": found.candidates if found else None,
        "compared": found.compared if found else None,
        "pairs": _listed(dataset, duplicates),
    }
    return entry, findings


def _listed(dataset: "ShardDataset", duplicates: Duplicates) -> list[PairRecord]:
    """Returns the audit document's records of the first ``MAX_LISTED`` pairs."""
    wanted = pa.array(duplicates.pairs[:MAX_LISTED].ravel())
    rows = dataset.table.select([*_SHOWN, *_COMPARED]).take(wanted).to_pylist()
    pairs = zip(duplicates.same_pixels, duplicates.detail, rows[::2], rows[1::2], strict=False)
    return [
        {
            "kind": "same_file" if one["sha256"] == other["sha256"] else "same_pixels" if equal else "near",
            "detail": float(detail),
            "differ": _differences(one, other),
            "samples": [
                {
                    "path": row["source_path"],
                    "split": row["split"],
                    "class_name": row["class_name"],
                    "generator": row["generator"],
                    "group": row["group"],
                    "width": row["width"],
                    "height": row["height"],
                }
                for row in (one, other)
            ],
        }
        for equal, detail, one, other in pairs
    ]


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Lists, as readable text, how two files of one picture differ in dimensions, format, JPEG quality and length."""
    words = ("{} and {} pixels", "{} and {}", "JPEG quality {} and {}", "{:,} and {:,} bytes")
    facts = [
        (f"{row['width']} × {row['height']}", row["format"], row["jpeg_quality"], row["source_bytes"])
        for row in (one, other)
    ]
    return [text.format(a, b) for text, a, b in zip(words, *facts, strict=True) if a and b and a != b]


def _groups(names: list[str]) -> list[Finding]:
    if not names:
        return []
    verb = "has" if len(names) == 1 else "have"
    text = f"{counted(len(names), 'group')} {verb} images in more than one split. {_LEAK}"
    examples = tuple((name,) for name in names[:_MAX_EXAMPLES])
    advice = "let glass build choose the split of these images, or assign each group to one split"
    return [Finding("group_across_splits", SERIOUS, text, advice, count=len(names), examples=examples)]


def _shown(chosen: npt.NDArray[np.bool_], of: str, what: str) -> str:
    number = int(chosen.sum())
    return f"{counted(number, 'pair')} {of} {'shows' if number == 1 else 'show'} {what}."


def _pairs(dataset: "ShardDataset", pairs: npt.NDArray[np.int64], kind: str, what: str) -> list[Finding]:
    """Returns up to three findings about ``pairs`` (m, 2): pairs across splits, pairs across classes, and all others.

    ``what`` says what the two images of a pair have in common, such as "the same pixels".
    """
    splits, labels = dataset.codes("split")[0], dataset.column("label")
    split, label = splits[pairs], labels[pairs]
    across = split[:, 0] != split[:, 1]
    both = label[:, 0] != label[:, 1]
    findings = []
    if across.any():
        text = f"{_shown(across, 'of images in different splits', what)} {_LEAK}"
        findings.append(_finding(dataset, f"{kind}_across_splits", SERIOUS, text, _REGROUP, pairs[across]))
    if both.any():
        text = _shown(both, "of a real and a generated image", what)
        advice = "check whether a label is wrong or one image is an edit of the other; put edits into the image's group"
        severity = SERIOUS if kind == "duplicates" else WARNING
        findings.append(_finding(dataset, f"{kind}_of_both_classes", severity, text, advice, pairs[both]))
    rest = ~across & ~both
    if rest.any():
        text = _shown(rest, "of images of one class in one split", what)
        findings.append(_finding(dataset, f"{kind}_within_split", INFO, text, "", pairs[rest]))
    return findings


def _finding(
    dataset: "ShardDataset", kind: str, severity: str, text: str, advice: str, pairs: npt.NDArray[np.int64]
) -> Finding:
    paths = dataset.table["source_path"]
    examples = tuple((paths[first].as_py(), paths[second].as_py()) for first, second in pairs[:_MAX_EXAMPLES].tolist())
    return Finding(kind, severity, text, advice, count=len(pairs), examples=examples)
