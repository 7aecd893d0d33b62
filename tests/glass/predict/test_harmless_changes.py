"""The re-saved, resized and shifted versions of an image that a detector tries, and when it calls a verdict
unstable."""

from dataclasses import replace

import numpy as np
import pytest

from glass.predict.harmless_changes import CHANGES, ChangedImage, harmless_changes
from loaders.decode.pixel_batch import DecodedImage
from shards.images.pixels import decode_rgb, global_view
from tests.runs.spread_runs import calibrated


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
    """Windows of a large image, which are changed one by one, must equal those of the image changed as a whole. There
    are so many that in the end all of it is changed. Only the global view is made separately."""
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
    """A window with fewer than five columns, saved by itself, would have the chroma of its border repeated. It must
    equal the same window of the whole saved image."""
    pixels = np.random.default_rng(width).integers(0, 256, (256, width, 3), dtype=np.uint8)
    windows = np.array([[7, width - side, side, side] for side in range(1, 6)], np.int32)
    changes = (
        harmless_changes(pixels, global_view(pixels, 32), with_file=whole)[CHANGES[0]] for whole in (False, True)
    )
    np.testing.assert_array_equal(*(change.image.crops(windows, 5) for change in changes))


def test_an_image_too_long_for_a_jpeg_is_changed_otherwise(detector, files, encode_image):
    """libjpeg refuses sides above 65,500. The image still gets a verdict, and so does the next one."""
    long = encode_image(np.zeros((20, 65_501, 3), np.uint8), "PNG")
    verdict, other = detector.predict([long, files[0]])
    assert verdict.reason is None
    assert verdict.unstable is not None
    assert tuple(verdict.change_scores) == CHANGES[1:]
    assert tuple(other.change_scores) == CHANGES


def test_unstable_is_a_flip_at_the_threshold(spread_run, tmp_path, files, detector):
    (verdict,) = detector.predict(files[:1])
    after = dict(verdict.change_scores)
    logits = [np.log(s / (1 - s)) for s in after.values()]
    furthest = max(logits, key=lambda value: abs(value - verdict.margin))
    between = (furthest + verdict.margin) / 2
    (flipped,) = calibrated(spread_run, tmp_path / "a", between).predict(files[:1])
    (steady,) = calibrated(spread_run, tmp_path / "b", min([*logits, verdict.margin]) - 9).predict(files[:1])
    assert flipped.unstable is True
    assert steady.unstable is False


def test_unstable_is_any_other_verdict(spread_run, tmp_path, files):
    """A change from real to uncertain, or from uncertain to generated, also counts as unstable."""
    detector = calibrated(spread_run, tmp_path / "m", 0.0)
    (verdict,) = detector.predict(files[:1])
    after = [np.log(s / (1 - s)) for s in verdict.change_scores.values()]
    furthest = max(after, key=lambda value: abs(value - verdict.margin))
    between = float(detector.trained.calibration.probability((furthest + verdict.margin) / 2))
    for limits in ({"threshold": 1.0, "real_below": between}, {"threshold": between}):
        banded = replace(detector.trained.calibration, **{"real_below": 0.0} | limits)
        detector.trained = replace(detector.trained, calibration=banded)
        (seen,) = detector.predict(files[:1])
        assert seen.unstable is True


@pytest.mark.parametrize(
    "options", [{"draws": 3}, pytest.param({"draws": 2, "coverage": "all"}, marks=pytest.mark.slow)]
)
def test_changes_are_asked_with_as_many_draws(detector, files, monkeypatch, options):
    """Changed images are scored with as many draws as the original, so a change that changes nothing leaves the score
    as it was."""
    monkeypatch.setattr(
        "glass.predict.preparation.harmless_changes",
        lambda pixels, view, with_file: {"nothing": ChangedImage(DecodedImage(pixels))},
    )
    for verdict in detector.predict(files[:1], **options):
        assert np.ptp(verdict.draw_scores) > 1e-4
        assert verdict.change_scores["nothing"] == pytest.approx(verdict.score, abs=1e-6)
