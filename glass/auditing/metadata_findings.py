"""Findings from the audit of metadata, with advice."""

from collections.abc import Iterable, Sequence

from glass.auditing.findings import INFO, SERIOUS, WARNING, Finding
from glass.auditing.metadata_audit import FEATURES, FeatureAudit, MetadataAudit
from shards.build.class_differences import LEAST
from shards.build.equalise import MATCHED, RECOMPRESSED
from shards.cli.wording import counted

__all__ = ["BELOW_GUESSING", "SERIOUS_AUROC", "below_guessing", "metadata_findings"]

SERIOUS_AUROC = 0.7
"""From this AUROC on, a detector could look good by learning the files alone."""

BELOW_GUESSING = (
    "Below 0.5 is no better than 0.5. Cross-validation yields it where images are few, or come in "
    "pairs, one of each class with equal facts: what a model learns from one of a pair is wrong "
    "about the other."
)

_SURE = 4.0  # standard deviations of chance: one in 30,000
_ABOUT = 0.05
_CLEARLY_BELOW = 0.4
_MOST_LISTED = 3


def metadata_findings(audit: MetadataAudit | None, real: int, generated: int, equalised: str = "") -> list[Finding]:
    """The findings of ``audit``, at least one.

    ``audit`` is the result of :func:`glass.auditing.metadata_audit.audit_metadata` for ``real`` and ``generated``
    images. ``equalised`` states how the build reduced differences between the classes, as in ``dataset.json``.
    """
    if audit is None and not (real and generated):
        kind = "real" if real else "generated"
        text = f"There is only one class, {kind} images: nothing can tell it from the other."
        return [Finding("not_searched", WARNING, text, "build the shards of both classes")]
    if audit is None:
        text = "There are too few scenes (20 of each class are needed) to say whether metadata tell the classes apart."
        return [Finding("not_searched", WARNING, text, "audit again with more images")]
    telling = [f for f in audit.features if f.differs and f.in_pixels]
    outside = [f for f in audit.features if f.differs and not f.in_pixels]
    advice = _advice(bool(telling), equalised)
    findings = [_together(audit, telling, advice)]
    findings += [_alone(feature, audit, advice) for feature in telling]
    for name, (auroc, noise) in audit.generators.items():
        if len(audit.generators) > 1 and auroc - 0.5 > max(_SURE * noise, LEAST):
            text = (
                f"The files of {name} differ from those of real images with AUROC {auroc:.2f}: a "
                "detector's score on it need not come from what it shows."
            )
            severity = SERIOUS if auroc >= SERIOUS_AUROC else WARNING
            findings.append(Finding("metadata_generator", severity, text, advice, None, auroc, None))
    return [*findings, *_not_in_pixels(audit, outside)]


def below_guessing(aurocs: Iterable[float]) -> bool:
    """Whether one of ``aurocs`` is so far below chance that it needs an explanation."""
    return any(auroc < _CLEARLY_BELOW for auroc in aurocs)


def _advice(differs: bool, equalised: str) -> str:
    """The remedies, in words.

    Matching is suggested only if some fact ``differs``, by the test that matching itself uses. A method that the build
    has already used is not suggested again.
    """
    ways = ["collect both classes alike"]
    if differs and not equalised.startswith(MATCHED):
        ways.append("build the shards with --equalise match, which leaves out what has no counterpart")
    if not equalised.startswith(RECOMPRESSED):
        ways.append("build them with --equalise recompress, which re-encodes both classes alike")
    if not differs:
        ways[0] += " (no single fact differs, so --equalise match would leave nothing out)"
    return ", or ".join(ways)


def _together(audit: MetadataAudit, telling: list[FeatureAudit], advice: str) -> Finding:
    low, high = audit.interval
    most = _cause(telling)
    measured = f"AUROC {audit.auroc:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    if low <= 0.5 and not telling:
        text = (
            f"Size, format, compression and the like do not tell the classes apart ({measured}, "
            f"{counted(audit.images, 'image')})."
        )
        if below_guessing([audit.auroc]):
            text += f" {BELOW_GUESSING}"
        return Finding("metadata", INFO, text, "", None, audit.auroc, audit.interval)
    likely = max((f for f in audit.features if f.in_pixels), key=lambda f: f.importance, default=None)
    name = most.feature if most else likely.feature if likely else None
    by = f"; what gives it away most is the {FEATURES[name]}" if name else ""
    severity = SERIOUS if audit.auroc >= SERIOUS_AUROC else WARNING
    text = (
        f"The files alone tell real from generated images, without a look at a pixel ({measured}, "
        f"{counted(audit.images, 'image')}){by}. A detector trained on them may learn the file instead of "
        "the picture."
    )
    return Finding("metadata", severity, text, advice, name, audit.auroc, audit.interval)


def _cause(telling: Sequence[FeatureAudit]) -> FeatureAudit | None:
    """Among the facts that separate the classes about as well as the best one, the fact that explains the others.

    This is the fact that comes first in ``FEATURES``: a difference in format, for example, explains a difference in
    bits per pixel, which comes later.
    """
    best = max((feature.auroc for feature in telling), default=0)
    close = [feature for feature in telling if feature.auroc >= best - _ABOUT]
    return min(close, key=lambda feature: list(FEATURES).index(feature.feature), default=None)


def _alone(feature: FeatureAudit, audit: MetadataAudit, advice: str) -> Finding:
    name = FEATURES[feature.feature]
    says = "alone tells the classes apart"
    if feature.auroc - 0.5 <= LEAST:
        says = "differs between the classes, more than by chance, though it predicts little alone"
    text = (
        f"The {name} {says} (AUROC {feature.auroc:.2f}). Real images: {feature.real}; generated "
        f"images: {feature.generated}."
    )
    if feature.feature == "quant_digest":
        counts = audit.quant_tables
        text += (
            f" Distinct tables: {counts['real']:,} in real, {counts['generated']:,} in generated "
            "images. Tables differ between encoders at the same quality, and lossy images show "
            "them."
        )
    severity = SERIOUS if feature.auroc >= SERIOUS_AUROC else WARNING
    return Finding("metadata_feature", severity, text, advice, feature.feature, feature.auroc, None)


def _not_in_pixels(audit: MetadataAudit, outside: list[FeatureAudit]) -> list[Finding]:
    if not outside or audit.not_in_pixels is None:
        return []
    auroc, interval = audit.not_in_pixels.auroc, audit.not_in_pixels.interval
    facts = "; ".join(
        f"{FEATURES[f.feature]} (real images: {f.real}; generated images: {f.generated})"
        for f in outside[:_MOST_LISTED]
    )
    more = f" and {len(outside) - _MOST_LISTED} more" if len(outside) > _MOST_LISTED else ""
    text = (
        f"The following tells the classes apart but is not in the pixels (AUROC {auroc:.2f}): "
        f"{facts}{more}. A detector trained here sees pixels alone and cannot learn it."
    )
    advice = "nothing for training; do not trust who judges images by it, as it is lost when a picture is saved anew"
    cause = _cause(outside)
    name = cause.feature if cause else None
    return [Finding("not_in_pixels", INFO, text, advice, name, auroc, interval)]
