"""From what metadata tell of the class to findings that a person can act on."""

from glass.auditing.audit import INFO, SERIOUS, WARNING, Finding
from glass.auditing.metadata_audit import FEATURES, FeatureAudit, MetadataAudit

__all__ = ["SERIOUS_AUROC", "metadata_findings"]

SERIOUS_AUROC = 0.7
"""From here on a detector could look good by the files alone."""

_SURE = 4.0  # standard deviations of chance: one in 30,000, as some dozen facts are tried
_ABOUT = 0.05
_LEAST = 0.05  # above 0.5: less matters little, however sure it is

_ADVICE = (
    "collect both classes alike, or build the shards with --equalise match, which leaves out what "
    "has no counterpart, or --equalise recompress, which re-encodes both classes alike"
)


def metadata_findings(audit: MetadataAudit | None, real: int, generated: int) -> list[Finding]:
    """The findings of ``glass.auditing.metadata_audit.audit_metadata`` of so many images: always at
    least one."""
    if audit is None and not (real and generated):
        kind = "real" if real else "generated"
        text = f"There is only one class, {kind} images: nothing can tell it from the other."
        return [Finding("not_searched", WARNING, text, "build the shards of both classes")]
    if audit is None:
        text = (
            "There are too few scenes (20 of each class are needed) to say whether metadata tell "
            "the classes apart."
        )
        return [Finding("not_searched", WARNING, text, "audit again with more images")]
    telling = [f for f in audit.features if _tells(f.auroc, audit.noise)]
    findings = [_together(audit, telling)]
    findings += [_alone(feature) for feature in telling]
    for name, (auroc, noise) in audit.generators.items():
        if len(audit.generators) > 1 and _tells(auroc, noise):
            text = (
                f"Metadata tell the images of {name} from real ones with AUROC {auroc:.2f}: a "
                "detector's score on it need not come from what it shows."
            )
            severity = SERIOUS if auroc >= SERIOUS_AUROC else WARNING
            findings.append(
                Finding("metadata_generator", severity, text, _ADVICE, None, auroc, None)
            )
    return findings


def _tells(auroc: float, noise: float) -> bool:
    return auroc - 0.5 > max(_SURE * noise, _LEAST)


def _together(audit: MetadataAudit, telling: list[FeatureAudit]) -> Finding:
    low, high = audit.interval
    most = _cause(telling) or max(audit.features, key=lambda f: f.importance, default=None)
    measured = f"AUROC {audit.auroc:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    if low <= 0.5:
        text = (
            f"Size, format, compression and the like do not tell the classes apart ({measured}, "
            f"{audit.images:,} images)."
        )
        if high < 0.5:
            text += (
                " Below 0.5 is what cross-validation does with few images: what one part has"
                " more of, the others have less of."
            )
        return Finding("metadata", INFO, text, "", None, audit.auroc, audit.interval)
    name = most.feature if most else None
    by = f"; what gives it away most is the {FEATURES[name]}" if name else ""
    severity = SERIOUS if audit.auroc >= SERIOUS_AUROC else WARNING
    text = (
        f"The files alone tell real from generated images, without a look at a pixel ({measured}, "
        f"{audit.images:,} images){by}. A detector trained on them may learn the file instead of "
        "the picture."
    )
    return Finding("metadata", severity, text, _ADVICE, name, audit.auroc, audit.interval)


def _cause(telling: list[FeatureAudit]) -> FeatureAudit | None:
    """Of the facts that tell about as much as the best one, the one that explains the others: the
    first in ``FEATURES``. Another format has other bits per pixel, too."""
    best = max((feature.auroc for feature in telling), default=0)
    close = [feature for feature in telling if feature.auroc >= best - _ABOUT]
    return min(close, key=lambda feature: list(FEATURES).index(feature.feature), default=None)


def _alone(feature: FeatureAudit) -> Finding:
    name = FEATURES[feature.feature]
    text = (
        f"The {name} alone tells the classes apart (AUROC {feature.auroc:.2f}). Real images: "
        f"{feature.real}; generated images: {feature.generated}."
    )
    severity = SERIOUS if feature.auroc >= SERIOUS_AUROC else WARNING
    return Finding(
        "metadata_feature", severity, text, _ADVICE, feature.feature, feature.auroc, None
    )
