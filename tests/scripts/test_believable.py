"""Unreliable numbers are marked as such, and results for one data set do not replace those for another."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glass.config.dataset_digest import dataset_digest, dataset_json_sha256
from glass.config.learnt_ids import LEARNT_FILE, LearntIds
from glass.config.run_folder import RunRecord
from glass.export.card_file import read_model_card
from glass.export.model_folder import save_model
from glass.measure.calibration import Calibration, ViewSettings, read_calibration, sigmoid, write_calibration
from glass.measure.fit_calibration import calibration_fault, fit_calibration
from glass.measure.result_files import EVALUATION, found_of, named_of, read_evaluation
from glass.model.model import build_model
from glass.predict.detector import Detector
from glass.predict.image_scores import ImageScores, verdict_on
from glass.predict.options import PredictOptions
from glass.predict.verdicts import ImageVerdict
from glass.presets import load_preset
from glass.share.model_card import model_card
from glass.verdict_page.sentences import stability_sentence
from scripts import calibrate, evaluate, export, predict, report, robustness
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.runs.knowing import teach_by_heart
from tests.runs.made_up import made_up

VIEWS = ViewSettings(1, "stratified_grid")
COMMON = ["--draws", "5", "--device", "cpu"]


@pytest.fixture(scope="session")
def other_shards(four_splits: Path) -> Path:
    """Another data set, with a calibration split. Do not write into it."""
    return four_splits


@pytest.fixture(scope="module")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained") / "model"
    torch.manual_seed(0)
    config = load_preset("single_view_tiny")
    save_model(folder, build_model(config), config, {"epoch": 1})
    return folder


@pytest.fixture
def run(tmp_path: Path, untrained_model: Path, synthetic_shards: Path) -> Path:
    """The folder of a run on ``synthetic_shards``, with an untrained model."""
    folder = tmp_path / "run"
    shutil.copytree(untrained_model, folder / "model")
    record = made_up(RunRecord) | {"data": dataset_digest(synthetic_shards)}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "train_loss": 0.7}\n')
    return folder


def learn(run: Path, data: Path, train: str = "train", valid: str = "valid") -> None:
    LearntIds.of_splits(ShardDataset.open(data), train, valid).write(run)


def digest_of(data: Path) -> str:
    return dataset_json_sha256(data)


@pytest.mark.usefixtures("undrawn")
class TestTwoDataSets:
    def test_one_never_replaces_the_others_results_and_reports_find_both(
        self, run: Path, synthetic_shards: Path, other_shards: Path, tmp_path: Path
    ) -> None:
        assert evaluate.main([str(run), "--data", str(synthetic_shards), *COMMON]) == 0
        own = {path.name: path.read_bytes() for path in run.glob("*-test*")}
        assert set(own) == {"evaluation-test.json", "predictions-test.parquet"}
        assert evaluate.main([str(run), "--data", str(other_shards), *COMMON]) == 0
        assert {name: (run / name).read_bytes() for name in own} == own
        variant = f"-of-{digest_of(other_shards)[:12]}"
        named = {path.name for path in run.glob("*-test*")} - set(own)
        assert named == {f"evaluation-test{variant}.json", f"predictions-test{variant}.parquet"}
        rows = ["--rows", "clean"]
        for data in (synthetic_shards, other_shards):
            assert robustness.main([str(run), "--data", str(data), *rows, *COMMON]) == 0
            out = tmp_path / data.parent.name
            assert report.main([str(out), "--run", f"it={run}", "--data", str(data)]) == 0
            document = json.loads((out / "report.json").read_text())
            assert document["dataset"]["dataset_json_sha256"] == digest_of(data)
            assert document["it"]["robustness"] is not None
        table = json.loads((run / f"robustness-test{variant}.json").read_text())
        assert table["dataset"]["dataset_json_sha256"] == digest_of(other_shards)
        assert (run / f"robustness-test{variant}.png").is_file()

    def test_names(self, run: Path, tmp_path: Path) -> None:
        """Results for the run's own data set get the plain name, unless a file with results for another data set
        already has it."""
        own = json.loads((run / "run.json").read_text())["data"]["dataset_json_sha256"]
        assert named_of(run, EVALUATION, "test", own, "-crops2") == "-crops2"
        assert named_of(run, EVALUATION, "test", "f" * 64, "-crops2") == "-crops2-of-ffffffffffff"
        foreign = {"dataset": {"dataset_json_sha256": "e" * 64}}
        (run / "evaluation-test.json").write_text(json.dumps(foreign))  # of before
        assert named_of(run, EVALUATION, "test", own) == f"-of-{own[:12]}"
        assert named_of(run, EVALUATION, "test", "e" * 64) == ""
        assert found_of(run, EVALUATION, "test", "e" * 64) == ""
        assert found_of(run, EVALUATION, "test", own) == ""  # there is none yet
        (run / f"evaluation-test-of-{own[:12]}.json").write_text("{}")
        assert found_of(run, EVALUATION, "test", own) == f"-of-{own[:12]}"
        # Without a record the first that comes has it.
        assert named_of(tmp_path, EVALUATION, "test", own) == ""


@pytest.mark.usefixtures("undrawn")
class TestFilesOfOthers:
    @pytest.mark.parametrize("name", ["evaluation-test.json", "predictions-test.parquet"])
    def test_evaluate_leaves_them_and_says_so_before_it_scores(
        self, run: Path, synthetic_shards: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (run / name).write_text('{"my": "notes"}')
        monkeypatch.setattr("glass.measure.evaluation.evaluate_run", lambda *_: 1 / 0)
        with pytest.raises(InputError, match=f"{name} was not written by this command: move it"):
            evaluate.main([str(run), "--data", str(synthetic_shards), *COMMON])
        assert (run / name).read_text() == '{"my": "notes"}'

    def test_calibrate_too(self, run: Path, other_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = run / "model" / "calibration.json"
        path.write_text('{"my": "notes"}')
        monkeypatch.setattr("glass.predict.detector.Detector.predict_iter", lambda *_: 1 / 0)
        with pytest.raises(InputError, match=r"calibration\.json was not written by this command"):
            calibrate.main([str(run), "--data", str(other_shards)])
        assert path.read_text() == '{"my": "notes"}'

    def test_report_does_not_take_a_json_of_the_name(self, run: Path, synthetic_shards: Path, tmp_path: Path) -> None:
        (tmp_path / "report.json").write_text("[]")
        with pytest.raises(InputError, match=r"report\.json was not written by this command"):
            report.main([str(tmp_path), "--run", f"it={run}", "--data", str(synthetic_shards)])
        assert (tmp_path / "report.json").read_text() == "[]"

    def test_robustness_keeps_results_that_it_does_not_give_again(
        self, run: Path, synthetic_shards: Path, tmp_path: Path
    ) -> None:
        data = ["--data", str(synthetic_shards), *COMMON]
        there, changed = ["--output", str(tmp_path / "out")], ["--rows", "jpeg-95"]
        a, b = (["--model", f"{name}={run}"] for name in "ab")
        assert robustness.main([*a, *data, *there, "--rows", "clean"]) == 0
        assert robustness.main([*a, *b, *data, *there, *changed]) == 0
        before = (tmp_path / "out" / "robustness-test.json").read_bytes()
        with pytest.raises(InputError, match="holds results of a, which would be lost"):
            robustness.main([*b, *data, *there, *changed])
        with pytest.raises(InputError, match="holds results of jpeg-95, which would be lost"):
            robustness.main([*a, *b, *data, *there, "--rows", "clean"])
        assert (tmp_path / "out" / "robustness-test.json").read_bytes() == before

    def test_predict_keeps_verdicts_that_it_does_not_give_again(
        self, run: Path, synthetic_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, second = sorted(map(str, (synthetic_images / "real").iterdir()))[:2]
        written = {flag: tmp_path / f"out{flag}" for flag in ("--json", "--csv")}
        both = [word for flag, file in written.items() for word in (flag, str(file))]
        assert predict.main([str(run), first, *both, "--no-stability"]) == 0
        assert "will be replaced" not in capsys.readouterr().err
        assert predict.main([str(run), first, second, *both, "--no-stability"]) == 0  # it, and more
        told = capsys.readouterr().err
        for flag, file in written.items():
            assert re.search(rf"{re.escape(str(file))}.* will be replaced", told)
            before = file.read_bytes()
            with pytest.raises(InputError, match=r"holds verdicts on 1 image .*give another name"):
                predict.main([str(run), first, flag, str(file), "--no-stability"])
            assert file.read_bytes() == before
        document = json.loads((tmp_path / "out--json").read_text())
        document["model"]["weights_sha256"] = "another"
        (tmp_path / "out--json").write_text(json.dumps(document, indent=1))
        with pytest.raises(InputError, match="holds verdicts with another model"):
            predict.main([str(run), first, second, "--json", str(tmp_path / "out--json")])


@pytest.mark.usefixtures("undrawn")
class TestImagesThatWereLearnt:
    def test_calibrate_refuses_them(self, run: Path, other_shards: Path) -> None:
        learn(run, other_shards, "calibration", "valid")
        with pytest.raises(
            InputError,
            match=r"^6 of the 6 images of calibration .* were used to train the model or to choose its epoch",
        ):
            calibrate.main([str(run), "--data", str(other_shards)])
        learn(run, other_shards, "train", "calibration")
        with pytest.raises(InputError, match="never saw"):
            calibrate.main([str(run), "--data", str(other_shards)])
        assert not (run / "model" / "calibration.json").exists()

    def test_calibrate_refuses_what_it_cannot_compare_and_says_what_is_not_known(
        self, run: Path, other_shards: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        LearntIds(np.array([1]), np.array([False]), "something else").write(run)
        with pytest.raises(InputError, match=rf"'something else'.*train .* again .*{LEARNT_FILE}"):
            calibrate.main([str(run), "--data", str(other_shards)])
        (run / LEARNT_FILE).unlink()
        with pytest.raises(InputError, match="do not separate the classes better than chance"):  # an untrained model
            calibrate.main([str(run), "--data", str(other_shards)])
        assert "it is unknown whether the model was trained" in capsys.readouterr().out

    def test_calibrate_goes_by_images_not_by_names_of_splits(self, run: Path, other_shards: Path) -> None:
        """A split of another data set may have the same name as a split of the training data. What counts is whether
        images are shared."""
        data = ["--data", str(other_shards), "--split", "valid", "--held-out"]
        with pytest.raises(InputError, match="was trained on valid, or its epoch was chosen there"):
            calibrate.main([str(run), *data])  # nothing but the name is known
        learn(run, other_shards, "train", "test")
        with pytest.raises(InputError, match="do not separate the classes better than chance"):  # an untrained model
            calibrate.main([str(run), *data])

    def test_evaluate_robustness_and_the_report_mark_them(
        self, run: Path, synthetic_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = ["--data", str(synthetic_shards)]
        count = len(ShardDataset.open(synthetic_shards).split_rows("test"))
        all_of_them = {"images": count, "train": count, "valid": 0}
        for learnt, words in ((None, "It is unknown whether"), (all_of_them, "WARNING: ")):
            if learnt is not None:
                learn(run, synthetic_shards, "test", "valid")
            assert evaluate.main([str(run), *data, *COMMON]) == 0
            assert read_evaluation(run, "test")["learnt"] == learnt
            assert robustness.main([str(run), *data, "--rows", "clean", *COMMON]) == 0
            table = json.loads((run / "robustness-test.json").read_text())
            assert table["models"]["run"]["learnt"] == learnt
            assert " ".join(capsys.readouterr().out.split()).count(words) == 2
        assert report.main([str(tmp_path / "out"), "--run", f"it={run}", *data]) == 0
        document = json.loads((tmp_path / "out" / "report.json").read_text())
        assert document["it"]["test"]["learnt"] == all_of_them
        page = (tmp_path / "out" / "report.html").read_text()
        assert "it: WARNING: " in page[: page.index('class="tiles"')]

    def test_other_images_are_not_marked(
        self, run: Path, synthetic_shards: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        learn(run, synthetic_shards)
        assert evaluate.main([str(run), "--data", str(synthetic_shards), *COMMON]) == 0
        learnt = read_evaluation(run, "test")["learnt"]
        assert learnt is not None
        assert (learnt["train"], learnt["valid"]) == (0, 0)
        printed = capsys.readouterr().out
        assert "WARNING" not in printed
        assert "unknown" not in printed

    def test_predict_marks_them_image_by_image(
        self,
        run: Path,
        synthetic_images: Path,
        synthetic_shards: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        files = ["--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]
        command = [str(run), str(synthetic_images), *files, "--no-stability"]
        assert predict.main([str(run), str(next((synthetic_images / "real").iterdir())), *command[2:]]) == 0
        assert "it is unknown which images the model was trained on" in capsys.readouterr().err
        assert {i["learnt"] for i in json.loads((tmp_path / "o.json").read_text())["images"]} == {None}
        learn(run, synthetic_shards)
        assert predict.main(command) == 0
        shown = capsys.readouterr()
        dataset = ShardDataset.open(synthetic_shards)
        expected = dict(zip(dataset.column("source_path"), dataset.column("split"), strict=True))
        images = json.loads((tmp_path / "o.json").read_text())["images"]
        for image in images:
            split = expected[str(Path(image["path"]).relative_to(synthetic_images))]
            assert image["learnt"] == (split if split in ("train", "valid") else "")
        learnt = [image for image in images if image["learnt"]]
        trained = sum(image["learnt"] == "train" for image in images)
        chosen = len(learnt) - trained
        assert trained
        words = f"WARNING: of {len(images)} images, the model was trained on {trained}"
        assert words + (f" and its epoch was chosen on {chosen}." if chosen else ".") in shown.err
        assert shown.out.count("trained on this image") == sum(image["learnt"] == "train" for image in images)
        with (tmp_path / "o.csv").open(newline="") as file:
            assert [row["learnt"] for row in csv.DictReader(file)] == [i["learnt"] for i in images]

    def test_an_exported_model_carries_them_where_that_was_asked(
        self, run: Path, synthetic_shards: Path, tmp_path: Path
    ) -> None:
        learn(run, synthetic_shards)
        for flags, known in (([], False), (["--with-learnt-ids"], True)):
            to = tmp_path / f"to{known}"
            assert export.main([str(run), "--to", str(to), *flags]) == 0
            assert (Detector.from_pretrained(to, device="cpu").trained.learnt is not None) == known


@pytest.mark.usefixtures("undrawn")
class TestCalibrationsThatCalibrateNothing:
    @pytest.mark.parametrize(
        ("margin", "words"),
        [
            (np.tile([1.0, -1.0, 2.0, -2.0], 50), "do not separate the classes better than chance"),
            (np.where(np.arange(200) < 100, 1.0, -1.0), "do not separate the classes better than chance"),  # swapped
            (np.where(np.arange(200) < 100, -1e-9, 1e-9), "temperature 0.02 is the end"),
        ],
    )
    def test_at_chance_and_at_the_bound(self, margin: np.ndarray, words: str) -> None:
        label = np.repeat([0, 1], 100)
        calibration = fit_calibration(margin, label, VIEWS, "w")
        assert words in str(calibration_fault(calibration, margin, label))

    def test_one_that_calibrates(self) -> None:
        random = np.random.default_rng(0)
        margin = random.normal(0, 3, 300)
        label = (random.random(300) < sigmoid(margin)).astype(int)
        calibration = fit_calibration(margin, label, VIEWS, "w")
        assert calibration_fault(calibration, margin, label) is None
        assert not calibration.is_at_bound

    def test_the_command_writes_none(self, run: Path, other_shards: Path) -> None:
        """An untrained model is refused. After it was fitted to the images, it can be calibrated."""
        with pytest.raises(InputError, match=r"^not calibrated, and nothing was written: .*AUROC"):
            calibrate.main([str(run), "--data", str(other_shards)])
        assert not (run / "model" / "calibration.json").exists()
        teach_by_heart(run, other_shards, "calibration")
        assert calibrate.main([str(run), "--data", str(other_shards)]) == 0

    @pytest.fixture
    def at_bound(self, run: Path) -> Calibration:
        """A calibration with its temperature at the limit, as an earlier version wrote it beside the model."""
        random = np.random.default_rng(0)
        config = load_preset("single_view_tiny")
        views = ViewSettings(config.loader.num_crops, config.loader.sampling)
        sha256 = read_model_card(run / "model")["weights_sha256"]
        drawn = fit_calibration(random.normal(0, 1, 99), np.arange(99) % 2, views, sha256)
        calibration = replace(drawn, temperature=49.9997, threshold=0.51, real_below=0.49)
        write_calibration(run / "model", calibration)
        assert read_calibration(run / "model", sha256) == calibration
        return calibration

    def test_a_card_speaks_of_doubt_only_if_there_is_a_band(self, run: Path, at_bound: Calibration) -> None:
        for real_below, words in ((0.49, "; uncertain in between."), (0.51, "; no image is uncertain.")):
            write_calibration(run / "model", replace(at_bound, temperature=2.0, real_below=real_below))
            assert words in model_card(run / "model")

    @pytest.mark.usefixtures("at_bound")
    def test_one_of_before_is_not_used(
        self, run: Path, synthetic_images: Path, synthetic_shards: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        detector = Detector.from_pretrained(run, device="cpu")
        assert detector.trained.calibration is not None
        assert detector.calibration_for(PredictOptions()) is None
        image = str(next((synthetic_images / "real").iterdir()))
        assert predict.main([str(run), image, "--no-stability"]) == 0
        assert "raw scores; 0.5 and above means generated; the calibration" in capsys.readouterr().err
        assert evaluate.main([str(run), "--data", str(synthetic_shards), *COMMON]) == 0
        document = read_evaluation(run, "test")
        assert document["calibration"] is None
        assert document["threshold"]["value"] == 0.5
        assert "does not fit the model's scores" in document["threshold"]["source"]


def test_stability_that_was_not_tested_is_not_called_stable(
    run: Path, synthetic_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(next((synthetic_images / "real").iterdir()))
    for flags, words in ((["--no-stability"], "stability not tested"), ([], "unstable")):
        assert predict.main([str(run), image, *flags]) == 0
        told = capsys.readouterr().err
        assert words in told
        assert ("0 unstable" in told) == (not flags and "1 unstable" not in told)
    verdict = ImageVerdict("x", score=0.5, verdict="real", width=1, height=1)
    assert "was not tested" in stability_sentence(verdict)
    assert "do not flip the verdict" in stability_sentence(replace(verdict, unstable=False))
    assert "flips the verdict" in stability_sentence(replace(verdict, unstable=True))


def test_no_change_that_an_image_is_short_enough_for_is_no_test() -> None:
    """Very long images get none of the harmless changes. The verdict then counts as untested."""
    scores = ImageScores(np.zeros(1), np.zeros((0, 4), np.int32), None, (1, 1), 1, changes={})
    assert verdict_on("x", scores, None, None).unstable is None


@pytest.mark.slow  # a page is drawn; evaluate and predict call one raw by default
def test_a_report_calls_a_raw_score_a_raw_score(run: Path, synthetic_shards: Path, tmp_path: Path) -> None:
    data = ["--data", str(synthetic_shards)]
    assert evaluate.main([str(run), *data, *COMMON]) == 0
    assert report.main([str(tmp_path), "--run", f"it={run}", *data]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "raw score given" in page
    assert "Images are called generated if their raw score is" in page
    assert ">probability " not in page
    assert "probability given" not in page
