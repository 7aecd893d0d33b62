"""The commands around a trained model, through their ``main``: predict, calibrate, export."""

import csv
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glass.config.documents import check_document
from glass.config.run_folder import dataset_digest
from glass.export.model_folder import save_model
from glass.measure.calibration import ViewSettings
from glass.measure.evaluation import read_evaluation
from glass.model.model import build_model
from glass.predict.detector import Detector
from glass.predict.prediction_files import PREDICTIONS_SCHEMA, write_csv, write_json
from glass.predict.source_paths import find_images
from glass.predict.verdicts import CSV_COLUMNS, ImageVerdict, json_row
from glass.presets import load_preset
from scripts import audit, calibrate, demo, evaluate, export, predict, robustness, verify_shards
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.images.pixels import decode_rgb, pixel_sha256
from tests.conftest import remount
from tests.knowing import teach_by_heart
from tests.made_up import made_up


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    config = load_preset("glass_tiny")
    config = replace(config, loader=replace(config.loader, crop_size=48))
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    return folder


@pytest.fixture(scope="module")
def paths(synthetic_images):
    return [source.name for source in find_images([str(synthetic_images / "real")]).sources[:3]]


def typed(text):
    """A stdin."""
    return io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogateescape")))


@pytest.mark.parametrize(
    "path",
    [
        ("model", "weights_sha256"),
        ("views", "draws"),
        ("calibrated",),
        ("real_below",),
        ("images", 0, "unstable"),
        ("images", 0, "windows", 0, "attention"),
        ("images", 0, "draw_scores"),
        ("images", 0, "change_scores"),
    ],
)
def test_predictions_with_a_hole_are_not_written(tmp_path, path):
    whole = made_up(PREDICTIONS_SCHEMA)
    check_document(whole, PREDICTIONS_SCHEMA)
    *way, last = path
    place = whole
    for step in way:
        place = place[step]
    del place[last]
    with pytest.raises(ValueError, match=f"{last} is missing"):
        check_document(whole, PREDICTIONS_SCHEMA)
    if path[0] != "images":
        head = {name: whole[name] for name in whole if name not in ("format", "format_version")}
        with pytest.raises(ValueError, match=f"{last} is missing"):
            write_json(tmp_path / "o.json", head, [ImageVerdict("x")])
        assert not (tmp_path / "o.json").exists()


