"""``scripts.predict``, called through its ``main``."""

import csv
import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from glass.config.run_folder import RunRecord
from glass.config.unfinished_run import unfinished_warning
from glass.predict import verdict_lines
from glass.predict.prediction_files import Predictions, write_csv, write_json
from glass.predict.verdicts import CSV_COLUMNS, ImageVerdict, json_row
from scripts import audit, calibrate, evaluate, predict, robustness, verify_shards
from shards.cli.streams import guarded_streams
from shards.cores import usable_cores
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.images.pixels import decode_rgb, pixel_sha256
from shards.images.rejection import REASONS
from tests.runs.made_up import made_up


def typed(text):
    """A stdin from which ``text`` can be read."""
    return io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogateescape")))


def test_a_run_that_was_stopped_is_not_finished(plain_run, paths, tmp_path, capsys):
    """A model that was copied out of its run has no such record."""
    run = shutil.copytree(plain_run, tmp_path / "run")
    record = made_up(RunRecord) | {"config": {"epochs": 16}, "finished": None}
    (run / "run.json").write_text(json.dumps(record))
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert predict.main([str(run), paths[0], "--no-stability"]) == 0
    assert f"warning: the run {run} is not finished: 2 of 16 epochs\n" in capsys.readouterr().err
    assert unfinished_warning(run / "exported") is None
    (run / "run.json").write_text(json.dumps(record | {"finished": {}}))
    assert unfinished_warning(run / "model") is None


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
    whole = made_up(Predictions)
    typed_document(whole, Predictions)
    *way, last = path
    place = whole
    for step in way:
        place = place[step]
    del place[last]
    with pytest.raises(ValueError, match=f"{last} is missing"):
        typed_document(whole, Predictions)
    if path[0] != "images":
        head = {name: whole[name] for name in whole if name not in ("format", "format_version")}
        with pytest.raises(ValueError, match=f"{last} is missing"):
            write_json(tmp_path / "o.json", head, [ImageVerdict("x")])
        assert not (tmp_path / "o.json").exists()


def test_without_a_reader_only_files_are_written(run, paths, tmp_path, capsys, monkeypatch):
    """Once the reader of stdout has left, as ``head`` does, the command goes on only if it writes files."""

    def scored(*files):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w") as out, monkeypatch.context() as patched:
            patched.setattr("sys.stdout", out)
            with guarded_streams():
                assert predict.main([str(run), *paths[:3], "--no-stability", *files]) == 0
        return sum(int(number) for number in re.findall(r"(\d+) (?:real|generated|uncertain)", capsys.readouterr().err))

    assert scored() == 1
    assert scored("--json", str(tmp_path / "o.json")) == 3
    assert len(json.loads((tmp_path / "o.json").read_text())["images"]) == 3


@pytest.mark.parametrize(
    ("path", "reason", "words"),
    [
        ("a.jpg", "not_an_image: begins with 'hi'", "the file is not in a supported image format (begins with 'hi')"),
        ("a.jpg", "truncated: OSError: 57 bytes not processed", f"{REASONS['truncated']} (57 bytes not processed)"),
        ("a.jpg", "truncated: EOFError: ", REASONS["truncated"]),
        ("a.jpg", f"empty_file: {REASONS['empty_file']}", REASONS["empty_file"]),
        (
            "a.jpg",
            "io: Input/output error",
            "the disk or the network file system failed several times (Input/output error)",
        ),
        ("a.jpg", "told by another version", "told by another version"),
        (
            "a.CSV",
            "not_an_image: begins with 'path'",
            f"{REASONS['not_an_image']} (begins with 'path'); to score the images in a list, give - and the list on "
            "stdin",
        ),
    ],
)
def test_why_an_image_is_unreadable_is_said_in_words(path, reason, words):
    assert verdict_lines.verdict_line(ImageVerdict(path, reason=reason)).endswith(f"  {path}: {words}")


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
    typed_document(document, Predictions)
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
    """Any WebDataset tar can be used. Its members get the same scores as files. A damaged member and members that are
    not images do not affect the others."""
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
    assert "skipped 1 file without an image extension" in capsys.readouterr().err


def test_other_decoders_are_reported(plain_run, paths, tmp_path, capsys):
    shutil.copytree(plain_run / "model", tmp_path / "model")
    card_path = tmp_path / "model" / "config.json"
    card = json.loads(card_path.read_text())
    card["pixels"]["decoders"]["pillow"] = "9.9\x1b[2J"
    card_path.write_text(json.dumps(card))
    assert predict.main([str(tmp_path / "model"), paths[0], "--no-stability"]) == 0
    shown = capsys.readouterr().err
    assert "warning: " in shown
    assert "was trained with pillow 9.9" in shown
    assert "decode a test file to the same pixels" in shown
    assert "\x1b" not in shown


