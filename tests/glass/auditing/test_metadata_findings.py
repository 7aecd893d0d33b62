"""Findings about the AUROC of a classifier that sees only metadata."""

import re
from unittest.mock import Mock

import numpy as np
import pytest

from glass.auditing.dataset_facts import typical
from glass.auditing.document import Audit, check_audit
from glass.auditing.metadata_audit import FeatureAudit, MetadataAudit, OutsideAudit
from glass.auditing.metadata_findings import metadata_findings
from glass.report.audit import render_audit_html
from shards.build.class_differences import PIXEL_FACTS
from tests.runs.made_up import made_up


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
    assert ("An AUROC below 0.5" in finding.text) == explained


def feature(name: str, auroc: float, differs: bool = True) -> FeatureAudit:
    return FeatureAudit(name, auroc, 0.0, "one", "other", name in PIXEL_FACTS, differs)


def audited(*features: FeatureAudit, low: float = 0.6) -> MetadataAudit:
    outside = OutsideAudit(1.0, (1.0, 1.0))
    tables = {"real": 4, "generated": 1}
    return MetadataAudit(0.75, (low, 0.8), 0.06, 96, features, {}, outside, tables)


def test_match_is_not_advised_where_no_single_fact_differs() -> None:
    """Only a combination of properties distinguishes the classes of these 96 images, so matching single properties
    would remove none of them."""
    (finding,) = metadata_findings(audited(feature("width", 0.7, differs=False)), 48, 48)
    assert finding.severity == "serious"
    assert "--equalise match would leave nothing out" in finding.advice
    assert "--equalise recompress" in finding.advice
    (_, alone) = metadata_findings(audited(feature("width", 0.7)), 48, 48)
    assert "--equalise match, which leaves out" in alone.advice


@pytest.mark.parametrize(
    ("equalised", "missing"),
    [
        ("matched sampling on width: 3 of 96 images left out", "--equalise match, which"),
        ("every image re-encoded as JPEG, quality 80", "--equalise recompress"),
    ],
)
def test_no_way_is_advised_that_was_gone(equalised: str, missing: str) -> None:
    for finding in metadata_findings(audited(feature("width", 0.9)), 48, 48, equalised):
        assert missing not in finding.advice
        assert "collect the images of both classes in the same way" in finding.advice


def test_metadata_alone_are_for_information() -> None:
    found = metadata_findings(audited(feature("metadata", 0.99), feature("huffman", 0.99), low=0.4), 48, 48)
    assert [(f.kind, f.severity) for f in found] == [("metadata", "info"), ("not_in_pixels", "info")]
    assert found[1].feature == "metadata"
    assert "leave no trace in the pixels" in found[1].text


def test_a_fact_that_predicts_little_alone_is_not_said_to_tell() -> None:
    found = metadata_findings(audited(feature("width", 0.51), low=0.4), 48, 48)
    assert [f.severity for f in found] == ["serious", "warning"]
    assert "differs between the classes" in found[1].text


def test_numbers_that_some_files_lack_are_shown_with_the_share_that_has_none() -> None:
    """Without the share of files that have no value, both classes would show 90, although one of them contains PNGs,
    which have no quality."""
    quality = {"jpeg_quality": np.array([90.0] * 17 + [-1.0] * 3 + [90.0] * 20)}
    second = np.arange(40) >= 20
    shown = [typical(Mock(), quality, quality, "jpeg_quality", keep) for keep in (~second, second)]
    assert shown == ["90, none 15 %", "90"]


def test_every_finding_on_the_page_says_what_to_do() -> None:
    """If several findings in a row have the same advice, it is written out only once."""
    document = made_up(Audit)
    (finding,) = document["findings"]
    common = finding | {"kind": "metadata", "severity": "warning"}
    advised = [common | {"advice": advice} for advice in ("mix", "mix", "look", "mix", "")]
    document["severity"] = "warning"
    document["findings"] = advised
    page = render_audit_html(check_audit(document))
    found = re.findall(r"What to do: (.*?)\.</span>", page)
    assert found == ["mix", "the same as above", "look", "mix"]