def test_rows_files_and_exit_code(run, paths, tmp_path, capsys, monkeypatch):
    (tmp_path / "no.png").write_text("no image")
    (tmp_path / "cut.tar").write_bytes(b"no tar" * 100)
    gone = ["gone\x1b[2J.png", "caf\udce9.png", "n" * 256, "cut.tar"]
    listed = [paths[0], str(tmp_path / "no.png"), *(str(tmp_path / name) for name in gone), paths[1]]
    monkeypatch.setattr("sys.stdin", typed("\n".join(listed) + "\n"))
    files = ["--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]
    assert predict.main([str(run), "-", *files, "--no-stability"]) == 3
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out
    lines = shown.out.splitlines()
    assert [line.split()[0] == "unreadable" for line in lines] == [False, *[True] * 5, False]
    assert "not calibrated" in shown.err
    document = json.loads((tmp_path / "o.json").read_text())
    check_document(document, PREDICTIONS_SCHEMA)
    assert document["calibrated"] is False
    shown_paths = [path.replace("\udce9", "\\xe9") for path in listed]
    assert [image["path"] for image in document["images"]] == shown_paths
    first, bad = document["images"][:2]
    assert first["verdict"] in ("real", "generated")
    assert len(first["windows"]) == 4
    assert first["probability"] is None
    assert bad["reason"].startswith("not_an_image")
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert float(rows[0]["score"]) == first["score"]
    # JavaScript and spreadsheets round 64-bit integers; it is the beginning of the pixels' hash.
    pixels = decode_rgb(Path(paths[0]).read_bytes())
    assert first["content_id"] == rows[0]["content_id"] == pixel_sha256(pixels).hex()[:16]
    assert rows[1]["score"] == ""
    # What this command wrote it may write again, and nothing else.
    monkeypatch.setattr("sys.stdin", typed("\n".join(listed)))
    assert predict.main([str(run), "-", paths[2], *files, "--no-stability"]) == 3
    assert "o.json will be replaced" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("mine")
    for flag in ("--json", "--csv"):
        with pytest.raises(InputError, match="not written by this command"):
            predict.main([str(run), paths[0], flag, str(tmp_path / "mine.txt")])
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_tar_made_elsewhere(run, paths, tmp_path, capsys):
    """Any WebDataset tar will do; its members score as the files that they are, a damaged one and
    what is no image cost the others nothing."""
    tar = tmp_path / "foreign.tar"
    with tarfile.open(tar, "w") as made:
        for number, path in enumerate(paths):
            made.add(path, f"some/{number:03d}{Path(path).suffix}")
            made.addfile(tarfile.TarInfo(f"some/{number:03d}.cls"))
        bad = tarfile.TarInfo("some/999.jpg")
        bad.size = 1000
        made.addfile(bad, io.BytesIO(Path(paths[0]).read_bytes()[:1000]))
        made.addfile(tarfile.TarInfo("README"))
    out = tmp_path / "o.json"
    arguments = ["--json", str(out), "--no-stability"]
    assert predict.main([str(run), str(tar), *paths, *arguments]) == 3
    members = json.loads(out.read_text())["images"]
    files = members[len(paths) + 1 :]
    for number, (member, file) in enumerate(zip(members, files, strict=False)):
        assert member["path"] == f"{tar}/some/{number:03d}{Path(paths[number]).suffix}"
        same = ("content_id", "windows", "verdict")
        assert [member[name] for name in same] == [file[name] for name in same]
        assert member["score"] == pytest.approx(file["score"], abs=1e-5)
    assert members[len(paths)]["reason"] is not None
    assert "passed over 1 file," in capsys.readouterr().err


def test_other_decoders_are_told(run, paths, tmp_path, capsys):
    shutil.copytree(run / "model", tmp_path / "model")
    card_path = tmp_path / "model" / "config.json"
    card = json.loads(card_path.read_text())
    card["pixels"]["decoders"]["pillow"] = "9.9\x1b[2J"
    card_path.write_text(json.dumps(card))
    assert predict.main([str(tmp_path / "model"), paths[0], "--no-stability"]) == 0
    shown = capsys.readouterr().err
    assert "warning: " in shown
    assert "was made with pillow 9.9" in shown
    assert "decode a test file alike" in shown
    assert "\x1b" not in shown


def test_heatmaps_go_into_a_new_folder(run, paths, tmp_path):
    folder = tmp_path / "maps"
    arguments = [str(run), paths[0], "--heatmaps", str(folder), "--dense", "--no-stability"]
    assert predict.main(arguments) == 0
    assert len(list(folder.glob("000000-*.png"))) == 2
    with pytest.raises(InputError, match="holds files"):
        predict.main(arguments)


def test_heatmaps_of_long_names_and_of_what_is_gone(run, paths, tmp_path, capsys, monkeypatch):
    """A name of 80 Chinese characters takes 240 bytes, and a system allows 255; a file that is
    taken away after its verdict costs its map alone."""
    long, gone = tmp_path / ("像" * 80 + ".png"), tmp_path / "gone.png"
    for path in (long, gone):
        shutil.copy(paths[0], path)
    seen = predict._line

    def line(verdict):
        if verdict.path == str(gone):
            gone.unlink()
        return seen(verdict)

    monkeypatch.setattr(predict, "_line", line)
    files = ["--heatmaps", str(tmp_path / "maps"), "--dense", "--json", str(tmp_path / "o.json")]
    assert predict.main([str(run), str(gone), str(long), *files, "--no-stability"]) == 0
    told = capsys.readouterr().err
    assert f"warning: no heat map of {gone}: unreadable" in told
    assert told.endswith(f"wrote {tmp_path / 'o.json'}, {tmp_path / 'maps'}\n")
    names = [path.name for path in (tmp_path / "maps").iterdir()]
    assert sorted(names) == [f"000001-{'像' * 33}-dense.png", f"000001-{'像' * 33}.png"]
    images = json.loads((tmp_path / "o.json").read_text())["images"]
    assert [image["reason"] for image in images] == [None, None]


def test_spreadsheets_run_no_formula(tmp_path):
    names = ["=1+1.png", "+x", "-x", "@x", "\tx", 'a"b,c.png', "plain"]
    write_csv(tmp_path / "x.csv", [ImageVerdict(name, reason="=cmd") for name in names])
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [*(f"'{n}" for n in names[:5]), *names[5:]]
    assert {row["reason"] for row in rows} == {"'=cmd"}
    assert json.dumps(json_row(ImageVerdict("x", reason="y")))


@pytest.mark.slow
def test_ten_thousand_paths_of_which_half_are_no_images(run, tmp_path, monkeypatch, encode_image):
    small = [np.full((20, 30, 3), k, np.uint8) for k in range(10)]
    lines = []
    for number in range(10_000):
        path = tmp_path / f"{number}.png"
        if number % 2:
            path.write_bytes(b"nothing" if number % 4 == 1 else b"")
        else:
            path.write_bytes(encode_image(small[number % 10], "PNG"))
        lines.append(str(path))
    monkeypatch.setattr("sys.stdin", typed("\n".join(lines)))
    out = tmp_path / "out.json"
    arguments = ["-", "--json", str(out), "--no-stability", "--batch-size", "100"]
    assert predict.main([str(run), *arguments]) == 3
    images = json.loads(out.read_text())["images"]
    assert [image["path"] for image in images] == lines
    assert [image["reason"] is None for image in images] == [k % 2 == 0 for k in range(10_000)]
    assert len({image["score"] for image in images[::20]}) == 1


def test_wrong_input_is_one_sentence(run, paths, tmp_path, monkeypatch):
    lacking = tmp_path / "lacking"
    shutil.copytree(run / "model", lacking)
    (lacking / "model.safetensors").unlink()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("sys.stdin", typed(""))
    cases = [
        ([str(tmp_path / "none"), paths[0]], "does not exist"),
        ([str(tmp_path / "empty"), paths[0]], "no model in"),
        ([str(lacking), paths[0]], "model.safetensors is missing"),
        ([paths[0], paths[0]], "is a file"),
        ([str(run), str(tmp_path / "none.png")], "does not exist"),
        ([str(run), str(tmp_path / "empty")], "no images in"),
        ([str(run), "-"], "no images in"),
        ([str(run), paths[0], "--sampling", "x"], "is not one of"),
        ([str(run), paths[0], "--coverage", "all", "--crops", "9"], "leave out the number of crop"),
        ([str(run), paths[0], "--coverage", "all", "--sampling", "all"], "and the sampling rule"),
        ([str(run), paths[0], "--json", str(tmp_path / "no" / "x.json")], "does not exist"),
        ([str(run), paths[0], "--csv", str(tmp_path)], "is a folder"),
        ([str(run), paths[0], "--heatmaps", paths[0]], "cannot make the folder"),
    ]
    if not torch.cuda.is_available():
        cases.append(([str(run), paths[0], "--device", "cuda"], "there is none"))
    (tmp_path / "link").symlink_to(tmp_path / "empty", target_is_directory=True)
    for csv_name in (tmp_path / "empty" / "x", tmp_path / "link" / "x"):
        twice = ["--json", str(tmp_path / "empty" / "x"), "--csv", str(csv_name)]
        cases.append(([str(run), paths[0], *twice], "--json and --csv are both"))
    for arguments, words in cases:
        with pytest.raises(InputError, match=words) as caught:
            predict.main(arguments)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flag", [["--draws", "0"], ["--threads", "x"], ["--coverage", "some"], ["--dense"]])
def test_wrong_flags_are_one_sentence(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main(["run", "x.png", *flag])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "command", [predict, calibrate, evaluate, robustness, audit, verify_shards], ids=lambda command: command.__name__
)
@pytest.mark.parametrize("threads", ["0", "1025", "100000000"])
def test_threads_that_no_process_can_have(command, threads, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["run", "x.png", "--threads", threads])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_network_takes_no_more_threads_than_cores(run, paths, tmp_path, monkeypatch):
    """And computes the same with 1, with 2, and with as many as there are."""
    asked, scores, set_num_threads = [], set(), torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda n: (asked.append(n), set_num_threads(n)))
    before, out = torch.get_num_threads(), tmp_path / "o.json"
    try:
        for threads in ("1", "2", "1024"):
            flags = ["--json", str(out), "--no-stability", "--threads", threads]
            assert predict.main([str(run), paths[0], *flags]) == 0
            scores.add(round(json.loads(out.read_text())["images"][0]["score"], 5))
    finally:
        set_num_threads(before)
    assert asked == [min(threads, os.cpu_count() or 1) for threads in (1, 2, 1024)]
    assert len(scores) == 1


