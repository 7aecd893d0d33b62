"""``predict --resume`` continues a stopped run: with the same result as one run, or it refuses and changes nothing."""

import io
import json
import os
import re
import shutil
import time
from contextlib import redirect_stderr
from dataclasses import replace

import numpy as np
import pytest

from glass.claims.claim import Claim
from glass.predict import verdict_lines
from glass.predict.detector import Detector
from glass.predict.partial_rows import partial_path
from glass.predict.source_paths import find_images
from glass.predict.verdicts import ImageVerdict, csv_row, json_row, verdict_of
from scripts import predict
from shards.errors import InputError
from shards.files.locks import try_lock


@pytest.fixture(scope="module")
def images(synthetic_images, tmp_path_factory):
    """A folder of five images and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for source in find_images([str(synthetic_images / "real")]).sources[:5]:
        shutil.copy2(source.name, folder)
    (folder / "0.jpg").write_bytes(b"no image")
    return folder


def files_of(folder):
    return [folder / "o.json", folder / "o.csv"]


def flags(folder, *more):
    json_path, csv_path = files_of(folder)
    return ["--json", str(json_path), "--csv", str(csv_path), "--no-stability", *more]


@pytest.fixture(scope="module")
def stopped_once(run, images, tmp_path_factory):
    """Predicts on ``images`` until Ctrl-C after three rows. Returns the folder of the partial files."""
    line, seen, folder = verdict_lines.verdict_line, [], tmp_path_factory.mktemp("stopped")

    def counting(verdict):
        seen.append(verdict)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return line(verdict)

    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as said:
        patch.setattr(verdict_lines, "verdict_line", counting)
        with pytest.raises(KeyboardInterrupt):
            predict.main([str(run), str(images), *flags(folder)])
    assert "; add --resume to the command to continue" in said.getvalue()
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A copy of the partial files, in the folder of the outputs."""
    return shutil.copytree(stopped_once, tmp_path, dirs_exist_ok=True)


def asked_of(monkeypatch):
    """A list to which the names of all images that are scored from now on are appended."""
    asked, scored = [], Detector.predict_iter
    monkeypatch.setattr(
        Detector,
        "predict_iter",
        lambda self, sources, options: asked.extend(s.name for s in sources) or scored(self, sources, options),
    )
    return asked


@pytest.mark.parametrize("cut", [pytest.param(0, marks=pytest.mark.slow), 10])
def test_the_files_are_those_of_one_run(run, images, stopped, monkeypatch, capsys, cut):
    """``cut`` bytes are missing at the end, as after a kill while a line was written."""
    partial = partial_path(stopped / "o.json")
    partial.write_bytes(partial.read_bytes()[: -cut or None])
    asked = asked_of(monkeypatch)
    finished = 2 if cut else 3
    if cut:  # the table has a row more than the lines that count
        partial_path(stopped / "o.csv").unlink()
    assert predict.main([str(run), str(images), *flags(stopped, "--resume")]) == predict.EXIT_SOME_UNREADABLE
    assert len(asked) == 6 - finished
    assert f"resuming: {finished} of 6 images have verdicts" in capsys.readouterr().err
    (stopped / "once").mkdir()
    predict.main([str(run), str(images), *flags(stopped / "once")])
    for resumed, once in zip(files_of(stopped), files_of(stopped / "once"), strict=True):
        assert resumed.read_bytes() == once.read_bytes()
        assert not partial_path(resumed).exists()


