"""``python -m bench decode --formats``: each format is written, read by all methods that can read it, and measured."""

import importlib
import json
import re

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import main
from bench.corpora.corpus import build_corpus
from bench.corpora.encoded import FORMATS, shrink_photographs, why_not, write_photographs
from bench.corpora.synthetic import draw_photograph
from bench.formats.methods import LABELS, METHODS, methods_of
from bench.formats.run import BUILT, KEPT
from bench.harness.pinning import choose_cores
from bench.harness.schemas import check_result
from bench.harness.task import Method, NotAvailable, Task
from shards.errors import InputError
from shards.images.formats import sniff_format
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset

pytestmark = pytest.mark.usefixtures("quick_look")

CROPS = 2


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder with three JPEGs of 0.12 megapixels."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(3):
        pixels = draw_photograph(400, 300, np.random.default_rng(number))
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def corpora(photographs, tmp_path_factory):
    """Returns a function: format → (paths of two photographs in it, their corpus as kept, their corpus as a build
    converts it). Each is built once."""
    folder = tmp_path_factory.mktemp("corpora")
    shrunk = shrink_photographs(sorted(photographs.iterdir())[:2], 0.1, folder / "shrunk")
    found = {}

    def of(name: str):
        if name not in found:
            paths = write_photographs(shrunk, name, folder / name)
            pair = [build_corpus(folder / f"{name}-{i}", paths, [], s) for i, s in enumerate((KEPT, BUILT))]
            found[name] = (paths, *pair)
        return found[name]

    return of


def usable(name: str) -> str:
    """Returns the name of the format. Skips the test, with the reason that the bench prints, if the format cannot be
    used here."""
    if why := why_not(name):
        pytest.skip(why)
    return name


def built(format_name: str, method: str, corpus) -> Method:
    """The method for a corpus, created as the measured process creates it."""
    info = dict(methods_of(format_name))[method]
    options = info.options or {"format": format_name}
    task = Task(method, info.where, str(corpus.root), CROPS, 1, choose_cores(1), 0.01, options)
    module, kind = info.where.split(":")
    return getattr(importlib.import_module(module), kind)(task)


# One of each way to be stored; the others differ in Pillow's encoder.
SOME_FORMATS = [
    name if name in ("jpeg", "progressive", "png") else pytest.param(name, marks=pytest.mark.slow) for name in FORMATS
]


@pytest.mark.parametrize("name", SOME_FORMATS)
def test_a_format_is_kept_to_the_byte_and_stored_with_the_same_pixels(corpora, name):
    paths, kept, stored = corpora(usable(name))
    sources = {path.read_bytes() for path in paths}
    assert {kept.path(k).read_bytes() for k in range(len(kept))} == sources
    assert {sniff_format(data) for data in sources} == {FORMATS[name].kind}
    for k in range(2):
        assert kept.images[k].content_id == stored.images[k].content_id
        assert kept.images[k].width * kept.images[k].height == pytest.approx(1e5, rel=0.02)
        stored_kind = sniff_format(stored.path(k).read_bytes())
        assert stored_kind == ("TIFF" if FORMATS[name].stored_as == "tiles" else "JPEG")
    has_entry_points = bool((ShardDataset.open(stored.shards).column("mcu_length") > 0).all())
    assert has_entry_points == (FORMATS[name].kind == "JPEG")
    assert bool((ShardDataset.open(kept.shards).column("mcu_length") > 0).all()) == (name == "jpeg")


@pytest.mark.parametrize("name", SOME_FORMATS)
@pytest.mark.parametrize("method", ["pillow", "opencv", pytest.param("torchvision", marks=pytest.mark.slow)])
def test_a_library_cuts_the_loader_s_windows_or_is_left_out(corpora, name, method):
    _, kept, _ = corpora(usable(name))
    try:
        one = built(name, method, kept)
    except ImportError as error:
        pytest.skip(str(error))
    except NotAvailable as error:
        left_out = {"opencv": ["jxl", "heic", "avif", "jp2"], "torchvision": ["jxl", "heic", "avif", "jp2"]}
        if name not in left_out.get(method, []):
            raise
        pytest.skip(str(error))
    view, crops = one.one(1, 0, 0)
    one.close()
    if method == "torchvision":
        view, crops = view.permute(1, 2, 0).numpy(), crops.permute(0, 2, 3, 1).numpy()
    assert view.shape == (224, 224, 3)
    pixels = decode_rgb(kept.path(0).read_bytes()).astype(int)
    for crop, (top, left, height, width) in zip(crops, kept.windows(CROPS)[1, 0], strict=True):
        wanted = pixels[top : top + height, left : left + width]
        assert np.abs(crop[:height, :width] - wanted).mean() < 1  # decoders differ by a grey level
        assert not crop[height:].any()
        assert not crop[:, width:].any()


