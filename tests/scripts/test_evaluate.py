"""The commands that measure and report, with the real model and loader, and with wrong input."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from glass.config.dataset_digest import dataset_digest
from glass.config.run_folder import RunRecord
from scripts import evaluate, report, robustness
from shards.errors import InputError
from tests.runs.made_up import made_up

MakeRun = Callable[[str], Path]


@pytest.fixture(scope="module")
def make_run(synthetic_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Returns ``make_run(preset)``, which makes a run folder as training does, but with an untrained model."""

    def make(preset: str) -> Path:
        import torch

        from glass.export.model_folder import save_model
        from glass.model.model import build_model
        from glass.presets import load_preset

        run = tmp_path_factory.mktemp("runs") / preset
        torch.manual_seed(0)
        config = load_preset(preset)
        save_model(run / "model", build_model(config), config, {"epoch": 1})
        (run / "run.json").write_text(json.dumps(made_up(RunRecord) | {"data": dataset_digest(synthetic_shards)}))
        (run / "metrics.jsonl").write_text('{"epoch": 1, "train_loss": 0.7}\n')
        return run

    return make


@pytest.fixture(scope="module")
def evaluated(make_run: MakeRun, synthetic_shards: Path) -> dict[str, Path]:
    """The runs of both tiny models, evaluated on the test split by the command. Keys are ``glass`` and
    ``single_view``."""
    runs = {"glass": make_run("glass_tiny"), "single_view": make_run("single_view_tiny")}
    for run in runs.values():
        arguments = [str(run), "--data", str(synthetic_shards), "--draws", "5", "--device", "cpu"]
        assert evaluate.main(arguments) == 0
    return runs


def report_arguments(output: Path, data: Path, runs: dict[str, Path]) -> list[str]:
    named = [part for name, run in runs.items() for part in ("--run", f"{name}={run}")]
    return [str(output), *named, "--data", str(data)]


