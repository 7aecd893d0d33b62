"""A detector's laws: the score of a file is the one evaluation gives it, whatever comes with it."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from glass.export.model_folder import load_model, save_model
from glass.export.pixel_rules import DecoderWarning
from glass.measure.calibration import ViewSettings, write_calibration
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.measure.fit_calibration import fit_calibration
from glass.memory.out_of_memory import DoesNotFit
from glass.model.model import build_model
from glass.predict.detector import Detector, PredictOptions
from glass.predict.harmless_changes import CHANGES, ChangedImage, harmless_changes
from glass.predict.heatmaps import dense_attention, dense_windows, draw_dense, draw_windows
from glass.predict.image_sources import BytesSource
from glass.predict.preparation import every_cell
from glass.predict.source_paths import find_images, row_sources
from glass.presets import load_preset
from glass.share.demo_page import answer, describe, look
from loaders.decode.pixel_batch import DecodedImage, image_views
from loaders.windows.grid import grid_shape
from shards.errors import InputError
from shards.images.pixels import decode_rgb, global_view
from shards.manifest.dataset import ShardDataset

QUICK = PredictOptions(stability=False)


def make_run(folder, preset="glass_tiny", **loader):
    """A run with an untrained model."""
    torch.manual_seed(0)
    config = load_preset(preset)
    config = replace(config, loader=replace(config.loader, crop_size=48, **loader))
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    return folder


def spread_scores(run, files):
    """Moves the head of a run's model so that the margins of ``files`` have mean 0 and deviation
    2: an untrained model says nearly the same of all."""
    model, config = load_model(run / "model", "cpu")
    verdicts = Detector.from_pretrained(run, device="cpu").predict(files, QUICK)
    margin = np.array([verdict.margin for verdict in verdicts])
    scale, last = 2.0 / margin.std(), model.head[-1]
    with torch.no_grad():
        last.weight *= scale
        last.bias.copy_(torch.tensor([margin.mean() * scale, last.bias.diff().item() * scale]))
    save_model(run / "model", model, config)


@pytest.fixture(scope="module")
def run(tmp_path_factory, files):
    folder = make_run(tmp_path_factory.mktemp("run"))
    spread_scores(folder, files)
    return folder


@pytest.fixture(scope="module")
def detector(run):
    return Detector.from_pretrained(run, device="cpu")


@pytest.fixture(scope="module")
def files(synthetic_images):
    return find_images([str(synthetic_images)]).sources


@pytest.fixture(scope="module")
def verdicts(detector, files):
    return list(detector.predict_iter(files, QUICK))


def same(first, second, tolerance=1e-5):
    assert np.array_equal(first.windows, second.windows)
    assert first.content_id == second.content_id
    assert first.verdict == second.verdict
    assert first.score == pytest.approx(second.score, abs=tolerance)


def test_scores_are_those_of_evaluate(run, detector, verdicts, synthetic_dataset):
    """Of the very shards that hold the files' bytes: scores, windows, attention, by content."""
    by_content = {verdict.content_id: verdict for verdict in verdicts}
    options = EvaluationOptions(device="cpu", draws=5)
    table = evaluate_run(run, synthetic_dataset, "train+test", options)[1].to_pylist()
    assert np.ptp([row["probability"] for row in table]) > 0.01
    for row in table:
        verdict = by_content[row["content_id"]]
        assert verdict.score == pytest.approx(row["probability"], abs=1e-5)
        assert verdict.windows.tolist() == row["crop_windows"]
        assert verdict.attention == pytest.approx(row["attention_weights"], abs=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "threads"),
    [(1, 1), (5, 2), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((1, 2), (5, 1), (32, 1), (32, 2)))],
)
def test_neither_batch_nor_threads_nor_order_count(detector, files, verdicts, threads, batch_size):
    """Threads of the decoders and of the matrix products."""
    order = np.random.default_rng(10 * threads + batch_size).permutation(len(files))
    options = replace(QUICK, num_threads=threads, batch_size=batch_size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shuffled = list(detector.predict_iter([files[k] for k in order], options))
    finally:
        torch.set_num_threads(before)
    assert len(files) >= 24
    for number, seen in zip(order, shuffled, strict=True):
        same(verdicts[number], seen)
        assert verdicts[number].path == seen.path


def test_neither_order_nor_company_nor_name_counts(detector, files, verdicts):
    """Where shapes are fixed, scores are equal to the bit, also alone in a batch."""
    back = list(detector.predict_iter(files[::-1], QUICK))[::-1]
    renamed = [BytesSource("x", source.path.read_bytes()) for source in files[:3]]
    for source, one, other in zip(files, verdicts, back, strict=True):
        same(one, other, 1e-6)
        assert source.name == other.path
    for one, other in zip(verdicts, detector.predict_iter(renamed, QUICK), strict=False):
        same(one, other, 1e-6)


def test_shards_through_the_loader_and_decoded_whole(detector, synthetic_dataset):
    sources = row_sources(synthetic_dataset, range(len(synthetic_dataset)))
    by_windows = list(detector.predict_iter(sources, QUICK))
    whole = list(detector.predict_iter(sources, PredictOptions(stability=True)))
    assert [v.path for v in by_windows] == [s.name for s in sources]
    for one, other in zip(by_windows, whole, strict=True):
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


def test_a_shard_that_is_gone_costs_no_other(detector, files, synthetic_dataset, tmp_path, caplog):
    """Its images have no verdicts, and each says why; a model's own failure is no shard's."""
    shutil.copytree(synthetic_dataset.root, tmp_path / "data")
    dataset = ShardDataset.open(tmp_path / "data")
    shard = dataset.column("shard").tolist()
    dataset.shard_path(shard[0]).unlink()
    sources = row_sources(dataset, range(len(dataset)))
    whole = detector.predict(row_sources(synthetic_dataset, range(len(dataset))), QUICK)
    seen = list(detector.predict_iter([*sources, files[0]], QUICK))
    assert len(seen) == len(sources) + 1
    assert "shards are read image by image: cannot read shard" in caplog.text
    for source, name, one, other in zip(sources, shard, seen, whole, strict=False):
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
    """A path would be taken apart into letters, a picture into rows."""
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
    once, thrice = (detector.predict(files[:4], QUICK, draws=k) for k in (1, 3))
    for one, many in zip(once, thrice, strict=True):
        assert len(many.draw_scores) == 3
        assert many.draw_scores[0] == pytest.approx(one.score, abs=1e-5)
        assert min(many.draw_scores) <= many.score <= max(many.draw_scores)
    covered = detector.predict(files[:6], QUICK, coverage="all")
    for verdict in covered:
        rows, columns = grid_shape(np.array([verdict.height]), np.array([verdict.width]), 48)
        assert len(verdict.windows) == int(rows[0] * columns[0]) == len(verdict.attention)
    alone = detector.predict(files[3:4], QUICK, coverage="all")[0]
    assert alone.score == covered[3].score


def test_coverage_all_reaches_the_whole_of_a_long_image(detector, coded_image):
    """A grid square in numbers would have one cell, as oblong as the image."""
    strip = coded_image(1, 50, 500)
    (verdict,) = detector.predict([strip], QUICK, coverage="all")
    assert len(verdict.windows) == 8
    rows = image_views(DecodedImage(strip), 1, every_cell(detector.trained.config.loader, 500, 50), range(200))
    for number, tops in enumerate(np.transpose([row.windows[:, 0] for row in rows])):
        start, stop = number * 500 // 8, (number + 1) * 500 // 8
        assert (tops.min(), tops.max()) == (start, stop - 48)


def test_harmless_changes_are_what_they_say(coded_image):
    pixels = coded_image(3, 200, 100)
    changes = harmless_changes(pixels, global_view(pixels, 64))
    assert tuple(changes) == CHANGES
    saved, smaller, shifted = (change.image.pixels for change in changes.values())
    assert saved.shape == pixels.shape
    assert 0 < np.abs(saved.astype(int) - pixels).mean() < 3
    assert np.array_equal(decode_rgb(changes[CHANGES[0]].encoded), saved)
    assert smaller.shape == (90, 180, 3)
    assert np.array_equal(shifted, pixels[5:, 3:])
    dot = pixels[:1, :1]
    assert [c.image.size for c in harmless_changes(dot, global_view(dot, 64)).values()] == [(1, 1)] * 3


@pytest.mark.parametrize(("height", "width"), [(257, 301), (256, 768), (700, 259)])
@pytest.mark.parametrize("kernels", [False, True])
def test_windows_of_a_large_image_are_those_of_the_whole_changed_one(height, width, kernels, monkeypatch):
    """Re-saved and resized; so many windows that in the end all of it is changed. Only its view stays its own."""
    monkeypatch.setattr("shards.images.resize._PILLOWS_SHARE", 0 if kernels else 10**9)
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    view, rng = global_view(pixels, 32), np.random.default_rng(5)
    whole = harmless_changes(pixels, global_view(pixels, 64), with_file=True)
    for name, change in harmless_changes(pixels, view).items():
        tall, wide = change.image.size
        assert (tall, wide) == whole[name].image.size
        for _ in range(12):
            windows = np.array([[0, 0, 40, 40], [tall - 40, wide - 40, 40, 40], [0, 0, 0, 0]], np.int32)
            windows = np.append(windows, [[*rng.integers(0, (tall - 60, wide - 60)), 60, 60]], axis=0).astype(np.int32)
            np.testing.assert_array_equal(change.image.crops(windows, 60), whole[name].image.crops(windows, 60))
        own = name != "grid shifted"
        assert np.array_equal(change.image.view(32), view) == own
        assert np.abs(change.image.view(32).astype(int) - whole[name].image.view(32)).max() <= 3


@pytest.mark.parametrize("width", range(256, 272))
def test_the_smallest_windows_at_the_right_border_are_those_of_the_whole_jpeg(width):
    """Alone, less than five columns would have their chroma repeated."""
    pixels = np.random.default_rng(width).integers(0, 256, (256, width, 3), dtype=np.uint8)
    windows = np.array([[7, width - side, side, side] for side in range(1, 6)], np.int32)
    changes = (
        harmless_changes(pixels, global_view(pixels, 32), with_file=whole)[CHANGES[0]] for whole in (False, True)
    )
    np.testing.assert_array_equal(*(change.image.crops(windows, 5) for change in changes))


def test_an_image_too_long_for_a_jpeg_is_changed_otherwise(detector, files, encode_image):
    """libjpeg refuses sides above 65,500; the image has a verdict, and so has the next one."""
    long = encode_image(np.zeros((20, 65_501, 3), np.uint8), "PNG")
    verdict, other = detector.predict([long, files[0]])
    assert verdict.reason is None
    assert verdict.unstable is not None
    assert tuple(verdict.change_scores) == CHANGES[1:]
    assert tuple(other.change_scores) == CHANGES


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd")])
def test_what_nobody_expected_costs_no_other(detector, files, error):
    class Odd:
        name = "odd"

        def load(self):
            raise error

    odd, other = detector.predict([Odd(), files[0]], QUICK)
    assert str(error) in odd.reason
    assert other.reason is None


def calibrated(run, folder, middle, views=None):
    """The run's model with a calibration whose threshold lies at the margin ``middle``."""
    shutil.copytree(run / "model", folder)
    views = views or ViewSettings(4, "stratified_grid")
    sha = json.loads((folder / "config.json").read_text())["weights_sha256"]
    margin = middle + np.concatenate([np.linspace(-3, -1, 99), np.linspace(1, 3, 99)])
    write_calibration(folder, fit_calibration(margin, np.repeat([0, 1], 99), views, sha))
    return Detector.from_pretrained(folder, device="cpu")


def test_calibration_speaks_for_its_views_only(run, tmp_path, files, verdicts):
    middle = float(np.median([verdict.margin for verdict in verdicts]))
    detector = calibrated(run, tmp_path / "m", middle)
    for verdict, raw in zip(detector.predict(files, QUICK), verdicts, strict=True):
        expected = "generated" if raw.margin > middle else "real"
        assert verdict.verdict == expected
        assert (verdict.probability >= detector.trained.calibration.threshold) == (expected == "generated")
        assert verdict.score == pytest.approx(raw.score, abs=1e-6)
    for other in ({"num_crops": 2}, {"draws": 2}, {"coverage": "all"}, {"sampling": "uniform"}):
        (verdict,) = detector.predict(files[:1], QUICK, **other)
        assert verdict.probability is None
        assert verdict.verdict == ("generated" if verdict.score >= 0.5 else "real")


def test_coverage_all_depends_on_no_setting_of_training(tmp_path, run, files):
    """A calibration for it holds whatever number of crops and rule the model was trained with, and
    one made for the square grid of before does not."""
    everything = PredictOptions(stability=False, coverage="all")
    views = Detector.from_pretrained(run, device="cpu").views(everything)
    other = make_run(tmp_path / "other", num_crops=7, sampling="uniform")
    assert Detector.from_pretrained(other, device="cpu").views(everything) == views
    for name, made_for in (("new", views), ("old", replace(views, sampling="stratified_grid"))):
        detector = calibrated(run, tmp_path / name, 0.0, made_for)
        assert (detector.predict(files[:1], everything)[0].probability is None) == (name == "old")
    assert str(views) == "a crop from every cell"
    assert str(made_for) != str(views)


def test_unstable_is_a_flip_at_the_threshold(run, tmp_path, files, detector):
    (verdict,) = detector.predict(files[:1])
    after = dict(verdict.change_scores)
    logits = [np.log(s / (1 - s)) for s in after.values()]
    furthest = max(logits, key=lambda value: abs(value - verdict.margin))
    between = (furthest + verdict.margin) / 2
    (flipped,) = calibrated(run, tmp_path / "a", between).predict(files[:1])
    (steady,) = calibrated(run, tmp_path / "b", min([*logits, verdict.margin]) - 9).predict(files[:1])
    assert flipped.unstable is True
    assert steady.unstable is False


def test_unstable_is_any_other_verdict(run, tmp_path, files):
    """From real to doubt and back as well as from doubt to generated."""
    detector = calibrated(run, tmp_path / "m", 0.0)
    (verdict,) = detector.predict(files[:1])
    after = [np.log(s / (1 - s)) for s in verdict.change_scores.values()]
    furthest = max(after, key=lambda value: abs(value - verdict.margin))
    between = float(detector.trained.calibration.probability((furthest + verdict.margin) / 2))
    for limits in ({"threshold": 1.0, "real_below": between}, {"threshold": between}):
        banded = replace(detector.trained.calibration, **{"real_below": 0.0} | limits)
        detector.trained = replace(detector.trained, calibration=banded)
        (seen,) = detector.predict(files[:1])
        assert seen.unstable is True


@pytest.mark.parametrize("options", [{"draws": 3}, {"draws": 2, "coverage": "all"}])
def test_changes_are_asked_with_as_many_draws(detector, files, monkeypatch, options):
    """So a change that changes nothing moves no score."""
    monkeypatch.setattr(
        "glass.predict.preparation.harmless_changes",
        lambda pixels, view, with_file: {"nothing": ChangedImage(DecodedImage(pixels))},
    )
    for verdict in detector.predict(files[:5], **options):
        assert np.ptp(verdict.draw_scores) > 1e-4
        assert verdict.change_scores["nothing"] == pytest.approx(verdict.score, abs=1e-6)


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
    with pytest.raises(InputError):
        PredictOptions(**options)


def test_other_decoders_warn(run, tmp_path):
    """Other versions, other pixels, other rules each; a model without a record is silent."""
    shutil.copytree(run / "model", tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    card = json.loads(path.read_text())
    record = card["pixels"]
    assert record["probe"]["pillow"] == record["probe"]["simplejpeg"]
    cases = [
        ({"decoders": record["decoders"] | {"pillow": "9.9"}}, "decode a test file alike"),
        ({"probe": {}}, "decode differently"),
        ({"decoders": record["decoders"] | {"crops": "nvJPEG of torchvision 0.26"}}, "decode differently"),
        ({"decoders": record["decoders"] | {"simplejpeg": None}}, "decode a test file alike"),
        ({"rules_version": 9}, "other rules for pixels"),
    ]
    for change, words in cases:
        path.write_text(json.dumps(card | {"pixels": record | change}))
        with pytest.warns(DecoderWarning, match=words):
            Detector.from_pretrained(tmp_path / "m", device="cpu")
    path.write_text(json.dumps({k: v for k, v in card.items() if k != "pixels"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Detector.from_pretrained(tmp_path / "m", device="cpu")


def test_scores_that_are_no_numbers_are_told(tmp_path, files, synthetic_dataset):
    """Of files, and of shards, which come through the loader."""
    make_run(tmp_path)
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


class TestHeatmaps:
    def test_windows_are_tinted_where_they_lie(self, detector):
        pixels = np.full((200, 300, 3), 40, np.uint8)
        (verdict,) = detector.predict([pixels])
        drawn = np.asarray(draw_windows(pixels, verdict))
        assert drawn.shape == pixels.shape
        inside = np.zeros((200, 300), bool)
        for top, left, height, width in verdict.windows.tolist():
            inside[top : top + height, left : left + width] = True
        changed = (drawn != pixels).any(axis=2)
        assert np.array_equal(changed, inside)

    def test_the_tint_is_strong_where_attention_is(self, detector):
        """The more a window weighs the redder it is, within its borders of two pixels."""
        pixels = np.full((100, 300, 3), 128, np.uint8)
        (verdict,) = detector.predict([pixels], QUICK)
        windows = np.array([[0, 0, 48, 48], [0, 100, 48, 48], [50, 200, 48, 48]], np.int32)
        weights = np.array([0.01, 0.34, 0.65], np.float32)
        drawn = draw_windows(pixels, replace(verdict, windows=windows, attention=weights))
        colours = [
            np.asarray(drawn)[top + 2 : top + 46, left + 2 : left + 46].reshape(-1, 3) for top, left in windows[:, :2]
        ]
        assert all((colour == colour[0]).all() for colour in colours)
        redness = [int(colour[0, 0]) - int(colour[0, 1]) for colour in colours]
        assert redness[0] < redness[1] < redness[2]

    def test_the_dense_map_is_red_where_the_attention_lies(self, detector):
        pixels = np.full((96, 192, 3), 128, np.uint8)
        windows = dense_windows(96, 192, 48)
        centre = windows[:, 1] + windows[:, 3] / 2
        drawn = np.asarray(draw_dense(pixels, windows, np.where(centre > 96, 1.9, 0.1)))
        redness = drawn[..., 0].astype(int) - drawn[..., 1]
        assert redness[:, 130:].min() > redness[:, :60].max()

    def test_dense_windows_cover_every_pixel(self):
        for height, width in ((1, 1), (47, 300), (97, 145), (480, 480)):
            seen = np.zeros((height, width), bool)
            for top, left, tall, wide in dense_windows(height, width, 48).tolist():
                assert 0 <= top <= top + tall <= height
                assert 0 <= left <= left + wide <= width
                seen[top : top + tall, left : left + wide] = True
            assert seen.all()
        assert len(dense_windows(8000, 12000, 48)) <= 1024

    def test_dense_attention_does_not_depend_on_its_chunks(self, detector, coded_image, monkeypatch):
        import glass.predict.heatmaps

        pixels = coded_image(2, 200, 150)
        windows, attention = dense_attention(detector, pixels)
        assert attention.mean() == pytest.approx(1.0)
        monkeypatch.setattr(glass.predict.heatmaps, "CHUNK", 7)
        again = dense_attention(detector, pixels)[1]
        np.testing.assert_allclose(again, attention, rtol=1e-3)
        assert draw_dense(pixels, windows, attention).size == (200, 150)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_the_page_says_what_predict_says(detector, files, tmp_path, kind):
    """Of an upload, which comes as a file of another name with the same bytes."""
    path = next(source.path for source in files if source.path.suffix == f".{kind}")
    (expected,) = detector.predict([path.read_bytes()])
    upload = tmp_path / f"upload.{kind}"
    shutil.copy(path, upload)
    same(look(detector, upload, dense=False)[0], expected)
    shown, windows, dense = answer(detector, str(upload), dense=True)
    for words in (expected.verdict, f"{expected.score:.4f}", "as it is", *CHANGES):
        assert words in shown
    pixels = BytesSource("x", path.read_bytes()).load().pixels
    assert np.array_equal(np.asarray(windows), np.asarray(draw_windows(pixels, expected)))
    assert dense.size == windows.size
    assert answer(detector, None, dense=True) == ("", None, None)


def test_the_page_obeys_no_name_and_survives_rubbish(detector, verdicts, tmp_path):
    assert "<script>" not in describe(replace(verdicts[0], reason="<script>"))
    (tmp_path / "x.jpg").write_bytes(b"rubbish")
    shown, *images = answer(detector, str(tmp_path / "x.jpg"), dense=True)
    assert "cannot be read: not_an_image" in shown
    assert images == [None, None]