@pytest.fixture(scope="module")
def four_splits(synthetic_images, tmp_path_factory):
    out = tmp_path_factory.mktemp("four") / "data"
    shares = {"train": 0.25, "valid": 0.25, "test": 0.25, "calibration": 0.25}
    build_dataset(synthetic_images, out, BuildSettings(split_shares=shares, global_size=64))
    return out


@pytest.fixture(scope="module")
def knowing(run, four_splits, tmp_path_factory):
    """A run whose model tells the images of two splits apart; an untrained one cannot be
    calibrated."""
    folder = tmp_path_factory.mktemp("knowing") / "run"
    shutil.copytree(run, folder)
    teach_by_heart(folder, four_splits, "calibration+test", draws=8)
    return folder


def test_calibrate_then_evaluate_and_predict(knowing, four_splits, paths, tmp_path, capsys):
    """One calibration, used by both, and by neither at another number of crops."""
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    assert calibrate.main([str(mine), "--data", str(four_splits)]) == 0
    assert "say little about rare false alarms" in capsys.readouterr().out
    detector = Detector.from_pretrained(mine, device="cpu")
    calibration = detector.calibration
    assert calibration is not None
    assert calibration.views == ViewSettings(4, "stratified_grid")
    assert calibration.data["split"] == "calibration"
    common = [str(mine), "--data", str(four_splits), "--draws", "5", "--device", "cpu"]
    assert evaluate.main(common) == 0
    document = read_evaluation(mine, "test")
    assert document["threshold"]["value"] == calibration.threshold
    assert document["calibration"]["temperature"] == calibration.temperature
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
    assert predict.main([str(mine), paths[0], "--json", str(out), "--crops", "2"]) == 0
    document = json.loads(out.read_text())
    assert document["images"][0]["probability"] is None
    assert "calibrated for 4 crops" in document["note"]


