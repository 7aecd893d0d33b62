"""From scores to a document: the scores are joined with the manifest, and the document is checked when it is written
and read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from glass.measure.evaluation import EvaluationOptions, evaluate_run, evaluate_table
from glass.measure.evaluation_schema import check_evaluation
from glass.measure.metrics import binary_metrics
from glass.measure.predictions import PREDICTION_SCHEMA, prediction_table, predictions_path, read_predictions
from glass.measure.rates import metric_intervals
from glass.measure.result_files import evaluation_path, read_evaluation, write_evaluation
from glass.measure.scoring import Predictions
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.runs.made_up_runs import made_up_evaluation

Scores = Callable[..., Predictions]


@pytest.fixture
def scores(synthetic_dataset: ShardDataset) -> Scores:
    """Returns ``scores(split)``, which makes up predictions of a split in shuffled order."""

    def make(split: str, attention: bool = True) -> Predictions:
        rng = np.random.default_rng(0)
        rows = rng.permutation(synthetic_dataset.split_rows(split))
        table, count = synthetic_dataset.table.take(pa.array(rows)), len(rows)
        weights = rng.dirichlet(np.ones(3), count).astype(np.float32)
        return Predictions(
            sample_key=table["sample_key"].to_pylist(),
            content_id=table["content_id"].to_numpy(),
            label=table["label"].to_numpy().astype(np.int64),
            logits=rng.normal(size=(count, 2)).astype(np.float32),
            attention_weights=weights if attention else None,
            crop_windows=rng.integers(0, 30, (count, 3, 4)).astype(np.int32),
            crop_mask=np.ones((count, 3), bool),
        )

    return make


def whole_document(table: pa.Table, dataset: ShardDataset) -> dict[str, Any]:
    """A complete document: the metrics of the table with made-up fields about model, data and settings."""
    return made_up_evaluation(table, dataset, "train", "0" * 64, 3, 32)


def test_each_score_stands_beside_its_own_manifest_row(scores: Scores, synthetic_dataset: ShardDataset) -> None:
    predictions = scores("train")
    table = prediction_table(predictions, synthetic_dataset, "train")
    assert table.schema.equals(PREDICTION_SCHEMA)
    manifest = {row["sample_key"]: row for row in synthetic_dataset.table.to_pylist()}
    for place, row in enumerate(table.to_pylist()):
        expected = manifest[row["sample_key"]]
        assert row["sample_key"] == predictions.sample_key[place]
        for name in ("content_id", "label", "generator", "group", "source_path"):
            assert row[name] == expected[name]
        real, generated = predictions.logits[place].astype(float)
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(real - generated)))
        assert row["crop_windows"] == predictions.crop_windows[place].tolist()
        assert row["attention_weights"] == predictions.attention_weights[place].tolist()


def test_a_model_without_attention_has_null_weights(scores: Scores, synthetic_dataset: ShardDataset) -> None:
    table = prediction_table(scores("test", attention=False), synthetic_dataset, "test")
    assert table["attention_weights"].null_count == len(table)


def test_scores_of_other_samples_are_refused(scores: Scores, synthetic_dataset: ShardDataset) -> None:
    predictions = scores("train")
    with pytest.raises(ValueError, match="not in the manifest"):
        prediction_table(predictions, synthetic_dataset, "test")
    altered = replace(predictions, content_id=predictions.content_id + 1)
    with pytest.raises(ValueError, match="differ"):
        prediction_table(altered, synthetic_dataset, "train")


def test_the_document_measures_the_table(scores: Scores, synthetic_dataset: ShardDataset) -> None:
    table = prediction_table(scores("train"), synthetic_dataset, "train")
    measured = evaluate_table(table, draws=30, seed=4)
    label, probability = table["label"].to_numpy(), table["probability"].to_numpy()
    assert measured["metrics"] == binary_metrics(label, probability)
    assert measured["intervals"] == metric_intervals(label, probability, 30, 4, None, 0.5)
    confusion, samples = measured["confusion"], measured["samples"]
    assert sum(confusion.values()) == samples["scored"] == len(table)
    assert confusion["hits"] / samples["generated"] == measured["metrics"]["recall"]
    assert confusion["real_passed"] / samples["real"] == measured["metrics"]["accuracy_real"]
    assert list(measured["per_generator"]["generators"]) == ["gan_a", "gan_b"]
    assert samples["scenes"] == len(table)  # this set has no groups: every image stands alone
    assert measured["threshold"]["value"] == 0.5


def test_scenes_are_counted_and_named_groups_resampled_whole(scores: Scores, synthetic_dataset: ShardDataset) -> None:
    table = prediction_table(scores("train"), synthetic_dataset, "train")
    groups = [f"scene {n // 4}" for n in range(len(table))]
    place = table.schema.get_field_index("group")
    grouped = table.set_column(place, "group", pa.array(groups))
    alone, together = evaluate_table(table, draws=50), evaluate_table(grouped, draws=50)
    assert together["samples"]["scenes"] == len(set(groups))
    assert together["metrics"] == alone["metrics"]
    assert together["intervals"] != alone["intervals"]


def test_written_and_read_back(scores: Scores, synthetic_dataset: ShardDataset, tmp_path: Path) -> None:
    table = prediction_table(scores("train"), synthetic_dataset, "train")
    document = whole_document(table, synthetic_dataset)
    write_evaluation(tmp_path, document, table)
    assert read_evaluation(tmp_path, "train") == document
    assert read_predictions(tmp_path, "train").equals(table)
    write_evaluation(tmp_path, document, table, "-crops8")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "evaluation-train-crops8.json",
        "evaluation-train.json",
        "predictions-train-crops8.parquet",
        "predictions-train.parquet",
    ]


def test_an_interrupted_rewrite_leaves_no_document_beside_new_predictions(
    scores: Scores, synthetic_dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = prediction_table(scores("train"), synthetic_dataset, "train")
    write_evaluation(tmp_path, whole_document(table, synthetic_dataset), table)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("glass.measure.result_files.write_text_atomic", fail)
    with pytest.raises(OSError, match="No space left"):
        write_evaluation(tmp_path, whole_document(table, synthetic_dataset), table)
    with pytest.raises(InputError, match="has no evaluation of train"):
        read_evaluation(tmp_path, "train")


@pytest.mark.parametrize("field", ["metrics", "per_generator", "roc", "model", "samples"])
def test_a_document_without_a_field_is_no_evaluation(
    field: str, scores: Scores, synthetic_dataset: ShardDataset, tmp_path: Path
) -> None:
    table = prediction_table(scores("train"), synthetic_dataset, "train")
    document = whole_document(table, synthetic_dataset)
    del document[field]
    with pytest.raises(ValueError, match=field):
        check_evaluation(document)
    evaluation_path(tmp_path, "train").write_text(json.dumps(document))
    with pytest.raises(InputError, match=f"{field}.*evaluate again"):
        read_evaluation(tmp_path, "train")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": 2}', "\x00\xff"])
def test_a_damaged_document_is_reported(text: str, tmp_path: Path) -> None:
    evaluation_path(tmp_path, "test").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"evaluation-test\.json.*evaluate again"):
        read_evaluation(tmp_path, "test")


def test_missing_or_foreign_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no evaluation of test.*glass evaluate"):
        read_evaluation(tmp_path, "test")
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path, "test")
    predictions_path(tmp_path, "test").write_bytes(b"no parquet at all")
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path, "test")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), predictions_path(tmp_path, "test"))
    with pytest.raises(InputError, match="columns of this version"):
        read_predictions(tmp_path, "test")


@pytest.fixture(scope="module")
def untrained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the exported model of a tiny GLASS, untrained."""
    import torch

    from glass.export.model_folder import save_model
    from glass.model.model import build_model
    from glass.presets import load_preset

    run = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    config = load_preset("glass_tiny")
    save_model(run / "model", build_model(config), config, {"epoch": 3})
    return run