def test_it_can_be_stopped_again(run, images, stopped, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(predict, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict.main([str(run), str(images), *flags(stopped, "--resume")])
    asked = asked_of(monkeypatch)
    predict.main([str(run), str(images), *flags(stopped, "--resume")])
    assert asked == []
    assert len(json.loads((stopped / "o.json").read_text())["images"]) == 6


def test_without_a_stopped_run_it_starts(run, images, tmp_path, capsys):
    predict.main([str(run), str(images), *flags(tmp_path, "--resume")])
    said = f"nothing to resume: no {tmp_path / 'o.json.partial'}; starting from the beginning\n"
    assert said in capsys.readouterr().err
    assert len(json.loads((tmp_path / "o.json").read_text())["images"]) == 6


class TestRefusals:
    """Each leaves the partial files as they are."""

    @pytest.fixture(autouse=True)
    def unchanged(self, stopped):
        before = [partial_path(path).read_bytes() for path in files_of(stopped)]
        yield
        assert [partial_path(path).read_bytes() for path in files_of(stopped)] == before

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--crops", "2"], "holds verdicts with another choice of views"),
            (["--claims"], "was made with other options"),
        ],
    )
    def test_of_other_options(self, run, images, stopped, more, message):
        with pytest.raises(InputError, match=message):
            predict.main([str(run), str(images), *flags(stopped, "--resume", *more)])

    def test_of_stability_that_was_not_tested(self, run, images, stopped):
        words = [word for word in flags(stopped, "--resume") if word != "--no-stability"]
        with pytest.raises(InputError, match="was made with other options"):
            predict.main([str(run), str(images), *words])

    def test_of_another_model(self, plain_run, images, stopped):
        with pytest.raises(InputError, match="holds verdicts with another model"):
            predict.main([str(plain_run), str(images), *flags(stopped, "--resume")])

    def test_of_other_images(self, run, images, paths, stopped):
        with pytest.raises(InputError, match=r"a verdict on .*/0\.jpg where .* is given now"):
            predict.main([str(run), paths[0], str(images), *flags(stopped, "--resume")])
        with pytest.raises(InputError, match="holds verdicts on more images than are given now"):
            predict.main([str(run), str(images / "0.jpg"), *flags(stopped, "--resume")])

    @pytest.mark.parametrize("move", [shutil.copytree, os.symlink])
    def test_of_an_image_that_changed(self, run, images, stopped, move):
        moved = stopped / "images"  # the same names and times, but other files
        move(images, moved)
        partial = partial_path(stopped / "o.json")
        before = partial.read_bytes()
        partial.write_bytes(before.replace(str(images).encode(), str(moved).encode()))
        with pytest.raises(InputError, match="has changed since"):
            predict.main([str(run), str(moved), "--json", str(stopped / "o.json"), "--no-stability", "--resume"])
        partial.write_bytes(before)

    def test_of_a_folder_that_took_the_place_of_another(self, run, images, stopped):
        """Its files have the same names and lengths, and are older than the stopped run."""
        moved, partial = stopped / "images", partial_path(stopped / "o.json")
        shutil.copytree(images, moved)
        before = partial.read_bytes()
        later = re.sub(rb'"began_ns": ?\d+', b'"began_ns": %d' % (time.time_ns() + 10**9), before)
        partial.write_bytes(later.replace(str(images).encode(), str(moved).encode()))
        with pytest.raises(InputError, match=r"a verdict on .*/0\.jpg, which has changed since"):
            predict.main([str(run), str(moved), "--json", str(stopped / "o.json"), "--no-stability", "--resume"])
        partial.write_bytes(before)

    def test_of_a_link_to_a_link_that_changed(self, run, images, stopped):
        """The data set is ``latest``, a link to ``v1``, and ``v1`` is a link to where it lies on this machine."""
        latest, version = stopped / "latest", stopped / "v1"
        version.symlink_to(images)
        latest.symlink_to("v1")
        partial = partial_path(stopped / "o.json")
        before = partial.read_bytes()
        later = before.replace(str(images).encode(), str(latest).encode())
        later = re.sub(rb'"began_ns": ?\d+', b'"began_ns": %d' % (latest.lstat().st_ctime_ns + 1), later)
        partial.write_bytes(later)
        time.sleep(0.02)
        version.unlink()
        version.symlink_to(images)
        with pytest.raises(InputError, match="has changed since"):
            predict.main([str(run), str(latest), "--json", str(stopped / "o.json"), "--no-stability", "--resume"])
        partial.write_bytes(before)

    def test_while_the_run_goes_on(self, run, images, stopped):
        held = try_lock(partial_path(stopped / "o.json"))
        with pytest.raises(InputError, match="is being written by a command that is still running"):
            predict.main([str(run), str(images), *flags(stopped, "--resume")])
        os.close(held)

    def test_without_the_option(self, run, images, stopped):
        with pytest.raises(InputError, match=r"o\.json\.partial holds .*: add --resume to continue"):
            predict.main([str(run), str(images), *flags(stopped)])

    @pytest.mark.parametrize("more", [["--html", "o.html"], ["--heatmaps", "maps"]])
    def test_of_pictures(self, run, images, stopped, more, capsys):
        with pytest.raises(SystemExit):
            predict.main([str(run), str(images), *flags(stopped, "--resume", *more)])
        assert "--resume keeps verdicts, but no pictures" in capsys.readouterr().err


