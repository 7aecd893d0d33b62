"""The page of verdicts that ``predict --html`` and the demo write: what it says and shows, and what it must never
do."""

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps

from glass.predict.detector import Detector
from glass.predict.harmless_changes import CHANGES
from glass.predict.heatmaps import dense_windows
from glass.predict.image_sources import BytesSource, LoadedImage
from glass.predict.verdicts import ImageVerdict
from glass.share.demo_page import facts_of
from glass.verdict_page import page as page_module
from glass.verdict_page import pictures
from glass.verdict_page.page import VerdictPage
from glass.verdict_page.pictures import WatchedSource, picture_of
from glass.verdict_page.sentences import figure
from scripts import predict
from shards.images.rejection import explained
from tests.glass.predict.test_verdict_sentences import HEAD
from tests.project.page_parser import Page
from tests.runs.spread_runs import QUICK, calibrated, make_run


def written(run, out, *arguments, code=0):
    """Runs ``predict`` and returns the page that it wrote."""
    assert predict.main([str(run), *map(str, arguments), "--html", str(out)]) == code
    return Page(out.read_text())


def pixels_in(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.fixture(scope="module")
def many(spread_run, files, tmp_path_factory):
    """(page, JSON document) for a third of the images, a file that is not an image, and an image whose name contains
    HTML and control characters."""
    folder = tmp_path_factory.mktemp("many")
    wicked = folder / "<script>alert(1)<&'\"\x1b‮.png"
    shutil.copy(next(source.path for source in files if source.path.suffix == ".png"), wicked)
    (folder / "no.png").write_text("no image")
    listed = [*(source.path for source in files[::3]), folder / "no.png", wicked]
    page = written(spread_run, folder / "o.html", *listed, "--json", folder / "o.json", code=3)
    return page, json.loads((folder / "o.json").read_text())


def test_every_image_is_a_row_with_what_predict_says(many):
    page, document = many
    assert len(page.rows) == len(document["images"]) == 10
    for row, image in zip(page.rows, document["images"], strict=True):
        _, word, score, name, stable = row.cells[:5]
        if image["reason"]:
            assert word.strip() == "unreadable"
            assert explained(image["reason"]) in name
            assert not row.pictures
            continue
        assert word.strip() == image["verdict"]
        assert score.split()[0] in (figure(image["score"], 0.5), f"{image['score']:.3f}")
        assert stable.startswith("unstable" if image["unstable"] else "stable")
        assert row.pictures == 1
    assert sum("alert(1)" in row.cells[3] for row in page.rows) == 1
    assert "raw" in page.words


def test_the_page_asks_nobody_and_runs_its_own_script_alone(many):
    page, _ = many
    for _, attributes in page.tags:
        for name in ("src", "href"):
            address = attributes.get(name) or "#"
            assert address.startswith(("data:image/", "#")), address
        assert not {name for name in attributes if name.startswith("on")}
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in policy["content"]
    kinds = [kind for kind, _ in page.scripts]
    assert kinds == ["application/json", None]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy["content"]
    assert "url(" not in page.source
    assert "\x1b" not in page.source
    assert "‮" not in page.source


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def in_browser(text, path):
    """The page after a browser has run its scripts, as HTML text."""
    path.write_text(text)
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent}/profile"]
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_sorts_the_table_and_runs_no_other_script(many, tmp_path):
    page, document = many
    other = '<script>document.querySelectorAll("thead button")[1].click()</script></body>'
    refused = Page(in_browser(page.source.replace("</body>", other), tmp_path / "kept.html"))
    assert [row.keys for row in refused.rows] == [row.keys for row in page.rows]
    assert len(refused.all("button")) == 4  # made by the script of the page
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.source)
    sorted_page = Page(in_browser(free.replace("</body>", other), tmp_path / "free.html"))
    scores = [float(row.keys[2]) for row in sorted_page.rows if row.keys[2]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(document["images"]) - 1
    assert not sorted_page.rows[-1].keys[2]  # what could not be read comes last


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_the_rows_that_are_asked_for(many, tmp_path):
    """Rows can be filtered by verdict and by a part of the name. Hidden rows stay in the page."""
    page, document = many
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.source)

    def left_by(script):
        text = free.replace("</body>", f"<script>{script}</script></body>")
        shown = Page(in_browser(text, tmp_path / "page.html"))
        assert len(shown.rows) == len(page.rows)
        return [row for row in shown.rows if not row.hidden], shown.words

    word = Counter(image["verdict"] or "unreadable" for image in document["images"])
    labels = "[...document.querySelectorAll('.filter label')]"
    rows, words = left_by(f"{labels}.find((label) => label.textContent.includes('real')).click()")
    assert [row.keys[1] for row in rows] == [row.keys[1] for row in page.rows if row.keys[1] != "real"]
    assert f"{10 - word['real']} of 10 images" in words
    assert f"generated ({word['generated']})" in words
    search = "document.querySelector('.filter [type=search]')"
    rows, words = left_by(f"{search}.value = 'NO.png'; {search}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    assert [row.keys[1] for row in rows] == ["unreadable"]
    assert "1 of 10 images" in words


def test_links_lead_to_details_in_the_page(many):
    page, document = many
    readable = [image for image in document["images"] if not image["reason"]]
    links = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#image-")]
    assert len(links) == len(readable)
    assert all(page.all("div", id=link) for link in links)
    assert len(page.all("details")) == len(readable)


def test_one_image_is_shown_with_its_windows_and_their_pixels(spread_run, files, tmp_path):
    """The crops of a PNG in the page have exactly the pixels of the file. The crop with the most attention comes
    first."""
    path = next(source.path for source in files if source.path.suffix == ".png")
    files_there = ["--json", tmp_path / "o.json", "--heatmaps", tmp_path / "maps", "--dense"]
    page = written(spread_run, tmp_path / "o.html", path, *files_there)
    (image,) = json.loads((tmp_path / "o.json").read_text())["images"]
    source = np.asarray(Image.open(path).convert("RGB"))
    windows = sorted(image["windows"], key=lambda window: -window["attention"])
    crops = [a for a in page.all("img") if (a["alt"] or "").startswith("window ")]
    assert len(crops) == len(windows) == 4
    for crop, window in zip(crops, windows, strict=True):
        top, left = window["top"], window["left"]
        expected = source[top : top + window["height"], left : left + window["width"]]
        assert np.array_equal(pixels_in(crop["src"]), expected)
        assert f"{100 * window['attention']:.1f} %" in page.text
    drawn = {(int(a["x"]), int(a["y"])) for a in page.all("rect")}
    assert drawn == {(window["left"], window["top"]) for window in windows}
    (overlay,) = page.all("image", **{"class": "overlay"})
    assert pixels_in(overlay["href"]).shape[2] == 4
    for words in ("none", "an equal share", "twice and more", *CHANGES, "raw score", "as it is"):
        assert words in page.words
    assert not page.rows
    assert [kind for kind, _ in page.scripts] == ["application/json"]
    assert str(tmp_path / "o.json") in page.words
    assert str(tmp_path / "maps") in page.words
    assert not re.search(r"\.crops img \{[^}]*border", page.source), "a border takes rows from the picture"


def test_an_image_smaller_than_a_crop_is_not_said_to_be_shrunk(spread_run, tmp_path):
    Image.effect_noise((40, 30), 50).convert("RGB").save(tmp_path / "a.png")
    page = written(spread_run, tmp_path / "o.html", tmp_path / "a.png", "--no-stability")
    assert (
        "The model saw the whole image (40 × 30 pixels), enlarged, and 4 crops in full resolution. The image is no "
        "larger than a crop, so every crop shows the whole of it."
    ) in page.words


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_each_row_of_a_crop_twice(tmp_path):
    """Otherwise, the picture would show a trace of resampling that the image does not have."""
    run, path = make_run(tmp_path / "run"), tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)).save(path)
    page = written(run, tmp_path / "o.html", path, "--no-stability")
    shot = tmp_path / "shot.png"
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += ["--window-size=1200,2600", f"--screenshot={shot}", (tmp_path / "o.html").as_uri()]
    subprocess.run(command, capture_output=True, check=True)
    seen = np.asarray(Image.open(shot).convert("RGB"))
    crops = [pixels_in(a["src"]) for a in page.all("img") if (a["alt"] or "").startswith("window ")]
    assert len(crops) == 4
    for crop in crops:
        shown = crop.repeat(2, axis=0).repeat(2, axis=1)
        height, width = shown.shape[:2]
        places = zip(*np.nonzero((seen == shown[0, 0]).all(axis=2)), strict=True)
        assert any(np.array_equal(seen[top : top + height, left : left + width], shown) for top, left in places)


