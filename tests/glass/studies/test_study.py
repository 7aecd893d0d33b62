"""The whole study in miniature: search, training, test, comparison and report."""

import copy
import re
from dataclasses import replace

import pytest

import glass.studies.final_runs
import glass.studies.search
import glass.studies.training_cost
from glass.config.overrides import apply_overrides
from glass.model.flops import training_flops
from glass.report.study import study_html, study_markdown
from glass.studies.budgets import BUDGETS
from glass.studies.crop_documents import CropStudy
from glass.studies.crop_study import CropPlan, finished_crop_study, line_fit, run_crop_study
from glass.studies.plan import settle_plan
from glass.studies.study import EQUAL_COMPUTE, Study
from glass.studies.study_documents import StudyDocument
from scripts import crop_study, final_runs, study
from shards.errors import InputError
from shards.files.documents import typed_document
from tests.runs.least_study import Killed, killed_at, least_budget, least_config, make_up_memory, without_times

pytestmark = pytest.mark.slow  # tens of seconds together


@pytest.fixture(scope="module", autouse=True)
def made_up_memory():
    with pytest.MonkeyPatch.context() as patch:
        make_up_memory(patch)
        yield


@pytest.mark.slow
def test_a_crop_study_that_was_killed_ends_like_one_that_was_not(data, tmp_path, monkeypatch):
    plan = CropPlan(least_config(), crops=(1, 3, 9), draws=50)
    whole = run_crop_study(data, plan, tmp_path / "whole")
    typed_document(whole, CropStudy)
    for number in (2, 3):
        with monkeypatch.context() as patch:
            killed_at(number, glass.studies.training_cost, patch)
            with pytest.raises(Killed):
                run_crop_study(data, plan, tmp_path / "killed")
    again = run_crop_study(data, plan, tmp_path / "killed")
    assert without_times(again) == without_times(whole)
    fit = whole["fits"]["tensor_bytes"]
    assert (fit["slope"], fit["intercept"]) == pytest.approx((10, 100))
    rows = whole["training"]
    # A 96 × 64 image has 2 × 2 cells of 32 pixels: less than 9, but not less than 3.
    assert rows[0]["images_without_grid"] == rows[1]["images_without_grid"] == 0
    assert rows[2]["images_without_grid"] > 0
    assert whole["inference"]["trained_with"] == 1  # 2 was wanted, 1 and 3 are equally near
    assert finished_crop_study(plan, tmp_path / "whole", data) == whole


@pytest.mark.slow
def test_steps_instead_of_epochs(data, tmp_path):
    plan = CropPlan(replace(least_config(), epochs=1), crops=(1, 2), steps=2, draws=50)
    document = run_crop_study(data, plan, tmp_path)
    assert document["train_images"] == 8
    assert [row["steps_per_epoch"] for row in document["training"]] == [2, 2]


def test_a_line_through_points():
    fit = line_fit([1, 2, 3, 4], [3.0, 5.0, 7.0, 9.0])
    assert (fit["slope"], fit["intercept"], fit["r2"]) == pytest.approx((2, 1, 1))
    assert fit["slope_interval"] == pytest.approx([2, 2])
    noisy = line_fit([1, 2, 3], [1.0, 2.5, 3.0])
    assert noisy["slope_interval"][0] < noisy["slope"] < noisy["slope_interval"][1]
    assert line_fit([1, 2], [1.0, 2.0])["slope_interval"] is None


def test_operations_grow_with_crops_images_and_not_with_seeds():
    glass_config = least_config()
    assert training_flops(glass_config, 10) == 10 * training_flops(glass_config, 1)
    views = {n: training_flops(apply_overrides(glass_config, [f"loader.num_crops={n}"]), 1) for n in (1, 2, 5)}
    assert views[5] - views[2] == pytest.approx(3 * (views[2] - views[1]))
    baseline = training_flops(least_config(preset="single_view_tiny"), 1)
    assert baseline < views[1]


