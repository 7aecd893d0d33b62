"""The document of a report: its contents, and which runs are refused."""

import copy
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from glass.config.dataset_digest import dataset_digest
from glass.report import RunData, load_run, report_document
from glass.report.data import compare_runs, training_summary
from glass.report.document import check_report
from glass.report.sentences import comparison_sentence
from glass.report.tables import duration, generator_rows
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.runs.made_up_runs import SPLIT, WriteRun, load


def test_the_document_holds_what_its_reader_expects(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    document = report_document(runs, synthetic_dataset, SPLIT, "simulated")
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {
        "format_version",
        "created",
        "note",
        "split",
        "dataset",
        "audit",
        "comparisons",
        "glass",
        "single_view",
    }
    for run in runs:
        entry, metrics = document[run.name], run.evaluation["metrics"]
        assert entry[SPLIT]["auroc"] == metrics["auroc"]
        assert set(metrics) < set(entry[SPLIT])
        for name in ("intervals", "confusion", "per_generator", "samples", "threshold", "timing"):
            assert entry[SPLIT][name] == run.evaluation[name]
        data = {f"data.{name}": value for name, value in dataset_digest(synthetic_dataset.root).items()}
        assert entry["settings"] == {"model.kind": run.name, "epochs": 3} | data
        assert entry["training"]["finished"] is True
        assert entry["model"]["kind"] == run.name
    counts = document["dataset"]["counts"]
    assert sum(row["images"] for row in counts) == len(synthetic_dataset)
    assert {row["generator"] for row in counts} == {"", "gan_a", "gan_b"}
    evaluated = document["dataset"]["evaluated"]
    files = sum(sum(facts["formats"].values()) for facts in evaluated.values())
    assert files == len(synthetic_dataset.split_rows(SPLIT))


@pytest.mark.parametrize(
    "path",
    [
        ("created",),
        ("dataset", "counts", 0, "images"),
        ("dataset", "evaluated", "real", "formats"),
        ("comparisons", 0, "interval"),
        ("glass",),
        ("glass", SPLIT, "auroc"),
        ("glass", SPLIT, "intervals", "auroc"),
        ("glass", SPLIT, "per_generator", "minimum"),
        ("glass", SPLIT, "calibration"),
        ("glass", "training", "time_s"),
        ("single_view", "settings"),
        ("single_view", "robustness"),
        ("single_view", "model", "weights_sha256"),
    ],
)
def test_a_document_with_a_hole_is_refused(
    runs: list[RunData], synthetic_dataset: ShardDataset, path: tuple[str | int, ...]
) -> None:
    document = copy.deepcopy(report_document(runs, synthetic_dataset, SPLIT))
    names = [run.name for run in runs]
    check_report(document, names)
    *way, last = path
    place: Any = document
    for step in way:
        place = place[step]
    del place[last]
    with pytest.raises(ValueError, match=f"{last} is missing"):
        check_report(document, names)


def test_a_run_that_holds_nonsense_is_reported(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    model = runs[0].evaluation["model"] | {"chosen": {"epoch": "last"}}
    broken = replace(runs[0], evaluation=runs[0].evaluation | {"model": model})
    with pytest.raises(InputError, match=r"kept_epoch = 'last' .*evaluate"):
        report_document([broken], synthetic_dataset, SPLIT)


def test_training_is_summed_up() -> None:
    epochs = [
        {
            "epoch": e,
            "valid_auroc": e / 10,
            "train_images": 90,
            "train_time_s": t,
            "data_wait_s": 1.0,
            "epoch_time_s": t + 1,
        }
        for e, t in ((1, 2.0), (2, 4.0))
    ]
    assert training_summary(epochs, 1) == {
        "epochs": 2,
        "kept_epoch": 1,
        "valid_auroc": 0.1,
        "valid_accuracy": None,
        "valid_loss": None,
        "time_s": 8.0,
        "images_per_s": 180 / 6,
        "data_wait_share": 2 / 6,
    }
    assert set(training_summary([], None).values()) == {0, None}


def test_runs_are_compared_on_the_images_that_both_scored(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    run, baseline = runs
    whole = compare_runs(run, baseline)
    difference = run.evaluation["metrics"]["auroc"] - baseline.evaluation["metrics"]["auroc"]
    assert whole["difference"] == pytest.approx(difference)
    assert (whole["run"], whole["baseline"], whole["images"]) == ("glass", "single_view", len(run.predictions))
    fewer = replace(baseline, predictions=baseline.predictions.slice(3)[::-1])
    part = compare_runs(run, fewer)
    reverse = compare_runs(fewer, run)
    assert part["images"] == reverse["images"] == len(run.predictions) - 3
    assert part["difference"] == pytest.approx(-reverse["difference"])


def test_the_comparison_says_no_more_than_it_knows() -> None:
    comparison = {"run": "a", "baseline": "b", "images": 90}
    assert "too few scenes to tell" in comparison_sentence({**comparison, "difference": 0.2, "interval": None})
    better = comparison_sentence({**comparison, "difference": 0.2, "interval": [0.1, 0.3]})
    worse = comparison_sentence({**comparison, "difference": -0.2, "interval": [-0.3, -0.1]})
    open_ = comparison_sentence({**comparison, "difference": 0.2, "interval": [-0.1, 0.3]})
    none = comparison_sentence({**comparison, "difference": None, "interval": None})
    assert "0.200 higher" in better
    assert "0.200 lower" in worse
    assert "do not show which" in open_
    assert "cannot be compared" in none


def test_a_run_on_other_data_is_refused(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    folder = write_run("glass")
    path = folder / f"evaluation-{SPLIT}.json"
    document = json.loads(path.read_text())
    document["dataset"]["dataset_json_sha256"] = "f" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="a data set other than"):
        load(folder, synthetic_dataset)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", None, "run.json cannot be read"),
        ("run.json", "[]", r"run.json cannot be read \(document = '\[\]' is not an object\): is its folder"),
        ("run.json", '{"format_version": 1, "config": {}}', r"run.json cannot be read \(document.data is missing\)"),
        ("metrics.jsonl", None, "metrics.jsonl cannot be read"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epo', "line 2"),
        ("metrics.jsonl", "3\n", "line 1"),
        ("predictions-train.parquet", "rubbish", "evaluate again"),
    ],
)
def test_damaged_run_folders_are_reported(
    name: str, content: str | None, message: str, write_run: WriteRun, synthetic_dataset: ShardDataset
) -> None:
    folder = write_run("glass")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load(folder, synthetic_dataset)


def test_a_run_that_was_trained_on_must_be_evaluated_again(
    write_run: WriteRun, synthetic_dataset: ShardDataset
) -> None:
    """If a run was trained further after its evaluation, the report would show metrics of weights that no longer exist,
    without saying so."""
    folder = write_run("glass")
    (folder / "model").mkdir()
    (folder / "model/model.safetensors").write_bytes(b"of a later epoch")
    with pytest.raises(
        InputError, match=r"has been trained further since its evaluation.* glass evaluate .* --split train again"
    ):
        load(folder, synthetic_dataset)
    evaluation = folder / "evaluation-train.json"
    digest = hashlib.sha256(b"of a later epoch").hexdigest()
    evaluation.write_text(evaluation.read_text().replace("0" * 64, digest))
    assert load(folder, synthetic_dataset).evaluation["model"]["weights_sha256"] == digest


def test_a_run_cannot_take_the_name_of_a_field(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    run = load_run("dataset", write_run("glass"), SPLIT, synthetic_dataset)
    with pytest.raises(InputError, match="cannot be called 'dataset'"):
        report_document([run], synthetic_dataset, SPLIT)


def test_generator_rows_end_with_summaries_and_real_images(runs: list[RunData]) -> None:
    rows = generator_rows(runs[0].evaluation["per_generator"])
    names = [row.name for row in rows]
    assert names == ["gan_a", "gan_b", "mean over generators", "minimum over generators", "real: false alarms"]
    lowest = min(float(row.cells[0].value) for row in rows[:2])
    assert float(rows[3].cells[0].value) == lowest


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (1.25, "1.2 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (3900, "1 h 05 min")]
)
def test_durations_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