# Whole pages with upright images are tested above.
@pytest.mark.parametrize("orientation", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3, 4, 5, 7, 8))])
def test_pictures_are_upright(detector, files, orientation):
    """Pictures are turned as Pillow turns them for a viewer, and the windows cover the same pixels."""
    stored = Image.open(next(source.path for source in files if source.path.suffix == ".png")).convert("RGB")
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[274] = orientation
    stored.save(buffer, "PNG", exif=exif)
    source = BytesSource("x", buffer.getvalue())
    (verdict,) = detector.predict([source], QUICK)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue()))))
    loaded = source.load()
    dense = dense_windows(*loaded.pixels.shape[:2], 48)
    picture = picture_of(loaded, verdict, (dense, 2 * dense[:, 0] / dense[:, 0].max()), 1)
    assert (picture.height, picture.width) == upright.shape[:2]
    assert np.abs(pixels_in(picture.image).astype(int) - upright).mean() < 8
    assert picture.is_turned == (orientation != 1)
    for window in picture.windows:
        expected = upright[window.top : window.top + window.height, window.left : window.left + window.width]
        assert np.array_equal(pixels_in(window.crop), expected)
    overlay = pixels_in(picture.overlay)[..., 3]
    assert overlay.shape[0] * picture.width == pytest.approx(overlay.shape[1] * picture.height, rel=0.02)
    there = np.asarray(Image.fromarray(upright).resize(overlay.shape[::-1], Image.Resampling.BOX)).astype(float)
    # The image is coded: green is the stored row, and here attention rises with it.
    assert np.corrcoef(there[..., 1].ravel(), overlay.ravel())[0, 1] > 0.8


