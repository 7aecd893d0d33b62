"""Findings about duplicates and groups, with their remedies."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glass.auditing.duplicates import exact_duplicates, groups_across_splits, near_duplicates
from glass.auditing.findings import INFO, SERIOUS, WARNING, Finding
from shards.cli.wording import counted

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = ["audit_duplicates"]

MAX_LISTED = 1000
_MAX_EXAMPLES = 5

_REGROUP = (
    "give both the same group, in the column group of a list that the shards are built from (a "
    "folder has no groups), and build again"
)
_LEAK = "What a model learned by heart counts as detected, so scores there are too high."


def audit_duplicates(
    dataset: "ShardDataset", near: bool, threads: int, advance: Callable[[int], object]
) -> tuple[dict[str, Any], list[Finding]]:
    """(the ``duplicates`` entry of the document, findings). See ``glass.auditing.audit``."""
    files = exact_duplicates(dataset, "sha256")
    pixels = exact_duplicates(dataset, "pixel_sha256")
    found = near_duplicates(dataset, threads, advance) if near else None
    close = found.pairs if found else np.empty((0, 2), np.int64)
    findings = [
        *_groups(groups_across_splits(dataset)),
        *_pairs(dataset, pixels, "duplicates", "the same pixels"),
        *_pairs(dataset, close, "near_duplicates", "the same picture, saved anew or cropped"),
    ]
    if found is None:
        text = "Near duplicates (re-saves, resizes, crops) were not searched."
        findings.append(Finding("not_searched", INFO, text, "run python -m scripts.audit"))
    elif found.compared < found.candidates:
        text = (
            f"Of {counted(found.candidates, 'pair')} of similar composition the "
            f"{found.compared:,} nearest "
            "were compared: larger crops may have been missed."
        )
        findings.append(Finding("not_searched", INFO, text))
    kinds = ["same_pixels"] * len(pixels) + ["near"] * len(close)
    detail = [1.0] * len(pixels) + (found.detail.tolist() if found else [])
    listed = np.concatenate([pixels, close])[:MAX_LISTED]
    entry = {
        "same_file": len(files),
        "same_pixels": len(pixels),
        "near": len(close) if found else None,
        "candidates": found.candidates if found else None,
        "compared": found.compared if found else None,
        "pairs": [
            {"kind": kind, "detail": score, "samples": [_sample(dataset, row) for row in pair]}
            for kind, score, pair in zip(kinds, detail, listed.tolist(), strict=False)
        ],
    }
    return entry, findings


def _sample(dataset: "ShardDataset", row: int) -> dict[str, str]:
    names = {"path": "source_path", "split": "split", "class_name": "class_name", "group": "group"}
    return {name: dataset.table[column][row].as_py() for name, column in names.items()}


def _groups(names: list[str]) -> list[Finding]:
    if not names:
        return []
    verb = "has" if len(names) == 1 else "have"
    text = f"{counted(len(names), 'group')} {verb} images in more than one split. {_LEAK}"
    examples = tuple((name,) for name in names[:_MAX_EXAMPLES])
    advice = "leave the split of these images to scripts.build_shards, or give each group one split"
    return [Finding("group_across_splits", SERIOUS, text, advice, count=len(names), examples=examples)]


def _shown(chosen: npt.NDArray[np.bool_], of: str, what: str) -> str:
    number = int(chosen.sum())
    return f"{counted(number, 'pair')} {of} {'shows' if number == 1 else 'show'} {what}."


def _pairs(dataset: "ShardDataset", pairs: npt.NDArray[np.int64], kind: str, what: str) -> list[Finding]:
    """Up to three findings: across splits, across classes, and the rest, within a split."""
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
        advice = "look at them: one of the labels is wrong, or one is an edit of the other; " + (
            "edits belong into one group"
        )
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