def test_without_a_document_there_is_nothing_to_resume(run, images, capsys):
    with pytest.raises(SystemExit):
        predict.main([str(run), str(images), "--csv", "o.csv", "--resume"])
    assert "--resume needs --json FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [b"{}", *lines[1:]],
        lambda lines: [lines[0], b"[1]", *lines[2:]],
        lambda lines: [lines[0], lines[1].replace(b'"path"', b'"pfad"'), *lines[2:]],
        lambda lines: [*lines[:2], lines[2].replace(b'"top": ', b'"top": 99999999999'), *lines[3:]],
        lambda lines: [*lines[:2], lines[2].replace(b'"attention": 0', b'"attention": 1e300, "n": 0'), *lines[3:]],
        lambda lines: [lines[0].replace(b'"data_notes": []', b'"data_notes": [1]'), *lines[1:]],
        lambda lines: [lines[0], lines[1].replace(b"not_an_image", b"\\ud800"), *lines[2:]],
    ],
)
def test_a_damaged_file_is_reported_in_a_sentence(run, images, stopped, change):
    partial = partial_path(stopped / "o.json")
    damaged = b"\n".join(change(partial.read_bytes().split(b"\n")))
    partial.write_bytes(damaged)
    with pytest.raises(InputError, match=r"o\.json\.partial cannot be continued .*: move it away or delete it"):
        predict.main([str(run), str(images), *flags(stopped, "--resume")])
    assert partial.read_bytes() == damaged


def test_a_run_that_was_killed_before_its_first_line_starts_again(run, images, tmp_path):
    partial_path(tmp_path / "o.json").touch()
    predict.main([str(run), str(images), *flags(tmp_path, "--resume")])
    assert len(json.loads((tmp_path / "o.json").read_text())["images"]) == 6


def test_an_output_that_is_the_partial_file_of_another_is_refused(run, images, tmp_path):
    """It would be deleted at the end."""
    with pytest.raises(InputError, match=r"o\.partial: give each its own file"):
        predict.main([str(run), str(images), "--json", str(tmp_path / "o"), "--csv", str(tmp_path / "o.partial")])


def test_a_link_is_not_followed(run, images, stopped, tmp_path):
    partial = partial_path(stopped / "o.csv")
    partial.unlink()
    partial.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"o\.csv\.partial is a link"):
        predict.main([str(run), str(images), *flags(stopped, "--resume")])
    assert not (tmp_path / "nowhere").exists()


def test_a_table_of_another_run_stays(run, images, stopped):
    partial = partial_path(stopped / "o.csv")
    partial.write_text("path,score,probability,verdict\nmine,1,1,real\n")
    with pytest.raises(InputError, match=r"o\.csv\.partial holds the table of another prediction"):
        predict.main([str(run), str(images), *flags(stopped, "--resume")])
    assert "mine" in partial.read_text()


def test_records_come_back(detector, paths):
    (scored,) = detector.predict(paths[:1])
    claimed = replace(scored, claims=(Claim("iptc", "not checked", "says\nso"),), data_notes=("a note",))
    without = replace(scored, attention=None, unstable=None, probability=0.5, windows=np.zeros((0, 4), np.int32))
    for verdict in (scored, claimed, without, ImageVerdict("x", reason="empty_file")):
        back = verdict_of(json_row(verdict), verdict.data_notes)
        assert json_row(back) == json_row(verdict)
        columns = (*csv_row.__defaults__[0], "data_notes", "claims")
        assert csv_row(back, columns) == csv_row(verdict, columns)