def test_a_calibrated_model_shows_probability_and_band(spread_run, files, tmp_path):
    path = files[2].path
    (there,) = Detector.from_pretrained(spread_run, device="cpu").predict(files[2:3], QUICK)
    calibration = calibrated(spread_run, tmp_path / "model", there.margin, overlap=2).trained.calibration
    assert calibration.real_below < calibration.threshold
    page = written(tmp_path / "model", tmp_path / "o.html", path, "--json", tmp_path / "o.json")
    (image,) = json.loads((tmp_path / "o.json").read_text())["images"]
    assert image["verdict"] == "uncertain"
    assert f"The calibrated probability that it was generated is {figure(image['probability'])}" in page.words
    assert f"generated from {figure(calibration.threshold)} on" in page.words
    assert f"real below {figure(calibration.real_below)}, uncertain from here" in page.words
    assert "99 real images and 99 generated" in page.words
    (zones,) = page.all("div", **{"class": "zones"})
    assert f"--from: {100 * calibration.threshold}%" in zones["style"]
    assert f"--doubt-at: {100 * calibration.real_below}%" in zones["style"]


def test_a_page_speaks_of_windows_only_where_there_are_some(tmp_path, files):
    run = make_run(tmp_path / "run", "single_view_tiny")
    paths = [source.path for source in files[:2]]
    page = written(run, tmp_path / "o.html", *paths, "--no-stability")
    assert "Each image with a larger picture." in page.words
    assert len(page.all("svg")) == 2
    assert not page.all("input")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"")
    unread = written(run, tmp_path / "n.html", tmp_path / "a.png", tmp_path / "b.png", code=3)
    for words in (page.words, unread.words):
        assert "windows and crops" not in words
        assert "Where the model looked" not in words


