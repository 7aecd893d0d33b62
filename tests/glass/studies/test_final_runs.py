"""Final runs: held-back images, mean ± deviation, kills, and settings that must stay the same."""

from dataclasses import replace

import pytest

import glass.studies.final_runs
import glass.studies.seed_results
from glass.config.learnt_ids import read_learnt_ids
from glass.measure.calibration import Calibration
from glass.measure.result_files import read_evaluation
from glass.studies.final_documents import FinalRuns
from glass.studies.final_runs import FinalPlan, is_finished, run_seeds
from glass.studies.hold_out import HELD_BACK, LEARNT, hold_back
from glass.studies.seed_results import summary
from loaders.reading.open_shards import OpenShards
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.manifest.dataset import ShardDataset
from tests.runs.least_study import Killed, killed_at, least_config, without_times

pytestmark = pytest.mark.slow  # tens of seconds together


def test_what_is_held_back_is_stratified_and_keeps_groups(synthetic_dataset):
    held = hold_back(synthetic_dataset, "train+valid", 0.25)
    parts = [held.dataset.split_rows(name) for name in (LEARNT, HELD_BACK)]
    joined = sorted([*parts[0], *parts[1]])
    assert joined == synthetic_dataset.split_rows("train+valid").tolist()
    labels = synthetic_dataset.column("label")[parts[1]]
    assert set(labels) == {0, 1}
    assert len(parts[1]) == pytest.approx(0.25 * len(joined), abs=1)
    again = hold_back(synthetic_dataset, "train+valid", 0.25)
    assert again.dataset.split_rows(HELD_BACK).tolist() == parts[1].tolist()
    with pytest.raises(InputError, match="no split 'final_train'"):
        synthetic_dataset.split_rows(LEARNT)  # the data set itself is as it was
    with pytest.raises(InputError, match="another --hold-out"):
        hold_back(synthetic_dataset, "train+valid", 1e-6)


def test_mean_deviation_and_interval_over_seeds():
    found = summary([0.8, 0.9, 1.0, None])
    assert found["mean"] == pytest.approx(0.9)
    assert found["sd"] == pytest.approx(0.1)  # n - 1
    half = 4.302652729911275 * 0.1 / 3**0.5  # Student's t with 2 degrees of freedom
    assert found["interval"] == pytest.approx([0.9 - half, 0.9 + half])
    assert found["seeds"] == 3
    assert summary([0.5]) == {"mean": 0.5, "sd": None, "interval": None, "seeds": 1}


def test_final_runs_that_were_killed_end_like_those_that_were_not(data, tmp_path, monkeypatch):
    plan = FinalPlan(least_config(), seeds=(100, 200), hold_out=0.25)
    whole = run_seeds(data, plan, tmp_path / "whole")
    typed_document(whole, FinalRuns)
    for number in (1, 3):
        with monkeypatch.context() as patch:
            killed_at(number, glass.studies.final_runs, patch)
            with pytest.raises(Killed):
                run_seeds(data, plan, tmp_path / "killed")
    assert not is_finished(plan, tmp_path / "killed", data)
    again = run_seeds(data, plan, tmp_path / "killed")
    assert without_times(again) == without_times(whole)
    assert is_finished(plan, tmp_path / "killed", data)
    assert whole["tests"]["calibration"] is None  # there is no split for it
    generators = whole["tests"]["generators"]
    assert list(generators) == ["gan_a", "gan_b"]
    for seed in whole["seeds"]:
        least = min(row["auroc"] for row in seed["results"]["generators"].values())
        assert seed["results"]["generators_minimum"]["auroc"] == least
    worst = [seed["results"]["generators_minimum"]["auroc"] for seed in whole["seeds"]]
    assert whole["tests"]["generators_minimum"]["auroc"]["mean"] == pytest.approx(sum(worst) / 2)
    with pytest.raises(InputError, match="epochs=2, not 3"):
        is_finished(replace(plan, config=replace(plan.config, epochs=3)), tmp_path / "whole", data)


def test_final_runs_keep_their_share_and_gain_seeds_alone(data, tmp_path, monkeypatch):
    plan = FinalPlan(least_config(preset="single_view_tiny"), seeds=(100, 200), hold_out=0.25)
    with monkeypatch.context() as patch:
        killed_at(3, glass.studies.final_runs, patch)  # in the second seed
        with pytest.raises(Killed):
            run_seeds(data, plan, tmp_path)
    with pytest.raises(InputError, match=r"hold_out=0.25, not 0.4"):
        run_seeds(data, replace(plan, hold_out=0.4), tmp_path)
    with pytest.raises(InputError, match=r"leaves out 200: give --seeds 100,200 "):
        run_seeds(data, replace(plan, seeds=(100,)), tmp_path)
    first = run_seeds(data, plan, tmp_path)
    with pytest.raises(InputError, match=r"leaves out 100: give --seeds 100,200,300 \(more may"):
        is_finished(replace(plan, seeds=(200, 300)), tmp_path, data)
    more = replace(plan, seeds=(100, 200, 300))
    assert not is_finished(more, tmp_path, data)
    rows = run_seeds(data, more, tmp_path)["seeds"]
    assert rows[:2] == first["seeds"]
    assert rows[2]["seed"] == 300
    for name in ("plan.json", "seeds.json", "final_runs.json"):
        kept = (tmp_path / name).read_text()
        (tmp_path / name).write_text(kept[:-20])
        with pytest.raises(InputError, match=rf"{name} is not .*: (delete|give)"):
            is_finished(more, tmp_path, data)
        (tmp_path / name).write_text(kept)


