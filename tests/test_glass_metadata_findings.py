"""What is said of an AUROC of metadata."""

import pytest

from glass.auditing.metadata_audit import MetadataAudit
from glass.auditing.metadata_findings import metadata_findings


@pytest.mark.parametrize(
    ("auroc", "interval", "severity", "explained"),
    [
        (0.50, (0.45, 0.55), "info", False),
        (0.39, (0.32, 0.45), "info", True),  # below a guess: of cross-validation, not of the files
        (0.65, (0.60, 0.70), "warning", False),
        (0.90, (0.85, 0.95), "serious", False),
    ],
)
def test_only_what_is_above_a_guess_gives_the_classes_away(
    auroc: float, interval: tuple[float, float], severity: str, explained: bool
) -> None:
    (finding,) = metadata_findings(MetadataAudit(auroc, interval, 0.03, 240, (), {}), 120, 120)
    assert finding.severity == severity
    assert ("Below 0.5" in finding.text) == explained
