"""Every document type of glass: a wrong document is refused with the place of the mistake, and one of an earlier
version can be read."""

from collections.abc import Callable
from typing import Any

import pytest

from glass.auditing.document import Audit, check_audit
from glass.measure.evaluation_schema import Evaluation, check_evaluation
from glass.measure.robustness_schema import Robustness, check_robustness
from glass.predict.prediction_files import Predictions
from glass.report.document import Report, RunReport
from glass.studies.crop_documents import CropStudy
from glass.studies.final_documents import FinalRuns, Seeds
from glass.studies.plan import Plan
from glass.studies.search_records import BestParams, Tuning, best_trial
from glass.studies.study_documents import StudyDocument
from shards.files.documents import typed_document
from tests.runs.made_up import made_up, refuses_holes

CHECKS: dict[Any, Callable[[Any], object]] = {
    Audit: check_audit,
    Evaluation: check_evaluation,
    Robustness: check_robustness,
}
"""Document type → a check beyond the declared type."""


@pytest.mark.parametrize(
    "kind",
    [
        Audit,
        BestParams,
        CropStudy,
        Evaluation,
        FinalRuns,
        Plan,
        Predictions,
        Report,
        Robustness,
        RunReport,
        Seeds,
        StudyDocument,
        Tuning,
    ],
)
def test_a_document_with_a_hole_is_refused(kind):
    """Tries each field once missing and once with a type that is allowed nowhere. Fields of later versions may be
    missing."""
    whole = made_up(kind)
    if kind is Audit:
        whole["severity"] = whole["findings"][0]["severity"] = "serious"
        whole["findings"][0]["kind"] = "metadata"
    assert refuses_holes(CHECKS.get(kind, lambda document: typed_document(document, kind)), whole, kind) > 1


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("bootstrap", "draws", 1_000_001, r"document\.bootstrap\.draws = '1000001' is not"),
        ("bootstrap", "seed", -1, r"document\.bootstrap\.seed = '-1' is not"),
        ("metrics", "auroc", float("nan"), r"document\.metrics\.auroc = 'nan' is not a finite number"),
        ("intervals", "auroc", [0.1], r"document\.intervals\.auroc = '\[0\.1\]' is not"),
        ("samples", "real", True, r"document\.samples\.real = 'True' is not a whole number"),
    ],
)
def test_a_wrong_value_in_an_evaluation_is_named(part, name, value, message):
    document = made_up(Evaluation)
    document[part][name] = value
    with pytest.raises(ValueError, match=message):
        check_evaluation(document)


@pytest.mark.parametrize("kind", CHECKS)
def test_of_another_version_only_that_is_said(kind):
    with pytest.raises(ValueError, match=r"^format_version 2 is not 1$"):
        CHECKS[kind]({"format_version": 2})


@pytest.mark.parametrize("part", ["row", "worst"])
def test_a_table_of_robustness_is_of_its_models(part):
    document = made_up(Robustness)
    by_model = document["worst"] if part == "worst" else document["rows"][0]["models"]
    by_model["another"] = by_model["made_up"]
    with pytest.raises(ValueError, match=f"^{part}.* is not of the models made_up$"):
        check_robustness(document)


def test_the_best_trial_is_the_first_of_the_best_complete_ones():
    ends = [("pruned", 0.9), ("fail", None), *(("complete", value) for value in (0.2, 0.8, 0.8, 0.2))]
    trials = [
        made_up(Tuning)["trials"][0] | {"number": number, "state": state, "value": value}
        for number, (state, value) in enumerate(ends)
    ]
    for metric, value, number in (("auroc", 0.8, 3), ("loss", 0.2, 2)):
        found = best_trial(trials, metric)
        assert found is not None
        assert (found[0], found[1]["number"]) == (value, number)
    assert best_trial(trials[:2], "auroc") is None
