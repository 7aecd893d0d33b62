"""The file that ``predict --html`` writes: no data of the user is lost, however often the command is run or
interrupted."""

import re

import pytest

from glass.predict import verdict_lines
from glass.predict.partial_rows import partial_path
from scripts import predict
from shards.errors import InputError
from tests.project.page_parser import Page
from tests.runs.spread_runs import calibrated


def test_the_page_replaces_its_own_and_nothing_else(plain_run, run, files, tmp_path, capsys):
    path, other = files[0].path, files[1].path
    out = tmp_path / "o.html"
    out.write_text("<p>mine</p>")
    with pytest.raises(InputError, match="not written by this command"):
        predict.main([str(plain_run), str(path), "--html", str(out)])
    assert out.read_text() == "<p>mine</p>"
    out.unlink()
    flags = ["--html", str(out), "--no-stability"]
    assert predict.main([str(plain_run), str(path), *flags]) == 0
    assert predict.main([str(plain_run), str(path), str(other), *flags]) == 0
    assert "will be replaced" in capsys.readouterr().err
    before = out.read_bytes()
    with pytest.raises(InputError, match="verdicts with another model"):
        predict.main([str(run), str(path), str(other), *flags])
    with pytest.raises(InputError, match="holds verdicts on 1 image that are not among the images given now"):
        predict.main([str(plain_run), str(path), *flags])
    assert out.read_bytes() == before
    text = before.decode()
    for damaged in (
        text.replace('id="verdicts">{', 'id="verdicts">['),
        re.sub(r'("threshold": )[^,]+', r"\g<1>1" + 400 * "0", text),
    ):
        assert damaged != text
        out.write_text(damaged)
        with pytest.raises(InputError, match="is damaged"):
            predict.main([str(plain_run), str(path), str(other), *flags])
    with pytest.raises(InputError, match="--csv and --html both name"):
        predict.main([str(plain_run), str(path), "--csv", str(tmp_path / "x"), "--html", str(tmp_path / "x")])


@pytest.mark.parametrize("option", [pytest.param("--json", marks=pytest.mark.slow), "--html"])
def test_verdicts_by_other_views_or_another_calibration_are_kept(untrained_run, files, tmp_path, option):
    """With other views or another calibration, the same weights give other verdicts, and it may be impossible to make
    the earlier verdicts again."""
    calibrated(untrained_run, tmp_path / "model", middle=0.0)
    out = tmp_path / "out"
    command = [str(tmp_path / "model"), str(files[0].path), option, str(out), "--no-stability"]
    assert predict.main(command) == 0
    before = out.read_bytes()
    with pytest.raises(InputError, match="holds verdicts with another choice of views: give another name"):
        predict.main([*command, "--crops", "3"])
    (tmp_path / "model/calibration.json").unlink()
    with pytest.raises(InputError, match="holds verdicts with another calibration: give another name"):
        predict.main(command)
    assert out.read_bytes() == before


def test_a_run_that_is_stopped_leaves_the_page_so_far(plain_run, files, tmp_path, monkeypatch, capsys):
    out, seen, line = tmp_path / "o.html", [], verdict_lines.verdict_line

    def counting(verdict):
        seen.append(verdict.path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return line(verdict)

    arguments = [str(plain_run), *(str(source.path) for source in files[:4]), "--html", str(out), "--no-stability"]
    with monkeypatch.context() as patch:
        patch.setattr(verdict_lines, "verdict_line", counting)
        with pytest.raises(KeyboardInterrupt):
            predict.main(arguments)
    assert f"stopped; the 2 rows so far are in {out}.partial" in capsys.readouterr().err
    page = Page(partial_path(out).read_text())
    assert "Stopped early: 2 images of 4 were not scored" in page.words
    assert [row.keys[3] for row in page.rows] == seen[:2]
    assert not out.exists()
    with pytest.raises(InputError, match=r"o\.html\.partial holds the results of a prediction"):
        predict.main(arguments)
    partial_path(out).unlink()
    assert predict.main(arguments) == 0
    assert not partial_path(out).exists()
    assert "Stopped early" not in out.read_text()


def test_no_two_runs_write_one_page(plain_run, files, tmp_path, monkeypatch):
    """The second run is refused, because it would replace the verdicts of the first."""
    out, line = tmp_path / "o.html", verdict_lines.verdict_line

    def begun_again(verdict):
        monkeypatch.setattr(verdict_lines, "verdict_line", line)
        with pytest.raises(InputError, match=r"o\.html\.partial holds .* or is still running"):
            predict.main([str(plain_run), str(files[1].path), "--html", str(out), "--no-stability"])
        return line(verdict)

    monkeypatch.setattr(verdict_lines, "verdict_line", begun_again)
    assert predict.main([str(plain_run), str(files[0].path), "--html", str(out), "--no-stability"]) == 0
    assert str(files[0].path) in Page(out.read_text()).words
    assert list(tmp_path.iterdir()) == [out]
