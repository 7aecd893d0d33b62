"""``scripts.calibrate`` and the commands that use its result, called through their ``main``."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from glass.config.run_folder import RunRecord
from glass.measure.calibration import ViewSettings
from glass.measure.rates import rate_interval
from glass.measure.result_files import read_evaluation
from glass.predict.detector import Detector
from scripts import calibrate, evaluate, predict, robustness
from shards.errors import InputError
from shards.files.locks import try_lock
from shards.manifest.dataset import ShardDataset
from tests.conftest import remount
from tests.runs.made_up import made_up

pytestmark = pytest.mark.usefixtures("undrawn")


def test_calibrate_then_evaluate_and_predict(knowing, four_splits, paths, tmp_path, capsys):
    """``evaluate`` and ``predict`` use the calibration, but not with another number of crops."""
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    stopped = made_up(RunRecord) | {"config": {"epochs": 4}, "finished": None}
    (mine / "run.json").write_text(json.dumps(stopped))
    assert calibrate.main([str(mine), "--data", str(four_splits)]) == 0
    (mine / "run.json").unlink()
    printed, warned = capsys.readouterr()
    assert f"warning: the run {mine} is not finished: 0 of 4 epochs" in warned
    assert "say little about rare false alarms" in printed
    detector = Detector.from_pretrained(mine, device="cpu")
    calibration = detector.trained.calibration
    assert calibration is not None
    assert calibration.views == ViewSettings(4, "stratified_grid")
    assert calibration.data["split"] == "calibration"
    assert ("worse on these images on purpose" in printed) == calibration.is_cautious
    common = [str(mine), "--data", str(four_splits), "--draws", "5", "--device", "cpu"]
    assert evaluate.main(common) == 0
    document = read_evaluation(mine, "test")
    assert document["threshold"]["value"] == calibration.threshold
    assert document["calibration"]["temperature"] == calibration.temperature
    assert document["calibration"]["cautious"] == calibration.is_cautious
    assert document["calibration"]["after"]["ece"] == document["metrics"]["ece"]
    assert evaluate.main([*common, "--crops", "2"]) == 0
    other = json.loads((mine / "evaluation-test-crops2.json").read_text())
    assert other["threshold"]["value"] == 0.5
    assert "calibrated for 4 crops" in other["threshold"]["source"]
    assert other["calibration"] is None
    out = tmp_path / "p.json"
    assert predict.main([str(mine), paths[0], "--json", str(out), "--no-stability"]) == 0
    (image,) = json.loads(out.read_text())["images"]
    assert image["probability"] == float(calibration.probability(detector.predict(paths)[0].margin))
    others = tmp_path / "two_crops.json"  # verdicts of other views never replace these
    assert predict.main([str(mine), paths[0], "--json", str(others), "--crops", "2", "--no-stability"]) == 0
    document = json.loads(others.read_text())
    assert document["images"][0]["probability"] is None
    assert "calibrated for 4 crops" in document["note"]


def test_calibrate_counts_scenes_as_evaluate_does(knowing, four_splits, tmp_path, capsys, monkeypatch):
    """The images of each class come from two scenes, so no false alarm says as little as none on two images."""
    opened = ShardDataset.open

    def open_grouped(path):
        dataset = opened(path)
        generated = dataset.column("label") == 1
        numbers = np.where(generated, generated.cumsum(), (~generated).cumsum()) % 2
        place = dataset.table.schema.get_field_index("group")
        groups = pa.array([f"scene {number}" for number in numbers])
        dataset.table = dataset.table.set_column(place, dataset.table.schema.field(place), groups)
        return dataset

    monkeypatch.setattr(ShardDataset, "open", open_grouped)
    mine = shutil.copytree(knowing, tmp_path / "run")
    assert calibrate.main([str(mine), "--data", str(four_splits), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "note: 3 real images of 2 scenes say little about rare false alarms; use 300 scenes or more" in printed
    assert printed.count("(95 % interval 0.0 % to 84.2 %)") == 2
    written = json.loads((mine / "model" / "calibration.json").read_text())
    alarms = written["false_alarms"]
    assert [alarms["low"], alarms["high"]] == rate_interval(np.zeros(3, bool), ["a", "b", "a"])  # as in evaluate
    assert (written["data"]["real"], written["data"]["real_scenes"]) == (3, 2)


def test_calibrate_writes_into_no_cache_of_the_hub(four_splits):
    with pytest.raises(InputError, match=r"user/name is not a local folder.*hf download"):
        calibrate.main(["user/name", "--data", str(four_splits)])


def test_calibrate_waits_for_no_training(run, four_splits):
    """The model of a run that is training may be replaced before the calibration is written."""
    held = try_lock(run / ".lock")
    with pytest.raises(InputError, match=r"another process is training in .*: its next epoch"):
        calibrate.main([str(run), "--data", str(four_splits)])
    os.close(held)
    (run / ".lock").unlink()


def test_calibrate_refuses_what_would_flatter(run, four_splits, synthetic_shards):
    cases = [
        (["--data", str(synthetic_shards)], "no split calibration"),
        (["--data", str(four_splits), "--split", "test"], "chosen on test makes any result on test look too good"),
        (["--data", str(four_splits), "--split", "calibration+test"], "look too good"),
        (
            ["--data", str(four_splits), "--split", "valid", "--held-out"],
            "trained on valid, or its epoch was chosen there",
        ),
        (
            ["--data", str(four_splits), "--split", "train+test", "--held-out"],
            "trained on train, or its epoch was chosen there",
        ),
    ]
    for arguments, words in cases:
        with pytest.raises(InputError, match=words):
            calibrate.main([str(run), *arguments])


def test_a_threshold_chosen_on_the_images_scored_is_reported(knowing, four_splits, tmp_path, capsys):
    """``evaluate`` reports it for any split that shares images with the one used for calibration."""
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    data = ["--data", str(four_splits)]
    assert calibrate.main([str(mine), *data, "--split", "test", "--held-out"]) == 0
    common = [str(mine), *data, "--draws", "5", "--device", "cpu"]
    for split, chosen_here in (("test+calibration", True), ("calibration", False)):
        assert evaluate.main([*common, "--split", split]) == 0
        document = read_evaluation(mine, split)
        told = ["very images" in document["threshold"]["source"], document["calibration"]["in_sample"]]
        assert told == [chosen_here, chosen_here]
        assert (document["calibration"]["promise"] is None) == chosen_here
        printed = " ".join(capsys.readouterr().out.split())
        assert ("chosen on these very images" in printed) == chosen_here
        assert ("Promised: at most 1.0 %" in printed) != chosen_here


@pytest.mark.slow  # the threshold and its words come from the function that evaluate calls
def test_robustness_reports_such_a_threshold_too(knowing, four_splits, tmp_path):
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    data = ["--data", str(four_splits)]
    assert calibrate.main([str(mine), *data, "--split", "test", "--held-out"]) == 0
    assert robustness.main([str(mine), *data, "--draws", "5", "--device", "cpu", "--rows", "clean"]) == 0
    table = json.loads((mine / "robustness-test.json").read_text())
    assert "very images" in table["models"]["run"]["threshold"]["source"]


@pytest.mark.parametrize(
    "command",
    [  # both say it by the same line of code
        "evaluate",
        pytest.param("calibrate", marks=pytest.mark.slow),
    ],
)
def test_commands_tell_of_other_decoders_in_a_line(command, knowing, four_splits, tmp_path, capsys):
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    path = mine / "model" / "config.json"
    card = json.loads(path.read_text())
    card["pixels"]["decoders"]["pillow"] = "1.0"
    path.write_text(json.dumps(card))
    main, more = {"calibrate": (calibrate.main, []), "evaluate": (evaluate.main, ["--draws", "5"])}[command]
    assert main([str(mine), "--data", str(four_splits), *more, "--device", "cpu"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "Warning" in line or line.startswith("warning: ")]
    assert len(lines) == 1
    assert "pillow 1.0" in lines[0]


@pytest.mark.slow  # a calibration of other views is tested in test_detector
def test_calibrate_at_other_views(knowing, four_splits, tmp_path, capsys):
    """``evaluate`` does not use these views, so it cannot check the promise; ``calibrate`` says so."""
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    views = ["--draws", "2", "--coverage", "all"]
    assert calibrate.main([str(mine), "--data", str(four_splits), *views]) == 0
    calibration = Detector.from_pretrained(mine, device="cpu").trained.calibration
    assert calibration is not None
    assert calibration.views == ViewSettings(64, "all", "all", 2)
    assert "evaluate cannot check whether" in capsys.readouterr().out


@pytest.mark.parametrize("refuses", ["the folder", "a folder of that name"])
def test_calibrate_tells_that_it_cannot_write_before_it_scores(run, four_splits, small_disk, monkeypatch, refuses):
    disk = small_disk(100_000)
    mine = disk / "run"
    shutil.copytree(run, mine)
    if refuses == "the folder":
        remount(disk, "ro")
    else:
        (mine / "model" / "calibration.json").mkdir()
    monkeypatch.setattr("glass.predict.detector.Detector.predict_iter", lambda *_: 1 / 0)
    with pytest.raises(InputError, match=r"is a folder|cannot be written to"):
        calibrate.main([str(mine), "--data", str(four_splits)])