def test_seeds_are_calibrated_where_there_is_a_split_for_it(synthetic_images, tmp_path, monkeypatch):
    """Figures before and after calibration are reported, but the metrics stay those of raw scores, even if the study
    was killed between the calibration and the test."""
    shares = {"train": 0.25, "valid": 0.25, "test": 0.25, "calibration": 0.25}
    settings = BuildSettings(split_shares=shares, global_size=64)
    build_dataset(synthetic_images, tmp_path / "data", settings, progress=False)
    plan = FinalPlan(least_config("epochs=1", preset="single_view_tiny"), seeds=(1,), hold_out=0.25)

    def dies(*_):
        raise Killed

    with OpenShards(ShardDataset.open(tmp_path / "data")) as data:
        # A model of one epoch is at chance, and would not be calibrated.
        monkeypatch.setattr(glass.studies.seed_results, "calibration_fault", lambda *_: None)
        monkeypatch.setattr(Calibration, "is_at_bound", False)
        with monkeypatch.context() as patch:
            patch.setattr(glass.studies.final_runs, "write_evaluation", dies)
            with pytest.raises(Killed):
                run_seeds(data, plan, tmp_path / "runs")
        document = run_seeds(data, plan, tmp_path / "runs")
    typed_document(document, FinalRuns)
    (row,) = document["seeds"]
    evaluation = read_evaluation(tmp_path / "runs" / row["folder"], "test")
    assert evaluation["calibration"] is None
    assert evaluation["threshold"]["value"] == 0.5
    calibration = row["results"]["calibration"]
    assert calibration["before"]["ece"] == pytest.approx(row["metrics"]["ece"])
    assert calibration["after"]["nll"] != calibration["before"]["nll"]
    assert calibration["verdict"] in ("kept", "not kept", "fewer than promised")
    over = document["tests"]["calibration"]
    assert over["after"]["ece"]["mean"] == calibration["after"]["ece"]
    assert over["verdicts"] == {calibration["verdict"]: 1}


def test_a_seed_at_chance_is_not_calibrated(synthetic_images, tmp_path, monkeypatch, caplog):
    shares = {"train": 0.25, "valid": 0.25, "test": 0.25, "calibration": 0.25}
    settings = BuildSettings(split_shares=shares, global_size=64)
    build_dataset(synthetic_images, tmp_path / "data", settings, progress=False)
    plan = FinalPlan(least_config("epochs=1", preset="single_view_tiny"), seeds=(1,), hold_out=0.25)
    monkeypatch.setattr(glass.studies.seed_results, "calibration_fault", lambda *_: "at chance")
    with OpenShards(ShardDataset.open(tmp_path / "data")) as data:
        document = run_seeds(data, plan, tmp_path / "runs")
    (row,) = document["seeds"]
    assert row["results"]["calibration"] is None
    assert "is not calibrated: at chance" in caplog.text
    assert not list((tmp_path / "runs").rglob("calibration.json"))
    learnt = read_learnt_ids(tmp_path / "runs" / row["folder"] / "model", "")
    assert learnt is not None  # of the seed's own parts
    held = document["hold_out"]
    assert (~learnt.chosen_on).sum() == held["learnt"]
    assert learnt.chosen_on.sum() == held["held_back"]


def test_the_test_is_taken_on_the_studys_device(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    asked = []

    def seen(run, dataset, split, options):
        asked.append(options.device)
        raise Killed

    monkeypatch.setattr(glass.studies.final_runs, "evaluate_run", seen)
    plan = FinalPlan(least_config("epochs=1", preset="single_view_tiny"), seeds=(1,), hold_out=0.25)
    with pytest.raises(Killed):
        run_seeds(data, plan, tmp_path)
    assert asked == ["cpu"]


def test_the_test_split_is_touched_once_per_seed(data, tmp_path, monkeypatch):
    plan = FinalPlan(least_config(preset="single_view_tiny"), seeds=(100, 200), hold_out=0.25)
    real, touched = glass.studies.final_runs.evaluate_run, []

    def counted(run, dataset, split, options):
        touched.append((run.name, split))
        return real(run, dataset, split, options)

    monkeypatch.setattr(glass.studies.final_runs, "evaluate_run", counted)
    run_seeds(data, plan, tmp_path)
    run_seeds(data, plan, tmp_path)
    assert touched == [("seed-100", "test"), ("seed-200", "test")]
