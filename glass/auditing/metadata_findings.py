"""Turns the result of the metadata audit into findings with advice."""

from collections.abc import Iterable, Sequence

from glass.auditing.findings import INFO, SERIOUS, WARNING, Finding
from glass.auditing.metadata_audit import FEATURES, FeatureAudit, MetadataAudit
from shards.build.class_differences import LEAST
from shards.build.equalise import MATCHED, RECOMPRESSED
from shards.cli.wording import counted

__all__ = ["BELOW_GUESSING", "SERIOUS_AUROC", "below_guessing", "metadata_findings"]

SERIOUS_AUROC = 0.7
"""A finding with at least this AUROC is serious: a detector could score well by learning file properties alone."""

BELOW_GUESSING = (
    "An AUROC below 0.5 is no better than 0.5. Cross-validation yields such values if there are few images, or if "
    "images come in pairs, one of each class, with equal file properties: what a model learns from one image of a "
    "pair is wrong for the other."
)

_SURE = 4.0  # standard deviations; chance alone exceeds them once in 30,000
_ABOUT = 0.05
_CLEARLY_BELOW = 0.4
_MOST_LISTED = 3


def metadata_findings(audit: MetadataAudit | None, real: int, generated: int, equalised: str = "") -> list[Finding]:
    """Returns the findings of ``audit``; there is always at least one.

    ``audit`` is the result of :func:`glass.auditing.metadata_audit.audit_metadata`. ``real`` and ``generated`` are the
    numbers of images in the two classes. ``equalised`` states how the build reduced differences between the classes, as
    in ``dataset.json``.
    """
    if audit is None and not (real and generated):
        kind = "real" if real else "generated"
        text = f"There is only one class, {kind} images, so nothing can be compared."
        return [Finding("not_searched", WARNING, text, "build shards with images of both classes")]
    if audit is None:
        text = "There are too few scenes (20 of each class are needed) to test the properties of the files."
        return [Finding("not_searched", WARNING, text, "audit again with more images")]
    telling = [f for f in audit.features if f.differs and f.in_pixels]
    outside = [f for f in audit.features if f.differs and not f.in_pixels]
    advice = _advice(bool(telling), equalised)
    findings = [_together(audit, telling, advice)]
    findings += [_alone(feature, audit, advice) for feature in telling]
    for name, (auroc, noise) in audit.generators.items():
        if len(audit.generators) > 1 and auroc - 0.5 > max(_SURE * noise, LEAST):
            text = (
                f"The files of {name} differ from those of real images with AUROC {auroc:.2f}: a detector may "
                "recognise these files by their format instead of the traces of the generator."
            )
            severity = SERIOUS if auroc >= SERIOUS_AUROC else WARNING
            findings.append(Finding("metadata_generator", severity, text, advice, None, auroc, None))
    return [*findings, *_not_in_pixels(audit, outside)]


def below_guessing(aurocs: Iterable[float]) -> bool:
    """Whether any of ``aurocs`` is so far below chance that it needs an explanation."""
    return any(auroc < _CLEARLY_BELOW for auroc in aurocs)


def _advice(differs: bool, equalised: str) -> str:
    """Returns advice, as text, on how to make the file properties of the two classes more alike.

    ``differs`` says whether any single property differs between the classes, by the test that ``--equalise match``
    uses. If none does, ``--equalise match`` is not suggested. A method that the build has already used is not suggested
    again.
    """
    ways = ["collect the images of both classes in the same way"]
    if differs and not equalised.startswith(MATCHED):
        ways.append(
            "build the shards with --equalise match, which leaves out images without a counterpart in the other class"
        )
    if not equalised.startswith(RECOMPRESSED):
        ways.append("build them with --equalise recompress, which re-encodes all images in the same way")
    if not differs:
        ways[0] += " (no single property differs, so --equalise match would leave nothing out)"
    return ", or ".join(ways)


def _together(audit: MetadataAudit, telling: list[FeatureAudit], advice: str) -> Finding:
    low, high = audit.interval
    most = _cause(telling)
    measured = f"AUROC {audit.auroc:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    if low <= 0.5 and not telling:
        text = (
            f"Size, format, compression and similar file properties do not separate the classes ({measured}, "
            f"{counted(audit.images, 'image')})."
        )
        if below_guessing([audit.auroc]):
            text += f" {BELOW_GUESSING}"
        return Finding("metadata", INFO, text, "", None, audit.auroc, audit.interval)
    likely = max((f for f in audit.features if f.in_pixels), key=lambda f: f.importance, default=None)
    name = most.feature if most else likely.feature if likely else None
    by = f"; the strongest cue is the {FEATURES[name]}" if name else ""
    severity = SERIOUS if audit.auroc >= SERIOUS_AUROC else WARNING
    text = (
        f"File properties alone, without any pixel, separate real from generated images ({measured}, "
        f"{counted(audit.images, 'image')}){by}. A detector trained on these images may learn the file properties "
        "instead of the traces of generators."
    )
    return Finding("metadata", severity, text, advice, name, audit.auroc, audit.interval)


def _cause(telling: Sequence[FeatureAudit]) -> FeatureAudit | None:
    """Returns the feature that is most likely to explain the others, or None if ``telling`` is empty.

    If several features separate the classes about as well as the best one, the first of them in ``FEATURES`` is
    returned. ``FEATURES`` lists causes before their effects: a difference in format, for example, explains one in bits
    per pixel.
    """
    best = max((feature.auroc for feature in telling), default=0)
    close = [feature for feature in telling if feature.auroc >= best - _ABOUT]
    return min(close, key=lambda feature: list(FEATURES).index(feature.feature), default=None)


def _alone(feature: FeatureAudit, audit: MetadataAudit, advice: str) -> Finding:
    name = FEATURES[feature.feature]
    says = "alone separates the classes"
    if feature.auroc - 0.5 <= LEAST:
        says = "differs between the classes by more than chance, although on its own it predicts little"
    text = (
        f"The {name} {says} (AUROC {feature.auroc:.2f}). Real images: {feature.real}; generated "
        f"images: {feature.generated}."
    )
    if feature.feature == "quant_digest":
        counts = audit.quant_tables
        text += (
            f" Distinct tables: {counts['real']:,} in real, {counts['generated']:,} in generated images. Encoders use "
            "different tables at the same quality, and tables leave traces in lossy images."
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
        f"These file properties separate the classes but leave no trace in the pixels (AUROC {auroc:.2f}): "
        f"{facts}{more}. A detector trained on these images sees only pixels and cannot learn them."
    )
    advice = "nothing for training; do not judge images by these properties, which are lost when an image is re-saved"
    cause = _cause(outside)
    name = cause.feature if cause else None
    return [Finding("not_in_pixels", INFO, text, advice, name, auroc, interval)]
