"""Audit findings: their kinds, severities and fields."""

from dataclasses import dataclass

__all__ = ["INFO", "KINDS", "SERIOUS", "SEVERITIES", "WARNING", "Finding"]

SERIOUS, WARNING, INFO = SEVERITIES = ("serious", "warning", "info")

KINDS = {
    "metadata": "how well all file properties that leave traces in the pixels separate the classes",
    "metadata_feature": "one such property that separates the classes on its own",
    "not_in_pixels": "file properties that separate the classes but leave no trace in the pixels",
    "metadata_generator": "a generator whose files give themselves away",
    "group_across_splits": "a group with samples in several splits",
    "duplicates_across_splits": "the same file or the same pixels in several splits",
    "near_duplicates_across_splits": "one picture, re-saved, in several splits",
    "duplicates_of_both_classes": "the same pixels as real and as generated",
    "near_duplicates_of_both_classes": "one picture, re-saved, as real and as generated",
    "duplicates_within_split": "the same file or the same pixels more than once in a split",
    "near_duplicates_within_split": "one picture, re-saved, more than once in a split",
    "not_searched": "a search that was skipped, or not finished",
}
"""Maps each kind of finding to its description."""


@dataclass(frozen=True)
class Finding:
    """One result of the audit, for the user to read and act on."""

    kind: str
    """Kind of the finding: a key of ``KINDS``."""
    severity: str
    """``serious``: results on this data set would mislead; ``warning``: check it; ``info``: for information."""
    text: str
    """The finding, in full sentences."""
    advice: str = ""
    """What to do about it."""
    feature: str | None = None
    """The file property that separates the classes, or the strongest of several: a key of
    ``shards.build.class_differences.FACT_NAMES``."""
    auroc: float | None = None
    """AUROC of a model that knows only file properties; 0.5 is chance."""
    interval: tuple[float, float] | None = None
    """95 % interval of ``auroc``, if there is one."""
    count: int | None = None
    """Number of duplicate pairs or groups that the finding is about."""
    examples: tuple[tuple[str, ...], ...] = ()
    """Up to five examples: the two paths of a duplicate pair, or the name of a group."""