@pytest.fixture(scope="module")
def document(data, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The document of a study of one family of backbones."""
    output = tmp_path_factory.mktemp("study")
    return Study(data, least_budget(1, "glass", "single_view"), output).run()


def test_the_study_holds_what_it_promises(document):
    typed_document(document, StudyDocument)
    rows = document["results"]
    assert [row["terms"] for row in rows] == ["tuned", "equal trials", "equal compute"]
    glass_search, other = document["searches"]
    assert len(glass_search["tuning"]["trials"]) == 1
    more = len(other["tuning"]["trials"])
    assert more > 1  # one trial of the baseline is less computing than one of GLASS
    assert other["flops"] >= glass_search["flops"] or more == 3
    assert {row["terms"] for row in document["comparisons"]} == {"equal trials", EQUAL_COMPUTE}
    assert list(document["crop_studies"]) == ["glass_vit"]
    (baseline,) = document["baseline_memory"]
    assert (baseline["batch"], baseline["why"]) == (4, None)
    assert baseline["memory"]["tensor_bytes"] > 0
    # One step of 4 images and the validation split, not the epochs of the final runs.
    assert 0 < baseline["step_time_s"] < baseline["epoch_time_s"]


def test_every_measured_number_of_crops_is_shown(document):
    named = copy.deepcopy(document)
    study_of = named["crop_studies"]["glass_vit"]
    study_of["did_not_fit"] = [{"num_crops": 9, "part": "training", "why": "out of memory"}]
    row = study_of["training"][1]
    row |= {"images_without_grid": 7, "data_wait_s": 12.34}
    study_of["inference"]["rows"][1]["latency_s"] = 0.0777
    for text in (study_html(named), study_markdown(named)):
        assert f"7 of {study_of['train_images']}" in text
        assert "12.34 s" in text
        assert "77.7 ms" in text
        assert "9 crops, training: out of memory" in text
    assert study_markdown(named).count("\n| 2 |") == 2  # a row of training, a row of prediction


def test_a_study_without_results_has_a_report_all_the_same(document):
    """The report exists even if no trial was completed and there was no GLASS model."""
    empty = document | {"results": [], "comparisons": [], "crop_studies": {}}
    typed_document(empty, StudyDocument)
    assert "<table" in study_html(empty)
    assert "## Baselines" in study_markdown(empty)


def test_a_baseline_without_a_complete_trial_does_not_end_the_study(data, tmp_path, monkeypatch):
    """A study must end with a document after hours of work, even if it has no GLASS model and no completed trial."""

    def fails(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(glass.studies.search, "train", fails)
    found = Study(data, least_budget(1, "single_view"), tmp_path).run()
    assert found["results"] == []
    assert found["searches"][0]["tuning"]["states"]["failed"] == 1
    assert found["baseline_memory"][0]["epoch_time_s"] > 0
    assert found["device"]


def test_the_report_is_one_file_and_escapes_names(document):
    named = copy.deepcopy(document)
    named["dataset"]["name"] = "<script>alert(1)</script>|x"
    named["dataset"]["note"] = "<b>Drawn.</b> ![t](http://example.org/t.png)"
    page, text = study_html(named), study_markdown(named)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("![t](http://example.org/t.png)", "")
    assert "Note on the data: &lt;b&gt;Drawn." in page
    assert "> Note on the data: &lt;b>Drawn." in text
    assert "Note on the data" not in study_html(document) + study_markdown(document)
    assert "![" not in text
    assert page.count("<svg") >= 7
    assert "equal compute |" in text
    assert "&#124;x" in text
    for row in named["results"]:
        assert f"{row['final']['summary']['accuracy']['mean']:.3f}" in page


def test_a_search_that_stopped_just_short_is_not_called_equal(document):
    """If a search stopped just short of equal compute, the words "equal compute" are qualified everywhere: in tables,
    titles and plots."""
    short = copy.deepcopy(document)
    for row in (*short["results"], *short["comparisons"]):
        row["compute_share"] = 0.996 if row["terms"] == EQUAL_COMPUTE else row["compute_share"]
    said = "stopped at 99 % of equal compute"
    page, text = study_html(short), study_markdown(short)
    for shown in (page, text):
        claims = re.findall(r"[^|>,]*equal compute[^|<]*", shown)
        assert len(claims) > 4
        assert {claim.strip() for claim in claims} == {said}
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert any(said in plot for plot in plots)
    _, differences = text.split("## Differences, seed by seed")
    assert said in differences.split("##")[0]
    reached = copy.deepcopy(document)
    for row in (*reached["results"], *reached["comparisons"]):
        row["compute_share"] = 1.0
    assert "stopped at" not in study_html(reached) + study_markdown(reached)


def test_the_document_tells_how_far_compute_was_equal(document):
    glass_row, *others = document["results"]
    assert glass_row["compute_share"] == 1
    for row in others:
        share = row["search_flops"] / glass_row["search_flops"]
        assert row["compute_share"] == pytest.approx(share)
    shares = {row["terms"]: row["compute_share"] for row in others}
    assert shares["equal trials"] < 1
    for row in document["comparisons"]:
        assert row["compute_share"] == shares[row["terms"]]


def test_the_report_shows_the_audit_and_what_the_tests_found(document):
    named = copy.deepcopy(document)
    assert named["audit"] is None
    for text in (study_html(named), study_markdown(named)):
        assert "has not been audited" in text
        for words in ("By generator", "gan_a", "minimum over generators", "≤ 10 % false alarms"):
            assert words in text
        assert "ECE before" not in text  # no split calibration
    finding = {
        "kind": "metadata",
        "severity": "serious",
        "text": "<i>format</i> tells",
        "advice": "mix",
        "feature": "format",
        "auroc": 0.9,
        "interval": [0.8, 1],
        "count": None,
        "examples": [],
    }
    named["audit"] = {"severity": "serious", "equalised": "", "findings": [finding]}
    rate = {"mean": 0.02, "sd": 0.01, "interval": None, "seeds": 2}
    tests = named["results"][0]["final"]["tests"]
    tests["real_slices"] = [{"slice": "<u>PNG", "images": 12, "false_positive_rate": rate}]
    tests["calibration"] = {
        when: {name: rate | {"mean": mean} for name in ("ece", "nll", "brier")}
        for when, mean in (("before", 0.234), ("after", 0.045))
    } | {"false_positive_rate": rate, "max_fpr": 0.01, "verdicts": {"kept": 2}}
    typed_document(named, StudyDocument)
    page, text = study_html(named), study_markdown(named)
    assert page.index("Test results") < page.index("<summary>1 finding of the audit</summary>")
    assert page.index("<summary>1 finding of the audit</summary>") < page.index("&lt;i&gt;format")
    assert text.index("&lt;i>format") < text.index("Test results")
    for shown in (page, text):
        assert not {"<i>", "<u>"} & {shown[i : i + 3] for i in range(len(shown))}
        for words in ("0.234 ± 0.010", "0.045 ± 0.010", "2.0 ± 1.0 %", "kept by 2 of 2 seeds"):
            assert words in shown


@pytest.mark.parametrize("path", [("results",), ("comparisons", 0, "family"), ("budget",)])
def test_a_document_with_a_hole_is_refused(document, path):
    broken = copy.deepcopy(document)
    *way, last = path
    place = broken
    for step in way:
        place = place[step]
    del place[last]
    with pytest.raises(ValueError, match=rf"{last} is missing"):
        typed_document(broken, StudyDocument)


def test_the_papers_budget_is_the_papers():
    paper = BUDGETS["paper"]
    assert (paper.trials, paper.trial_epochs, paper.min_epochs) == (100, 25, 5)
    assert (paper.seeds, paper.final_epochs) == ((100, 200, 300, 400, 500), 50)
    assert (paper.crops, paper.crop_batch, paper.crop_epochs) == (tuple(range(1, 17)), 32, 25)
    assert [model.preset for model in paper.models] == [
        f"{kind}_{name}" for name in ("vit_base", "convnext_tiny", "resnet50") for kind in ("glass", "single_view")
    ]
    assert all(model.config() for budget in BUDGETS.values() for model in budget.models)


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (final_runs, ["--preset", "glass_tiny", "--hold-out", "1.5"], "--hold-out 1.5"),
        (final_runs, ["--preset", "glass_tiny", "--params", "nowhere.json"], "cannot be read"),
        (crop_study, ["--preset", "single_view_tiny"], "sees no crops"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(synthetic_shards, tmp_path, command, words, message):
    with pytest.raises(InputError, match=message):
        command.main(["--data", str(synthetic_shards), "--output", str(tmp_path / "o"), *words])


@pytest.mark.parametrize(
    "words",
    [
        ["--crops", "0-4"],
        ["--crops", "3,3"],
        ["--crops", "x"],
        ["--crops", "1-999999999"],
        ["--crops", "3-1"],
        ["--crops", "1-" + "9" * 5000],
        ["--crops", "9" * 5000],
        ["--steps", "1", "--epochs", "1"],
    ],
)
def test_crop_arguments_that_make_no_sense_are_refused(synthetic_shards, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        crop_study.main(["--data", str(synthetic_shards), "--preset", "glass_tiny", *words])
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_study_refuses_other_files_and_other_budgets(synthetic_shards, tmp_path, monkeypatch):
    monkeypatch.setitem(BUDGETS, "tiny", replace(BUDGETS["tiny"], hold_out=0.25))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    arguments = ["--data", str(synthetic_shards), "--output"]
    with pytest.raises(InputError, match="holds other files"):
        study.main([*arguments, str(full), "--budget", "tiny"])
    other = tmp_path / "other"
    other.mkdir()
    settle_plan(other / "budget.json", "a study", {"budget": "paper", "data": "x"})
    with pytest.raises(InputError, match="a study with budget='paper', not 'tiny'"):
        study.main([*arguments, str(other), "--budget", "tiny"])
    (other / "budget.json").write_text("{")
    with pytest.raises(InputError, match=r"budget.json is not the plan .*: give another"):
        study.main([*arguments, str(other), "--budget", "paper"])
