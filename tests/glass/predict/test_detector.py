"""Properties that a detector must always have: a file gets the same score as in an evaluation, whatever other files
come with it."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from glass.export.model_folder import save_model
from glass.export.pixel_rules import DecoderWarning, warn_of_other_pixels
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.memory.out_of_memory import DoesNotFit
from glass.model.model import build_model
from glass.predict.detector import Detector, PredictOptions
from glass.predict.harmless_changes import CHANGES
from glass.predict.image_sources import BytesSource
from glass.predict.preparation import every_cell
from glass.predict.source_paths import row_sources
from glass.presets import load_preset
from loaders.decode.pixel_batch import DecodedImage, image_views
from loaders.windows.grid import grid_shape
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.runs.spread_runs import QUICK, calibrated, make_run, same


@pytest.fixture(scope="module")
def of_shards(detector, synthetic_dataset):
    """The verdicts on all images of ``synthetic_dataset``, in its order."""
    return detector.predict(row_sources(synthetic_dataset, range(len(synthetic_dataset))), QUICK)


def test_scores_are_those_of_evaluate(spread_run, detector, verdicts, synthetic_dataset):
    """The shards that are evaluated contain the bytes of these files. Scores, windows and attention are compared by
    content id."""
    by_content = {verdict.content_id: verdict for verdict in verdicts}
    options = EvaluationOptions(device="cpu", draws=5)
    table = evaluate_run(spread_run, synthetic_dataset, "test", options)[1].to_pylist()
    assert np.ptp([row["probability"] for row in table]) > 0.01
    for row in table:
        verdict = by_content[row["content_id"]]
        assert verdict.score == pytest.approx(row["probability"], abs=1e-5)
        assert verdict.windows.tolist() == row["crop_windows"]
        assert verdict.attention == pytest.approx(row["attention_weights"], abs=1e-5)


@pytest.mark.slow  # batches and threads are varied in test_evaluation, the order in the test below
@pytest.mark.parametrize(("batch_size", "threads"), [(5, 2), (1, 1), (1, 2), (5, 1), (32, 1), (32, 2)])
def test_neither_batch_nor_threads_nor_order_count(detector, files, verdicts, threads, batch_size):
    """The batch size, the order of files, and the number of threads of decoders and matrix products have no effect on
    verdicts."""
    assert len(files) >= 24
    few, their_verdicts = files[::2], verdicts[::2]
    order = np.random.default_rng(10 * threads + batch_size).permutation(len(few))
    options = replace(QUICK, num_threads=threads, batch_size=batch_size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shuffled = list(detector.predict_iter([few[k] for k in order], options))
    finally:
        torch.set_num_threads(before)
    for number, seen in zip(order, shuffled, strict=True):
        same(their_verdicts[number], seen)
        assert their_verdicts[number].path == seen.path


def test_neither_order_nor_company_nor_name_counts(detector, files, verdicts):
    """If shapes are fixed, scores are equal up to 1e-6, even for an image alone in a batch."""
    few, their_verdicts = files[::4], verdicts[::4]
    back = list(detector.predict_iter(few[::-1], QUICK))[::-1]
    renamed = [BytesSource("x", source.path.read_bytes()) for source in files[:3]]
    for source, one, other in zip(few, their_verdicts, back, strict=True):
        same(one, other, 1e-6)
        assert source.name == other.path
    for one, other in zip(verdicts, detector.predict_iter(renamed, QUICK), strict=False):
        same(one, other, 1e-6)


def test_shards_through_the_loader_and_decoded_whole(detector, synthetic_dataset, of_shards):
    sources = row_sources(synthetic_dataset, range(len(synthetic_dataset)))
    whole = list(detector.predict_iter(sources[::6], PredictOptions(stability=True)))
    assert [v.path for v in of_shards] == [s.name for s in sources]
    for one, other in zip(of_shards[::6], whole, strict=True):
        same(one, other)
        assert one.unstable is None
        assert other.unstable is not None
        assert set(other.change_scores) == set(CHANGES)


def test_what_cannot_be_read_costs_no_other(detector, files, verdicts, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(files[0].path.read_bytes()[:300])
    mixed = [tmp_path / "bad.jpg", files[0].path, tmp_path / "none", b"rubbish", files[1].path]
    seen = detector.predict(mixed, QUICK)
    reasons = [verdict.reason and verdict.reason.split(":")[0] for verdict in seen]
    assert reasons == ["truncated", None, "unreadable", "not_an_image", None]
    assert seen[0].score is seen[0].verdict is seen[0].unstable is None
    same(seen[1], verdicts[0])
    same(seen[4], verdicts[1])
    assert detector.predict([]) == []


def test_a_shard_that_is_gone_costs_no_other(detector, files, synthetic_dataset, of_shards, tmp_path, caplog):
    """Images of the missing shard have no verdict, and each gives the reason. A failure of the model is not blamed on a
    shard."""
    shutil.copytree(synthetic_dataset.root, tmp_path / "data")
    dataset = ShardDataset.open(tmp_path / "data")
    shard = dataset.column("shard").tolist()
    dataset.shard_path(shard[0]).unlink()
    sources = row_sources(dataset, range(len(dataset)))
    seen = list(detector.predict_iter([*sources, files[0]], QUICK))
    assert len(seen) == len(sources) + 1
    assert "reading the shards image by image, without the loader: cannot read shard" in caplog.text
    for source, name, one, other in zip(sources, shard, seen, of_shards, strict=False):
        assert one.path == source.name
        if name == shard[0]:
            assert one.reason.startswith("unreadable: ")
        else:
            same(one, other)


def test_too_little_memory_is_blamed_on_no_shard(detector, synthetic_dataset, monkeypatch):
    def full(*_, **__):
        raise DoesNotFit("no room")

    monkeypatch.setattr("glass.measure.trained_model.score", full)
    with pytest.raises(DoesNotFit):
        detector.predict(row_sources(synthetic_dataset, [0]), QUICK)


def test_pixels_and_pillow_images(detector, coded_image):
    pixels = coded_image(5, 300, 200)
    one, other = detector.predict([pixels, Image.fromarray(pixels)])
    same(one, other)
    assert (one.width, one.height) == (300, 200)


def test_one_image_is_no_list_of_images(detector, files, coded_image):
    """If an image were accepted as a list, a path would be split into letters and a picture into rows."""
    pixels, path = coded_image(5, 30, 20), files[0].path
    ones = [path, str(path), path.read_bytes(), bytearray(b"x"), pixels, Image.fromarray(pixels)]
    for image in [*ones, files[0]]:
        with pytest.raises(TypeError, match="give a list of images"):
            detector.predict(image)
    stacked = detector.predict(np.stack([pixels, pixels]), QUICK)
    same(*stacked)


def test_images_smaller_than_a_crop(detector, coded_image):
    for size in ((1, 1), (7, 300), (47, 47)):
        (verdict,) = detector.predict([coded_image(1, *size)])
        assert verdict.verdict in ("real", "generated")
        assert verdict.unstable is not None


def test_draws_and_coverage(detector, files):
    once, thrice = (detector.predict(files[:2], QUICK, draws=k) for k in (1, 3))
    for one, many in zip(once, thrice, strict=True):
        assert len(many.draw_scores) == 3
        assert many.draw_scores[0] == pytest.approx(one.score, abs=1e-5)
        assert min(many.draw_scores) <= many.score <= max(many.draw_scores)
    covered = detector.predict(files[:4], QUICK, coverage="all")
    for verdict in covered:
        rows, columns = grid_shape(np.array([verdict.height]), np.array([verdict.width]), 48)
        assert len(verdict.windows) == int(rows[0] * columns[0]) == len(verdict.attention)
    alone = detector.predict(files[3:4], QUICK, coverage="all")[0]
    assert alone.score == covered[3].score


def test_coverage_all_reaches_the_whole_of_a_long_image(detector, coded_image):
    """A square grid of cells would have a single cell here, as long and narrow as the image."""
    strip = coded_image(1, 50, 500)
    (verdict,) = detector.predict([strip], QUICK, coverage="all")
    assert len(verdict.windows) == 8
    rows = image_views(DecodedImage(strip), 1, every_cell(detector.trained.config.loader, 500, 50), range(200))
    for number, tops in enumerate(np.transpose([row.windows[:, 0] for row in rows])):
        start, stop = number * 500 // 8, (number + 1) * 500 // 8
        assert (tops.min(), tops.max()) == (start, stop - 48)


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd")])
def test_what_nobody_expected_costs_no_other(detector, files, error):
    class Odd:
        name = "odd"

        def load(self):
            raise error

    odd, other = detector.predict([Odd(), files[0]], QUICK)
    assert str(error) in odd.reason
    assert other.reason is None


def test_calibration_speaks_for_its_views_only(spread_run, tmp_path, files, verdicts):
    middle = float(np.median([verdict.margin for verdict in verdicts]))
    detector = calibrated(spread_run, tmp_path / "m", middle)
    found = detector.predict(files[::3], QUICK)
    assert {verdict.verdict for verdict in found} == {"real", "generated"}
    for verdict, raw in zip(found, verdicts[::3], strict=True):
        expected = "generated" if raw.margin > middle else "real"
        assert verdict.verdict == expected
        assert (verdict.probability >= detector.trained.calibration.threshold) == (expected == "generated")
        assert verdict.score == pytest.approx(raw.score, abs=1e-6)
    for other in ({"num_crops": 2}, {"draws": 2}, {"coverage": "all"}, {"sampling": "uniform"}):
        (verdict,) = detector.predict(files[:1], QUICK, **other)
        assert verdict.probability is None
        assert verdict.verdict == ("generated" if verdict.score >= 0.5 else "real")


def test_coverage_all_depends_on_no_setting_of_training(tmp_path, spread_run, detector, files):
    """A calibration for ``--coverage all`` holds whatever number of crops and sampling rule the model was trained with.
    One that was made for the earlier square grid does not."""
    everything = PredictOptions(stability=False, coverage="all")
    views = detector.views(everything)
    other = make_run(tmp_path / "other", num_crops=7, sampling="uniform")
    assert Detector.from_pretrained(other, device="cpu").views(everything) == views
    for name, made_for in (("new", views), ("old", replace(views, sampling="stratified_grid"))):
        own = calibrated(spread_run, tmp_path / name, 0.0, made_for)
        assert (own.predict(files[:1], everything)[0].probability is None) == (name == "old")
    assert str(views) == "a crop from every cell"
    assert str(made_for) != str(views)


def test_a_model_without_crops(tmp_path, files):
    detector = Detector.from_pretrained(make_run(tmp_path, "single_view_tiny"), device="cpu")
    (verdict,) = detector.predict(files[:1])
    assert verdict.attention is None
    assert len(verdict.windows) == 0
    for options in ({"num_crops": 2}, {"draws": 2}, {"coverage": "all"}):
        with pytest.raises(InputError, match="sees no crops"):
            detector.predict(files[:1], **options)


@pytest.mark.parametrize(
    "options",
    [
        {"num_crops": 0},
        {"draws": 0},
        {"coverage": "some"},
        {"sampling": "x"},
        {"batch_size": -1},
        {"num_threads": 1025},
        {"coverage": "all", "num_crops": 2},
        {"coverage": "all", "sampling": "all"},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(InputError, match=f"^{next(iter(options))}="):
        PredictOptions(**options)


def test_other_decoders_warn(tmp_path):
    """Other versions, other pixels and other rules each give a warning of their own. A model without a record gives
    none."""
    (make_run(tmp_path, "single_view_tiny") / "model").rename(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    card = json.loads(path.read_text())
    record = card["pixels"]
    assert record["probe"]["pillow"] == record["probe"]["simplejpeg"]
    cases = [
        ({"decoders": record["decoders"] | {"pillow": "9.9"}}, "decode a test file to the same pixels"),
        ({"probe": {}}, "decode to other pixels"),
        ({"decoders": record["decoders"] | {"crops": "nvJPEG of torchvision 0.26"}}, "decode to other pixels"),
        ({"decoders": record["decoders"] | {"simplejpeg": None}}, "decode a test file to the same pixels"),
        ({"rules_version": 9}, "other rules for pixels"),
    ]
    for change, words in cases:
        with pytest.warns(DecoderWarning, match=words):
            warn_of_other_pixels(record | change, "a model", load_preset("single_view_tiny").loader)
    path.write_text(json.dumps(card | {"pixels": record | {"rules_version": 9}}))
    with pytest.warns(DecoderWarning, match="other rules for pixels"):
        Detector.from_pretrained(tmp_path / "m", device="cpu")
    path.write_text(json.dumps({k: v for k, v in card.items() if k != "pixels"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Detector.from_pretrained(tmp_path / "m", device="cpu")


def test_scores_that_are_no_numbers_are_reported(tmp_path, files, synthetic_dataset):
    """A score that is not finite is reported for files, and for shards, whose images come through the loader."""
    config = load_preset("glass_tiny")
    config = replace(config, loader=replace(config.loader, crop_size=48))
    model = build_model(config)
    with torch.no_grad():
        model.head[-1].bias.fill_(float("nan"))
    save_model(tmp_path / "model", model, config)
    broken = Detector.from_pretrained(tmp_path, device="cpu")
    for sources in (files[:1], row_sources(synthetic_dataset, [0])):
        with pytest.raises(InputError, match="not finite"):
            broken.predict(sources, QUICK)