def test_evaluate_writes_both_files_and_a_table(
    evaluated: dict[str, Path], synthetic_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = evaluated["glass"]
    before = json.loads((run / "evaluation-test.json").read_text())
    again = [str(run), "--data", str(synthetic_shards), "--draws", "5", "--device", "cpu"]
    assert evaluate.main(again) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"rewrote {run / 'evaluation-test.json'}" in printed
    for text in ("AUROC", "gan_a", "gan_b", "minimum over generators", "not calibrated"):
        assert text in printed
    after = json.loads((run / "evaluation-test.json").read_text())
    for document in (before, after):
        del document["timing"]
    assert after == before


def test_another_number_of_crops_gets_files_of_its_own(
    evaluated: dict[str, Path], synthetic_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(synthetic_shards), "--draws", "5", "--device", "cpu", "--crops", "2"]
    run = evaluated["glass"]
    untouched = (run / "evaluation-test.json").read_bytes()
    record = (run / "run.json").read_text()
    stopped = json.loads(record) | {"config": {"epochs": 3}, "finished": None}
    (run / "run.json").write_text(json.dumps(stopped))
    assert evaluate.main([str(run), *arguments]) == 0
    assert f"warning: the run {run} is not finished: 1 of 3 epochs" in capsys.readouterr().err
    (run / "run.json").write_text(record)
    assert (run / "predictions-test-crops2.parquet").exists()
    document = json.loads((run / "evaluation-test-crops2.json").read_text())
    assert document["settings"]["num_crops"] == 2
    assert (run / "evaluation-test.json").read_bytes() == untouched
    with pytest.raises(InputError, match="sees no crops"):
        evaluate.main([str(evaluated["single_view"]), *arguments])


def test_generator_names_do_not_reach_the_terminal_raw(
    evaluated: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((evaluated["glass"] / "evaluation-test.json").read_text())
    rows = document["per_generator"]["generators"]
    rows["[red]\x1b[2J\u202ename"] = rows.pop("gan_a")
    evaluate._print(document)
    printed = " ".join(capsys.readouterr().out.split())
    assert "[red]\\x1b[2J\\u202ename" in printed
    assert not set(printed) & {"\x1b", "\u202e"}


@pytest.mark.usefixtures("undrawn")
def test_report_writes_a_page_and_its_numbers(
    evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = report_arguments(tmp_path / "new" / "out", synthetic_shards, evaluated)
    assert report.main([*arguments, "--note", "Simulated data. \udcff"]) == 0
    for other, message in (
        (report_arguments(tmp_path / "new/out", synthetic_shards, {"new": evaluated["glass"]}), "of glass, single"),
        ([*arguments, "--split", "valid"], "is a report on the split test: give another folder"),
    ):
        with pytest.raises(InputError, match=message):  # it would be lost
            report.main(other)
    document = json.loads((tmp_path / "new" / "out" / "report.json").read_text())
    for name, run in evaluated.items():
        evaluation = json.loads((run / "evaluation-test.json").read_text())
        assert document[name]["test"]["auroc"] == evaluation["metrics"]["auroc"]
        assert document[name]["training"]["kept_epoch"] == 1
    assert document["comparisons"][0]["run"] == "glass"
    page = (tmp_path / "new" / "out" / "report.html").read_text(encoding="utf-8")
    assert "Simulated data." in page
    assert capsys.readouterr().out.startswith("wrote ")


@pytest.mark.slow  # the word alone, at the price of two pages
@pytest.mark.usefixtures("undrawn")
def test_a_second_report_says_that_it_rewrote_the_first(
    evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = report_arguments(tmp_path / "out", synthetic_shards, evaluated)
    for word in ("wrote ", "rewrote "):
        assert report.main(arguments) == 0
        assert capsys.readouterr().out.startswith(word)


@pytest.mark.slow  # that a report finds a table of robustness is tested in test_scripts_believable
def test_the_report_shows_what_robustness_found(
    evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path
) -> None:
    """The report shows results of robustness before and after, if they are for these weights and this data. It ignores
    others, and says why if a file is damaged."""
    run = tmp_path / "run"
    shutil.copytree(evaluated["glass"], run)
    models = [f"before={run}", f"after={evaluated['single_view']}"]
    named = [part for model in models for part in ("--model", model)]
    common = ["--data", str(synthetic_shards), "--draws", "5", "--device", "cpu"]
    rows = ["--rows", "jpeg-50"]
    assert robustness.main([*named, *common, *rows, "--output", str(run)]) == 0
    arguments = report_arguments(tmp_path / "out", synthetic_shards, {"glass": run})
    assert report.main(arguments) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    table = json.loads((run / "robustness-test.json").read_text())
    assert "data:image/png;base64," in page
    threshold = f"false alarms at the threshold {table['models']['before']['threshold']['value']:.4g}"
    for words in ("JPEG 50", "AUROC minus the first model&#39;s", "glass: before", "glass: after", threshold):
        assert words in page
    (clean, changed) = json.loads((tmp_path / "out" / "report.json").read_text())["glass"]["robustness"]["rows"]
    assert clean["name"] == "clean"
    result = table["rows"][1]["models"]["after"]
    assert changed["models"]["after"]["auroc"] == result["metrics"]["auroc"]
    assert f"{result['metrics']['auroc']:.3f}" in page
    path = run / "robustness-test.json"
    for name in table["models"]:
        table["models"][name]["weights_sha256"] = "0" * 64
    path.write_text(json.dumps(table))
    assert report.main(arguments) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "on changed images" not in page
    path.write_text("{}")
    with pytest.raises(InputError, match=r"robustness-test\.json is not a robustness table"):
        report.main(arguments)


def test_a_report_on_another_data_set_is_never_replaced(
    evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path
) -> None:
    theirs = {"format_version": 1, "split": "test", "dataset": {"dataset_json_sha256": "0" * 64}, "comparisons": []}
    (tmp_path / "report.json").write_text(json.dumps(theirs))
    with pytest.raises(InputError, match=r"report\.json is a report on another data set: give another folder"):
        report.main(report_arguments(tmp_path, synthetic_shards, evaluated))
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_is_not_ours_is_never_replaced(
    evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("<h1>my own</h1>")
    with pytest.raises(InputError, match="was not written by this command: give another folder"):
        report.main(report_arguments(tmp_path, synthetic_shards, evaluated))
    assert (tmp_path / "report.html").read_text() == "<h1>my own</h1>"
    assert not (tmp_path / "report.json").exists()


def test_wrong_input_to_evaluate(evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path) -> None:
    run, data = str(evaluated["glass"]), str(synthetic_shards)
    cases = [
        ([str(tmp_path / "none"), "--data", data], "none does not exist"),
        ([str(tmp_path), "--data", data], "holds no trained model"),
        ([data, "--data", str(tmp_path)], "is a data set: give it as --data"),
        ([f"{run}/model", "--data", data], "glass robustness MODEL --rows clean --output DIR"),
        (["user/name", "--data", data], "glass robustness MODEL --rows clean --output DIR"),
        ([run, "--data", str(tmp_path / "none")], "does not exist"),
        ([run, "--data", data, "--split", "tset"], "no split 'tset': give one of train, valid, test"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            evaluate.main(arguments)


@pytest.mark.parametrize("flag", [["--draws", "0"], ["--batch-size", "x"], ["--device", "tpu"]])
def test_wrong_flags_are_one_sentence(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["run", "--data", "data", *flag])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_reported(
    evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path
) -> None:
    """Root may write everywhere, so the tests put folders where the files would be written."""
    run = tmp_path / "run"
    shutil.copytree(evaluated["glass"], run)
    (run / "predictions-test.parquet").unlink()
    (run / "predictions-test.parquet").mkdir()
    arguments = [str(run), "--data", str(synthetic_shards), "--draws", "5", "--device", "cpu"]
    with pytest.raises(InputError, match=r"predictions-test\.parquet is a folder"):
        evaluate.main(arguments)
    (tmp_path / "out" / "report.json").mkdir(parents=True)
    with pytest.raises(InputError, match=r"report\.json is a folder"):
        report.main(report_arguments(tmp_path / "out", synthetic_shards, evaluated))
    assert not (tmp_path / "out" / "report.html").exists()


def test_wrong_input_to_report(
    evaluated: dict[str, Path], make_run: MakeRun, synthetic_shards: Path, tmp_path: Path
) -> None:
    data, run = ["--data", str(synthetic_shards)], f"glass={evaluated['glass']}"
    (tmp_path / "file").write_text("")
    cases = [
        ([str(tmp_path), "--run", "glass", *data], "must be NAME=FOLDER"),
        ([str(tmp_path), "--run", "<b>=x", *data], "must begin with a letter"),
        ([str(tmp_path), "--run", "glass=nowhere", *data], "does not exist"),
        ([str(tmp_path), "--run", run, "--run", run, *data], "given twice"),
        ([str(tmp_path / "file"), "--run", run, *data], "is a file"),
        ([str(tmp_path / "new.html"), "--run", run, *data], "named like a file"),
        ([str(tmp_path), "--run", run, *data, "--split", "x"], "no split 'x'"),
        ([str(tmp_path), "--run", run, *data, "--split", "valid"], "no evaluation of valid"),
        ([str(tmp_path), "--run", run.replace("glass=", "note="), *data], "cannot be called"),
        ([str(tmp_path), "--run", f"new={make_run('single_view_tiny')}", *data], "no evaluation"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            report.main(arguments)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_chromium_shows_the_page_without_a_complaint(
    evaluated: dict[str, Path], synthetic_shards: Path, tmp_path: Path
) -> None:
    assert report.main(report_arguments(tmp_path, synthetic_shards, evaluated)) == 0
    assert CHROMIUM is not None
    shot = tmp_path / "page.png"
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={shot}",
        "--window-size=1200,3000",
        (tmp_path / "report.html").as_uri(),
    ]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    # What the browser refuses or cannot parse it writes to the page's console.
    assert "CONSOLE" not in seen.stderr, seen.stderr
    from PIL import Image

    with Image.open(shot) as image:
        assert image.size == (1200, 3000)
        assert len(image.convert("RGB").getcolors(2**24) or []) > 200