def test_heatmaps_go_into_a_new_folder(run, paths, tmp_path):
    folder = tmp_path / "maps"
    arguments = [str(run), paths[1], "--heatmaps", str(folder), "--dense", "--no-stability"]  # the smallest image
    assert predict.main(arguments) == 0
    assert len(list(folder.glob("000000-*.png"))) == 2
    with pytest.raises(InputError, match="holds files"):
        predict.main(arguments)


def test_heatmaps_of_long_names_and_of_what_is_gone(run, paths, tmp_path, capsys, monkeypatch):
    """A name of 80 Chinese characters takes 240 bytes, and the system allows 255. If a file is deleted after its
    verdict, only its heat map is missing."""
    long, gone = tmp_path / ("像" * 80 + ".png"), tmp_path / "gone.png"
    for path in (long, gone):
        shutil.copy(paths[1], path)
    seen = verdict_lines.verdict_line

    def line(verdict):
        if verdict.path == str(gone):
            gone.unlink()
        return seen(verdict)

    monkeypatch.setattr(verdict_lines, "verdict_line", line)
    files = ["--heatmaps", str(tmp_path / "maps"), "--dense", "--json", str(tmp_path / "o.json")]
    assert predict.main([str(run), str(gone), str(long), *files, "--no-stability"]) == 0
    told = capsys.readouterr().err
    assert f"warning: no heat map of {gone}: the file is missing or cannot be read (" in told
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


def test_wrong_input_is_one_sentence(plain_run, paths, tmp_path, monkeypatch):
    lacking = tmp_path / "lacking"
    shutil.copytree(plain_run / "model", lacking)
    (lacking / "model.safetensors").unlink()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("sys.stdin", typed(""))
    cases = [
        ([str(tmp_path / "none"), paths[0]], "does not exist"),
        ([str(tmp_path / "empty"), paths[0]], "no model in"),
        ([str(lacking), paths[0]], "model.safetensors is missing"),
        ([paths[0], paths[0]], "is a file"),
        ([str(plain_run), str(tmp_path / "none.png")], "does not exist"),
        ([str(plain_run), str(tmp_path / "empty")], "no images in"),
        ([str(plain_run), "-"], "no images in"),
        ([str(plain_run), paths[0], "--sampling", "x"], "is not one of"),
        ([str(plain_run), paths[0], "--coverage", "all", "--crops", "9"], "leave out the number of crop"),
        ([str(plain_run), paths[0], "--coverage", "all", "--sampling", "all"], "and the sampling rule"),
        ([str(plain_run), paths[0], "--json", str(tmp_path / "no" / "x.json")], "does not exist"),
        ([str(plain_run), paths[0], "--csv", str(tmp_path)], "is a folder"),
        ([str(plain_run), paths[0], "--heatmaps", paths[0]], "is a file: give a new folder"),
    ]
    if not torch.cuda.is_available():
        cases.append(([str(plain_run), paths[0], "--device", "cuda"], "no CUDA device"))
    (tmp_path / "link").symlink_to(tmp_path / "empty", target_is_directory=True)
    for csv_name in (tmp_path / "empty" / "x", tmp_path / "link" / "x"):
        twice = ["--json", str(tmp_path / "empty" / "x"), "--csv", str(csv_name)]
        cases.append(([str(plain_run), paths[0], *twice], "--json and --csv both name"))
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
def test_threads_that_no_process_can_have(command, capsys):
    for threads in ("0", "1025", "100000000"):
        with pytest.raises(SystemExit) as stop:
            command.main(["run", "x.png", "--threads", threads])
        assert stop.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_network_takes_no_more_threads_than_cores(plain_run, paths, tmp_path, monkeypatch):
    """The score is the same with 1 thread, with 2 and with as many as there are cores."""
    asked, scores, set_num_threads = [], set(), torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda n: (asked.append(n), set_num_threads(n)))
    before, out = torch.get_num_threads(), tmp_path / "o.json"
    try:
        for threads in ("1", "2", "1024"):
            flags = ["--json", str(out), "--no-stability", "--threads", threads]
            assert predict.main([str(plain_run), paths[0], *flags]) == 0
            scores.add(round(json.loads(out.read_text())["images"][0]["score"], 5))
    finally:
        set_num_threads(before)
    assert asked == [min(threads, usable_cores()) for threads in (1, 2, 1024)]
    assert len(scores) == 1
