"""The note of a data set is shown with every verdict and every figure of a model trained on it. Markup in the note has
no effect."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from markupsafe import escape

import train
from glass.config.run_folder import read_record
from glass.measure.calibration import CALIBRATION_FILE
from glass.measure.trained_model import TrainedModel
from glass.predict.detector import Detector
from glass.predict.verdicts import CSV_COLUMNS
from glass.share.demo_endpoint import endpoint_answer
from glass.share.demo_page import facts_of, look
from scripts import build_shards, calibrate, evaluate, export, predict, report
from shards.errors import InputError
from tests.runs.short_runs import arguments

NOTE = 'Drawn <b onclick="x()">by a program</b> & simulated: verdicts say nothing about real generators.'
LINE = f"Note on the data of this model: {NOTE}"
HOSTILE = ("a\x1b[2Jb", "a\nb", "x" * 301)


@pytest.fixture(scope="module")
def noted(small_set: Path, tmp_path_factory: pytest.TempPathFactory, on_the_cpu: None) -> Path:
    """A folder with shards that have a note, ``data``, and a run of one epoch on them, ``run``."""
    folder = tmp_path_factory.mktemp("noted")
    words = ["--split", "0.5,0.25,0.25", "--global-size", "64", "--workers", "1", "--note", f" {NOTE} "]
    assert build_shards.main([str(small_set / "images"), str(folder / "data"), *words]) == 0
    assert train.main(arguments(folder / "data", folder / "run", "epochs=1")) == 0
    return folder


@pytest.fixture
def evaluated(noted: Path) -> Path:
    run = noted / "run"
    if not (run / "evaluation-test.json").exists():
        assert evaluate.main([str(run), "--data", str(noted / "data"), "--draws", "5", "--device", "cpu"]) == 0
    return run


def test_every_output_of_predict_has_it(
    noted: Path, paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [word for end in ("json", "csv", "html") for word in (f"--{end}", str(tmp_path / f"o.{end}"))]
    assert predict.main([str(noted / "run"), *paths[:2], *files, "--no-stability"]) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines().count(LINE) == 1
    document = json.loads((tmp_path / "o.json").read_text())
    assert document["data_notes"] == [NOTE]
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["data_notes"] for row in rows] == [NOTE, NOTE]
    page = (tmp_path / "o.html").read_text()
    assert page.count(f'<p class="note" role="note">{escape(LINE)}</p>') == 1
    assert "<b onclick" not in page


def test_the_demo_and_its_endpoint_have_it(noted: Path, paths: list[str]) -> None:
    detector = Detector.from_pretrained(noted / "run", device="cpu")
    assert json.loads(endpoint_answer(detector, Path(paths[0])))["data_notes"] == [NOTE]
    assert str(escape(LINE)) in look(detector, facts_of(detector), Path(paths[0]), dense=False)
    (verdict,) = detector.predict(paths[:1], stability=False)
    assert verdict.data_notes == (NOTE,)


@pytest.mark.usefixtures("undrawn")
def test_figures_have_it(evaluated: Path, noted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((evaluated / "evaluation-test.json").read_text())
    assert document["model"]["data_note"] == document["dataset"]["note"] == NOTE
    evaluate._print(document)
    sentence = f"Note on the data that the model learnt from and was measured on: {NOTE}"
    assert " ".join(capsys.readouterr().out.split()).count(sentence) == 1
    words = [str(tmp_path / "out"), "--run", f"one={evaluated}", "--data", str(noted / "data")]
    assert report.main([*words, "--note", "A subset."]) == 0
    page = (tmp_path / "out/report.html").read_text()
    header = page[page.index("<header>") : page.index("</header>")]
    assert f'<p class="note" role="note">{escape(sentence)}</p>' in header
    assert '<p class="note" role="note">A subset.</p>' in header
    assert "<b onclick" not in page
    assert json.loads((tmp_path / "out/report.json").read_text())["dataset"]["note"] == NOTE


@pytest.mark.slow  # the sentence of both is tested above
def test_figures_of_a_silent_model_on_noted_data_have_it(
    noted: Path, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(unbroken, tmp_path / "run")
    assert evaluate.main([str(run), "--data", str(noted / "data"), "--draws", "5", "--device", "cpu"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Note on the data that the model was measured on: {NOTE}" in printed


def test_an_exported_model_has_it(
    evaluated: Path, paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([str(evaluated), "--to", str(tmp_path / "model")]) == 0
    card = (tmp_path / "model/README.md").read_text()
    assert "**Note on its data:** Drawn &lt;b onclick=" in card
    assert "<b" not in card
    assert predict.main([str(tmp_path / "model"), paths[0], "--no-stability"]) == 0
    assert LINE in capsys.readouterr().err.splitlines()


def test_a_calibration_on_noted_data_has_it(
    knowing: Path, four_splits: Path, paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data for training have no note, but those for calibration have one."""
    data = shutil.copytree(four_splits, tmp_path / "data")
    fields = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(fields | {"note": NOTE}))
    assert calibrate.main([str(knowing), "--data", str(data), "--device", "cpu"]) == 0
    assert predict.main([str(knowing), paths[0], "--no-stability"]) == 0
    assert LINE in capsys.readouterr().err.splitlines()
    assert predict.main([str(knowing), paths[0], "--no-stability", "--crops", "2"]) == 0  # where it is not used
    assert "Note on" not in capsys.readouterr().err
    path = knowing / "model" / CALIBRATION_FILE
    written = json.loads(path.read_text())
    for text in HOSTILE:
        written["data"]["note"] = text
        path.write_text(json.dumps(written))
        with pytest.raises(InputError, match="is damaged"):
            TrainedModel.open(knowing / "model")


def test_data_that_say_nothing_leave_no_word(
    untrained_run: Path, paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [word for end in ("json", "csv", "html") for word in (f"--{end}", str(tmp_path / f"o.{end}"))]
    assert predict.main([str(untrained_run), paths[0], *files, "--no-stability"]) == 0
    assert "Note on" not in capsys.readouterr().err
    assert json.loads((tmp_path / "o.json").read_text())["data_notes"] == []
    assert (tmp_path / "o.csv").read_text().splitlines()[0] == ",".join(CSV_COLUMNS)
    assert "Note on" not in (tmp_path / "o.html").read_text()
    assert "data_note" not in json.loads((untrained_run / "model/config.json").read_text())


@pytest.mark.parametrize("text", HOSTILE, ids=["escape", "line break", "too long"])
def test_a_hostile_model_is_refused(noted: Path, tmp_path: Path, text: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(noted / "run/model", run / "model")
    for name, change in (("run.json", {"note": text}), ("model/config.json", {"data_note": text})):
        document = json.loads((noted / "run" / name).read_text())
        part = document["data"] if name == "run.json" else document
        assert part | {next(iter(change)): NOTE} == part
        part |= change
        (run / name).write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"document\.data\.note = .* is not text"):
        read_record(run / "run.json")
    with pytest.raises(InputError, match="is damaged"):
        TrainedModel.open(run / "model")