def test_scores_do_not_depend_on_the_batch(untrained_run: Path, synthetic_dataset: ShardDataset) -> None:
    """Batches of different sizes give exactly the same windows, and the same scores within float tolerance, from the
    loader to the table."""
    documents, tables = zip(
        *(
            evaluate_run(
                untrained_run,
                synthetic_dataset,
                "test",
                EvaluationOptions(device="cpu", batch_size=size, num_threads=threads, draws=20),
            )
            for size, threads in ((2, 1), (5, 2))
        ),
        strict=True,
    )
    small, large = tables
    assert small["sample_key"].equals(large["sample_key"])
    assert small["crop_windows"].equals(large["crop_windows"])
    difference = small["probability"].to_numpy() - large["probability"].to_numpy()
    assert abs(difference).max() < 1e-5
    assert len(small) == len(synthetic_dataset.split_rows("test"))
    weights = np.array(small["attention_weights"].to_pylist())
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(small)), abs=1e-5)
    document = documents[0]
    check_evaluation(document)
    assert document["model"]["chosen"] == {"epoch": 3}
    assert document["settings"]["shuffle"] is False
    assert document["samples"]["undecodable"] == 0


def test_another_number_of_crops(untrained_run: Path, synthetic_dataset: ShardDataset) -> None:
    options = EvaluationOptions(device="cpu", num_crops=2, draws=5)
    document, table = evaluate_run(untrained_run, synthetic_dataset, "test", options)
    assert document["settings"]["num_crops"] == 2
    assert {len(windows) for windows in table["crop_windows"].to_pylist()} == {2}


def test_a_split_that_is_not_there_names_those_that_are(untrained_run: Path, synthetic_dataset: ShardDataset) -> None:
    with pytest.raises(InputError, match="no split 'tset': give one of train, valid, test"):
        evaluate_run(untrained_run, synthetic_dataset, "tset", EvaluationOptions())


def test_a_model_that_gives_no_numbers_is_reported(
    untrained_run: Path, synthetic_dataset: ShardDataset, tmp_path: Path
) -> None:
    import torch

    from glass.export.model_folder import load_model, save_model

    model, config = load_model(untrained_run / "model", "cpu")
    with torch.no_grad():
        model.head[-1].bias.fill_(torch.nan)
    save_model(tmp_path / "model", model, config)
    with pytest.raises(InputError, match="not finite"):
        evaluate_run(tmp_path, synthetic_dataset, "test", EvaluationOptions(device="cpu"))
