"""The crop study under difficulties: changed settings, damaged files, too little memory."""

import copy
import json
from dataclasses import replace

import pytest
import torch

import glass.studies.training_cost
from glass.config.overrides import apply_overrides
from glass.memory.out_of_memory import DoesNotFit
from glass.memory.process_peak import ProcessPeak
from glass.presets import load_preset
from glass.report.crop_plots import crop_svgs
from glass.studies import crop_inference, device_memory
from glass.studies.budgets import BUDGETS
from glass.studies.crop_documents import CropStudy, TrainingRow
from glass.studies.crop_study import CropPlan, run_crop_study
from scripts import crop_study, final_runs
from scripts import study as whole_study
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.files.outputs import locked
from tests.runs.least_study import SETTINGS, Killed

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def plan(*crops: int, **changes) -> CropPlan:
    config = replace(apply_overrides(load_preset("glass_tiny"), SETTINGS), epochs=1, **changes)
    return CropPlan(config, crops=crops, steps=1, draws=20)


def make_up_memory(patch: pytest.MonkeyPatch, too_many: int = 99, at_prediction: int = 99) -> None:
    """Replaces the counts of memory by made-up ones, and lets training from ``too_many`` crops and prediction from
    ``at_prediction`` crops run out of memory."""

    def training(config):
        if config.loader.num_crops >= too_many:
            raise DoesNotFit("a step with 4 images does not fit: take less\nand so on")
        return {"tensor_bytes": 100.0}

    def inference(model, batch):
        if batch["local_crops"].shape[1] >= at_prediction:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"tensor_bytes": 10.0}

    patch.setattr(device_memory, "training_memory", training)
    patch.setattr(device_memory, "inference_memory", inference)


@pytest.fixture(scope="module")
def study(data, tmp_path_factory) -> tuple:
    """(folder, document) of a study in which training with 3 crops and prediction with 2 or more do not fit into
    memory."""
    folder = tmp_path_factory.mktemp("crops")
    with pytest.MonkeyPatch.context() as patch:
        make_up_memory(patch, 3, at_prediction=2)
        return folder, run_crop_study(data, plan(1, 2, 3), folder)


@pytest.mark.slow
def test_what_does_not_fit_is_noted_and_the_study_goes_on(study, data):
    folder, document = study
    typed_document(document, CropStudy)
    assert [row["num_crops"] for row in document["training"]] == [1, 2]
    assert [row["num_crops"] for row in document["inference"]["rows"]] == [1]
    assert [(row["num_crops"], row["part"]) for row in document["did_not_fit"]] == [
        (3, "training"),
        (2, "prediction"),
        (3, "prediction"),
    ]
    assert document["did_not_fit"][0]["why"] == "a step with 4 images does not fit: take less"
    assert run_crop_study(data, plan(1, 2, 3), folder) == document  # finished
    assert "latency" in crop_svgs(document)


def test_where_nothing_fits_a_sentence_says_so(data, tmp_path, monkeypatch):
    make_up_memory(monkeypatch, 1)
    with pytest.raises(InputError, match=r"none of the numbers of crops fits .* smaller --batch"):
        run_crop_study(data, plan(1, 2), tmp_path)


def test_a_study_that_was_killed_goes_on_with_its_own_settings_alone(data, tmp_path, monkeypatch):
    """Rows measured with other settings, lengths or devices must not be mixed in one table."""
    make_up_memory(monkeypatch)

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(glass.studies.training_cost, "train", killed)
        with pytest.raises(Killed):
            run_crop_study(data, plan(1), tmp_path)
    for other, message in ((plan(1, seed=5), "config.seed=0, not 5"), (replace(plan(1), steps=2), "steps=1, not 2")):
        with pytest.raises(InputError, match=message):
            run_crop_study(data, other, tmp_path)
    monkeypatch.setattr(device_memory, "device_name", lambda: "another GPU")
    with pytest.raises(InputError, match="device='cpu', not 'another GPU'"):
        run_crop_study(data, plan(1), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plan.json", "crop_study.json", "crops-01/row.json"])
def test_a_damaged_file_is_reported_in_a_sentence(data, study, tmp_path, name):
    folder, _ = study
    for file in ("plan.json", "crops-01/row.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    (tmp_path / name).write_text('{"num_crops": 1')
    with pytest.raises(InputError, match=rf"{name} is not .*: (delete|give)"):
        run_crop_study(data, plan(1), tmp_path)


@pytest.mark.parametrize("command", [crop_study, final_runs, whole_study])
def test_a_second_command_at_the_same_study_is_refused(synthetic_shards, tmp_path, monkeypatch, command):
    """Both would go on, each with what the other has not finished: a study took a running trial for a whole search."""
    monkeypatch.setitem(BUDGETS, "tiny", replace(BUDGETS["tiny"], hold_out=0.25, models=()))
    monkeypatch.setattr("loaders.reading.open_shards.OpenShards", lambda _: pytest.fail("the study begins"))
    options = ["--budget", "tiny"] if command is whole_study else ["--preset", "glass_tiny"]
    with locked(tmp_path), pytest.raises(InputError, match=r"another study is writing to .*, process \d+"):
        command.main(["--data", str(synthetic_shards), "--output", str(tmp_path), *options])


def test_a_folder_of_something_else_is_refused(data, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        run_crop_study(data, plan(1), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("hole", sorted(TrainingRow.__required_keys__))
def test_a_row_with_a_hole_is_refused(study, hole):
    row = json.loads((study[0] / "crops-01/row.json").read_text())
    typed_document(row, TrainingRow)
    broken = copy.deepcopy(row)
    del broken[hole]
    with pytest.raises(ValueError, match=f"{hole} is missing"):
        typed_document(broken, TrainingRow)


@pytest.mark.slow
def test_prediction_is_measured_on_the_studys_device_and_as_promised(data, study, tmp_path, monkeypatch):
    """The device of the study is used even if the machine has a GPU. The document explains each count of memory in
    ``memory_is``."""
    asked = []
    real = crop_inference.evaluate_run

    def seen(run, dataset, split, options):
        asked.append(options.device)
        return real(run, dataset, split, options)

    monkeypatch.setattr(crop_inference, "evaluate_run", seen)
    monkeypatch.setattr(ProcessPeak, "growth_bytes", 0.0)
    run = study[0] / "crops-01/run"
    row = crop_inference.inference_row(data, run, plan(1).config, 2, 20)
    assert asked == ["cpu"]
    assert set(row["memory"]) == {"tensor_bytes", "process_bytes"}
    assert all(name in device_memory.meaning_of_counts() for name in row["memory"])
    assert row["memory"]["process_bytes"] > 0


@pytest.mark.slow
def test_latency_and_memory_are_measured_in_the_precision_of_the_scores(data, study, monkeypatch):
    seen = []

    def inference(model, batch):
        seen.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))
        return {"tensor_bytes": 1.0}

    real = crop_inference._latency

    def latency(model, batch):
        seen.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))
        return real(model, batch)

    monkeypatch.setattr(crop_inference, "_latency", latency)
    monkeypatch.setattr(crop_inference, "resolve_precision", lambda *_: ("bf16", "for the test"))
    run = study[0] / "crops-01/run"
    monkeypatch.setattr(device_memory, "inference_memory", inference)
    crop_inference.inference_row(data, run, plan(1).config, 1, 20)
    assert seen == [(True, False), (True, False)]