def test_calibrate_writes_into_no_cache_of_the_hub(four_splits):
    with pytest.raises(InputError, match=r"user/name is no folder here.*hf download"):
        calibrate.main(["user/name", "--data", str(four_splits)])


def test_calibrate_refuses_what_would_flatter(run, four_splits, synthetic_shards):
    cases = [
        (["--data", str(synthetic_shards)], "no split calibration"),
        (["--data", str(four_splits), "--split", "test"], "chosen on test flatters"),
        (["--data", str(four_splits), "--split", "calibration+test"], "flatters"),
        (["--data", str(four_splits), "--split", "valid", "--held-out"], "or chosen on valid"),
        (["--data", str(four_splits), "--split", "train+test", "--held-out"], "chosen on train"),
    ]
    for arguments, words in cases:
        with pytest.raises(InputError, match=words):
            calibrate.main([str(run), *arguments])


def test_a_threshold_chosen_on_the_images_scored_is_told(knowing, four_splits, tmp_path, capsys):
    """By evaluate, for any split that shares images with it, and by robustness."""
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    data = ["--data", str(four_splits)]
    assert calibrate.main([str(mine), *data, "--split", "test", "--held-out"]) == 0
    common = [str(mine), *data, "--draws", "5", "--device", "cpu"]
    for split, chosen_here in (("test", True), ("test+calibration", True), ("calibration", False)):
        assert evaluate.main([*common, "--split", split]) == 0
        document = read_evaluation(mine, split)
        told = ["very images" in document["threshold"]["source"], document["calibration"]["in_sample"]]
        assert told == [chosen_here, chosen_here]
        assert (document["calibration"]["promise"] is None) == chosen_here
        printed = " ".join(capsys.readouterr().out.split())
        assert ("chosen on these very images" in printed) == chosen_here
        assert ("Promised: at most 1.0 %" in printed) != chosen_here
    assert robustness.main([*common, "--rows", "clean"]) == 0
    table = json.loads((mine / "robustness-test.json").read_text())
    assert "very images" in table["models"]["run"]["threshold"]["source"]