def test_a_format_that_cannot_be_written_is_named_with_the_extra(monkeypatch):
    monkeypatch.delitem(Image.SAVE, "HEIF", raising=False)
    monkeypatch.setattr("bench.corpora.encoded.register_plugins", lambda: None)
    assert why_not("heic") == "Pillow cannot write HEIC here: pip install -e '.[heic]'"
    assert why_not("png") is None


def test_every_method_has_words():
    assert list(LABELS) == list(METHODS)


def measured(photographs, output, capsys, *words: str) -> tuple[str, dict]:
    """Runs the bench and returns its printed table and its document."""
    words = ("decode", "--photos", str(photographs), "--megapixels", "0.1", "--min-megapixels", "0.1", *words)
    words += ("--crops", "2", "--rounds", "1", "--seconds-per-round", "0.02", "--output", str(output))
    assert main([*words]) == 0
    table, _, document_text = capsys.readouterr().out.rstrip().rpartition("\n")
    document = json.loads(document_text)
    check_result("decode", document)
    assert document["failed"] == document["skipped"] == {}
    return table, document


@pytest.mark.slow  # processes; what they run is tested above, one by one
def test_a_format_is_measured_into_a_document(photographs, tmp_path, capsys):
    """The time limit allows fewer than three photographs, so the bench measures two, its minimum."""
    words = ("--formats", "progressive", "--methods", "tiles,decode_only", "--seconds-per-cell", "0.001")
    table, document = measured(photographs, tmp_path, capsys, *words)
    (row,) = document["rows"]
    assert (row["images"], row["megapixels"], row["method"]) == ("progressive", 0.1, "decode_only")
    assert document["ratios"] == {}
    assert [one["number"] for one in document["image_sets"]] == [2]
    assert re.search(r"progressive JPEG +0.1 +2 ", table)
    assert "<!-- progressive JPEG -->" in (tmp_path / "decode-formats.svg").read_text()


@pytest.mark.slow
def test_formats_are_measured_into_one_document(photographs, tmp_path, capsys):
    words = ("--formats", "webp,progressive", "--methods", "tiles,decode_only")
    table, document = measured(photographs, tmp_path, capsys, *words)
    cells = [(row["images"], row["megapixels"], row["method"]) for row in document["rows"]]
    assert cells == [("webp", 0.1, "tiles"), ("webp", 0.1, "decode_only"), ("progressive", 0.1, "decode_only")]
    assert list(document["ratios"]) == ["tiles_over_decode_only@webp@0.1mp"]
    assert {one["number"] for one in document["image_sets"]} == {3}
    drawn = (tmp_path / "decode-formats.svg").read_text()
    for words_of_both in ("this loader, tiles", "WebP, lossy", "progressive JPEG"):
        assert words_of_both.split(", ")[0] in table
        assert f"<!-- {words_of_both} -->" in drawn
    assert (tmp_path / "decode-formats.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--formats measures photographs: give --photos DIR"),
        (["--photos", "{photos}"], r"contains no JPEG that can be measured \(3 below 8 megapixels\)"),
        (["--photos", "{photos}", "--peers"], "--peers read JPEGs only"),
        (["--photos", "{photos}", "--crops", "1,4"], "takes one number for --crops and one for --threads"),
        (["--photos", "{photos}", "--megapixels", "0.001"], r"--megapixels 0.001: must be from 0.01 to 200"),
        (["--photos", "{photos}", "--methods", "window"], "--methods: 'window' is unknown: choose from kept, tiles"),
        (["--photos", "{photos}", "--images", "1"], "--images 1: must be at least 2"),
        (
            ["--photos", "{photos}", "--seconds-per-cell", "0"],
            "--seconds-per-cell 0: must be above 0 and at most 86400",
        ),
    ],
)
def test_mistakes_get_one_sentence(photographs, more, message):
    with pytest.raises(InputError, match=message):
        main(["decode", "--formats", *(word.format(photos=photographs) for word in more)])


def test_an_unknown_format_is_named():
    with pytest.raises(InputError, match="--formats: 'bmp' is unknown: choose from jpeg, progressive, png"):
        main(["decode", "--formats", "bmp", "--photos", "."])