def test_the_highest_scores_are_shown_in_detail(spread_run, files, tmp_path, monkeypatch):
    """There are more images than the page has room for, and the page says so."""
    monkeypatch.setattr(pictures, "MOST_DETAILED", 2)
    monkeypatch.setattr(page_module, "MOST_ROWS", 5)
    monkeypatch.setattr(page_module, "MOST_THUMBNAILS", 6)
    paths = [source.path for source in files[:7]]
    page = written(spread_run, tmp_path / "o.html", *paths, "--json", tmp_path / "o.json", "--no-stability")
    scores = {image["path"]: image["score"] for image in json.loads((tmp_path / "o.json").read_text())["images"]}
    ranked = sorted(scores, key=lambda path: -scores[path])
    assert {row.keys[3] for row in page.rows} == set(ranked[:5])
    assert "This page shows 5 of 7 images, those with the highest scores" in page.words
    assert len(page.all("details")) == 2
    assert {row.keys[3] for row in page.rows if row.cells[3] and _linked(page, row)} == set(ranked[:2])
    assert "The 2 images with the highest scores, each with its windows and crops" in page.words
    assert "It has no thumbnails, because there are more than 6 images" in page.words
    assert "not tested" in page.words


def _linked(page, row):
    return re.search(rf'<a href="#image-\d+">{re.escape(html.escape(row.cells[3].strip()))}</a>', page.source)


def test_the_member_of_a_tar_is_named_whole(detector):
    """The name of the member contains its original path, whose folders are not folders in the tar."""
    page = VerdictPage(replace(facts_of(detector), head=HEAD), 1)
    page.add(ImageVerdict("a/b.tar/000 (real/x.jpg)", reason="gone"), BytesSource("x", b""))
    assert '<h1 class="name">000 (real/x.jpg)</h1>' in page.html()


@pytest.mark.slow  # size alone
def test_a_page_of_a_thousand_images_stays_small(detector, monkeypatch):
    """Noise cannot be compressed, so this tests the upper bound for the bytes of each image. One image, drawn once, is
    used for all."""
    drawn = cache(lambda num_images: picture_of(loaded, verdict, None, num_images))
    monkeypatch.setattr(page_module, "picture_of", lambda loaded, verdict, dense, num_images: drawn(num_images))
    rng, page = np.random.default_rng(0), VerdictPage(replace(facts_of(detector), head=HEAD), 1000)
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    loaded = LoadedImage(noise, 0)

    class Noise:
        name = "noise"

        def load(self):
            return loaded

    (source,) = page.watched([Noise()])
    assert isinstance(source, WatchedSource)
    windows = np.array([[0, 0, 224, 224], [50, 100, 224, 224], [10, 20, 224, 224], [70, 170, 224, 224]], np.int32)
    source.load()
    thumbnail = source.thumbnail
    for number, margin in enumerate(rng.normal(size=1000).tolist()):
        source.thumbnail = thumbnail
        verdict = ImageVerdict(
            f"a/folder/of/some/length/{number:06d}.jpg",
            score=0.5,
            margin=margin,
            probability=0.5,
            verdict="uncertain",
            height=300,
            width=400,
            windows=windows,
            attention=np.full(4, 0.25, np.float32),
        )
        page.add(verdict, source, loaded if page.wants_picture(verdict) else None)
    assert len(page.html()) < 15_000_000