def test_commands_tell_of_other_decoders_in_a_line(knowing, four_splits, tmp_path, capsys):
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    path = mine / "model" / "config.json"
    card = json.loads(path.read_text())
    card["pixels"]["decoders"]["pillow"] = "1.0"
    path.write_text(json.dumps(card))
    arguments = [str(mine), "--data", str(four_splits)]
    for command in (calibrate.main, evaluate.main):
        assert command([*arguments, "--device", "cpu"]) == 0
        lines = [
            line for line in capsys.readouterr().err.splitlines() if "Warning" in line or line.startswith("warning: ")
        ]
        assert len(lines) == 1
        assert "pillow 1.0" in lines[0]


def test_calibrate_at_other_views(knowing, four_splits, tmp_path, capsys):
    """Which evaluate does not look with, so the promise cannot be measured: that is said."""
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    views = ["--draws", "2", "--coverage", "all"]
    assert calibrate.main([str(mine), "--data", str(four_splits), *views]) == 0
    calibration = Detector.from_pretrained(mine, device="cpu").calibration
    assert calibration is not None
    assert calibration.views == ViewSettings(64, "all", "all", 2)
    assert "evaluate cannot measure whether" in capsys.readouterr().out


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


def made_up_audit(sha256):
    finding = {
        "kind": "metadata",
        "severity": "serious",
        "text": "<b>|size tells",
        "advice": "mix",
        "feature": "width",
        "auroc": 0.9,
        "interval": [0.8, 1],
        "count": None,
        "examples": [["secret/a.png", "secret/b.png"]],
    }
    return {
        "format_version": 1,
        "dataset": {"name": "d", "dataset_json_sha256": sha256},
        "samples": {},
        "equalised": "",
        "metadata": None,
        "duplicates": {},
        "findings": [finding],
        "severity": "serious",
    }


def test_the_card_finds_the_audit_of_the_data_trained_on(run, four_splits, tmp_path):
    """Through run.json, as long as the data set is the one it was."""
    mine, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(run, mine)
    data.mkdir()
    shutil.copy(four_splits / "dataset.json", data)
    digest = dataset_digest(data)
    (data / "audit.json").write_text(json.dumps(made_up_audit(digest["dataset_json_sha256"])))
    record = {"format_version": 1, "config": {}, "finished": {}}
    for number, (sha256, found) in enumerate(((digest["dataset_json_sha256"], True), ("0" * 64, False))):
        entry = {"name": "data", "dataset_json_sha256": sha256, "path": str(data)}
        (mine / "run.json").write_text(json.dumps(record | {"data": entry}))
        assert export.main([str(mine), "--to", str(tmp_path / str(number))]) == 0
        card = (tmp_path / str(number) / "README.md").read_text()
        assert ("size tells" in card, "Not audited" in card) == (found, not found)
        assert str(tmp_path) not in card
        assert "secret" not in card
    (mine / "run.json").write_text("{}")
    assert export.main([str(mine), "--to", str(tmp_path / "damaged")]) == 0


