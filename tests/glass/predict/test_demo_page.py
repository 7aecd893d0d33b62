"""The page of the demo: for an upload, it equals the page of ``predict --html``."""

import html
import shutil
from pathlib import Path

import pytest

from glass.predict.harmless_changes import CHANGES
from glass.share.demo_page import answer, facts_of
from glass.verdict_page.sentences import figure
from tests.project.page_parser import Page


@pytest.mark.parametrize("kind", ["jpg", pytest.param("png", marks=pytest.mark.slow)])
def test_it_says_what_predict_says(detector, files, tmp_path, kind):
    """An upload is a file with another name and the same bytes."""
    path = next(source.path for source in files if source.path.suffix == f".{kind}")
    (expected,) = detector.predict([path.read_bytes()])
    upload = Path(shutil.copy(path, tmp_path / f"upload.{kind}"))
    frame = answer(detector, facts_of(detector, ["decoders differ"]), str(upload), dense=True)
    (attributes,) = Page(frame).all("iframe")
    assert "sandbox" in attributes
    page = Page(attributes["srcdoc"])
    for words in (expected.verdict, figure(expected.score, 0.5), *CHANGES, "upload", "decoders differ"):
        assert words in page.words
    assert "None of the claims that were searched for was found in the file" in page.words
    assert str(tmp_path) not in page.source
    assert page.all("image", **{"class": "overlay"})
    assert answer(detector, facts_of(detector), None, dense=True) == ""


def test_it_survives_rubbish(detector, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"rubbish")
    shown = html.unescape(answer(detector, facts_of(detector), str(tmp_path / "x.jpg"), dense=True))
    assert "There is no verdict: the file is not in a supported image format" in shown