def test_export_gives_the_same_scores_and_a_card(run, paths, tmp_path):
    audit = tmp_path / "audit.json"
    audit.write_text(json.dumps(made_up_audit("0" * 64)))
    to = tmp_path / "out"
    assert export.main([str(run), "--to", str(to), "--audit", str(audit)]) == 0
    assert sorted(p.name for p in to.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    one, other = (Detector.from_pretrained(f, device="cpu").predict(paths) for f in (run, to))
    assert [v.score for v in one] == [v.score for v in other]
    card = (to / "README.md").read_text()
    audited = ("**serious**: &lt;b>&#124;size", "0.800 – 1.000")
    for words in ("Not measured", "Not calibrated", "hint, not a proof", *audited):
        assert words in card
    assert "secret" not in card  # examples are paths of somebody's images
    audit.write_text('{"findings": []}')
    with pytest.raises(InputError, match="is no audit"):
        export.main([str(run), "--to", str(tmp_path / "other"), "--audit", str(audit)])
    with pytest.raises(InputError, match="holds files"):
        export.main([str(run), "--to", str(to)])


def test_an_export_that_fails_leaves_nothing_behind(run, tmp_path, monkeypatch):
    """So the corrected command is the same one, without its mistake."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "bad.json").write_text("{}")
    to = tmp_path / "out"
    cases = [
        (["--to", str(tmp_path / "file")], "is a file"),
        (["--to", str(tmp_path / "file" / "x")], "cannot write"),
        (["--to", str(to), "--onnx", str(tmp_path / "no" / "m.onnx")], "no does not exist"),
        (["--to", str(to), "--audit", str(tmp_path / "bad.json")], "is no audit"),
    ]
    for arguments, words in cases:
        with pytest.raises(InputError, match=words):
            export.main([str(run), *arguments])
        assert not to.exists()

    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("glass.share.bundle.write_bytes_atomic", full)
        with pytest.raises(InputError, match="No space left"):
            export.main([str(run), "--to", str(to)])
    assert not to.exists()
    assert (tmp_path / "file").read_text() == "mine"
    to.mkdir()
    assert export.main([str(run), "--to", str(to)]) == 0


def test_the_card_tells_what_was_measured(knowing, four_splits, tmp_path):
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    assert calibrate.main([str(mine), "--data", str(four_splits)]) == 0
    common = [str(mine), "--data", str(four_splits), "--draws", "5"]
    assert evaluate.main(common) == 0
    assert evaluate.main([*common, "--crops", "2"]) == 0
    assert export.main([str(mine), "--to", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    for words in (
        "| AUROC |",
        "gan_a",
        "gan_b",
        "**minimum**",
        "temperature",
        "95 % interval",
        "Seen with 4 crops",
        "Seen with 2 crops",
        "Promised: at most 1.0 %",
    ):
        assert words in card
    assert (tmp_path / "out" / "calibration.json").is_file()


def test_paths_of_this_machine_stay_here(tmp_path):
    config = load_preset("single_view_tiny")
    model = replace(config.model, global_weights="/home/someone/secret/w.safetensors")
    config = replace(config, model=model)
    save_model(tmp_path / "model", build_model(config, with_weights=False), config)
    assert export.main([str(tmp_path), "--to", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "config.json").read_text()
    assert "w.safetensors" in text
    assert "secret" not in text


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["glass_tiny", "single_view_tiny"])
def test_onnx_scores_agree(preset, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    config = load_preset(preset)
    model = build_model(config).eval()
    save_model(tmp_path / "model", model, config)
    assert export.main([str(tmp_path), "--onnx", str(tmp_path / "m.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(1)
    side = config.loader.crop_size
    for batch, crops in ((1, 1), (3, 4), (5, 7)):
        view = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8, generator=random)
        shape = (batch, crops, 3, side, side)
        local = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
        mask = torch.arange(crops)[None] <= torch.arange(batch)[:, None]
        with torch.no_grad():
            logits = model(view, local, mask)[0].numpy()
        feeds = {"global_view": view, "local_crops": local, "crop_mask": mask}
        wanted = {entry.name for entry in session.get_inputs()}
        got = session.run(["logits"], {n: v.numpy() for n, v in feeds.items() if n in wanted})[0]
        np.testing.assert_allclose(got, logits, atol=1e-4, rtol=1e-4)
    assert "glass_views" in session.get_modelmeta().custom_metadata_map


def test_an_address_of_another_machine_is_told(monkeypatch):
    class Page:
        def launch(self, **_):
            raise OSError("Cannot find empty port")

    monkeypatch.setattr("glass.predict.detector.Detector.from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr("glass.share.demo_page.build_page", lambda _: Page())
    with pytest.raises(InputError, match=r"port 99 of 1\.2\.3\.4: give another --port, or"):
        demo.main(["run", "--host", "1.2.3.4", "--port", "99"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs the extra demo")
def test_the_page_is_served_and_listens_here_only(run):
    """In a process of its own: Gradio warns, and opens sockets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "scripts.demo", str(run), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            assert f"http://127.0.0.1:{port}" in served.stdout.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                assert b"Is this image generated?" in answer.read()
        finally:
            served.terminate()
