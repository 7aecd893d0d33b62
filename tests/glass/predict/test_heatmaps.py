"""Heat maps: pictures of where the attention was."""

from dataclasses import replace

import numpy as np
import pytest

from glass.predict.heatmaps import dense_attention, dense_overlay, dense_windows, draw_dense, draw_windows
from tests.runs.spread_runs import QUICK


class TestHeatmaps:
    def test_windows_are_tinted_where_they_lie(self, detector):
        pixels = np.full((200, 300, 3), (200, 40, 90), np.uint8)  # no blend of black and white
        (verdict,) = detector.predict([pixels])
        drawn = np.asarray(draw_windows(pixels, verdict))[:200, :300]
        inside = np.zeros((200, 300), bool)
        for top, left, height, width in verdict.windows.tolist():
            inside[top : top + height, left : left + width] = True
        changed = (drawn != pixels).any(axis=2)
        assert np.array_equal(changed, inside)

    def test_the_tint_is_strong_where_attention_is(self, detector):
        """The higher the weight of a window, the redder it is, except for its border of two pixels and its number."""
        pixels = np.full((100, 300, 3), 128, np.uint8)
        (verdict,) = detector.predict([pixels], QUICK)
        windows = np.array([[0, 0, 48, 48], [0, 100, 48, 48], [50, 200, 48, 48]], np.int32)
        weights = np.array([0.01, 0.34, 0.65], np.float32)
        drawn = draw_windows(pixels, replace(verdict, windows=windows, attention=weights))
        colours = [
            np.asarray(drawn)[top + 24 : top + 46, left + 2 : left + 46].reshape(-1, 3) for top, left in windows[:, :2]
        ]
        assert all((colour == colour[0]).all() for colour in colours)
        redness = [int(colour[0, 0]) - int(colour[0, 1]) for colour in colours]
        assert redness[0] < redness[1] < redness[2]

    def test_the_dense_map_is_red_where_the_attention_lies(self, detector):
        pixels = np.full((96, 192, 3), 128, np.uint8)
        (verdict,) = detector.predict([pixels], QUICK)
        windows = dense_windows(96, 192, 48)
        centre = windows[:, 1] + windows[:, 3] / 2
        drawn = np.asarray(draw_dense(pixels, verdict, windows, np.where(centre > 96, 1.9, 0.1)))[:96]
        redness = drawn[..., 0].astype(int) - drawn[..., 1]
        assert redness[:, 130:192].min() > redness[:, :60].max()

    def test_the_dense_map_shows_no_lattice_and_hides_nothing(self, detector):
        """Attention that rises evenly is drawn evenly, without steps at the edges of windows. Without attention, the
        image is drawn unchanged."""
        height, width = 250, 301
        windows = dense_windows(height, width, 48)
        centre = windows[:, 1] + windows[:, 3] / 2
        overlay = np.asarray(dense_overlay(windows, centre / width, (height, width), (width, height)))
        opacity = overlay[..., 3].astype(int)
        assert (opacity == opacity[:1]).all()
        steps = np.diff(opacity[0])
        assert steps.min() >= 0
        assert steps.max() <= 3  # one of the 65 colours further at most
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        (verdict,) = detector.predict([pixels], QUICK)
        drawn = np.asarray(draw_dense(pixels, verdict, windows, np.zeros(len(windows))))
        assert np.array_equal(drawn[:height, :width], pixels)

    @pytest.mark.parametrize("width", [20, 700])
    def test_the_scale_of_the_colours_stands_below(self, width, detector):
        """The scale is complete even below a narrow image, and its colours run from pale to red."""
        pixels = np.full((60, width, 3), 128, np.uint8)
        (verdict,) = detector.predict([pixels], QUICK)
        windows = dense_windows(60, width, 48)
        for drawn in (draw_windows(pixels, verdict), draw_dense(pixels, verdict, windows, np.ones(len(windows)))):
            legend = np.asarray(drawn)[60:].astype(int)
            assert (legend.min(axis=2) < 60).any(axis=0)[:330].sum() > 100  # words
            bar = (legend[12] - legend[12, :, [1]].T).clip(0)[8:320, 0]
            assert bar[-1] > bar[150] > bar[2]
        alone = np.asarray(draw_windows(pixels, replace(verdict, attention=None)))[60:]
        assert len(alone) < len(legend)  # no scale
        assert alone.min() == 0
        assert (alone == alone[..., :1]).all()

    def test_the_verdict_stands_below(self, detector):
        """If only the verdict differs, the pictures differ only below the image."""
        pixels = np.full((60, 90, 3), 128, np.uint8)
        (verdict,) = detector.predict([pixels], QUICK)
        one, other = (
            np.asarray(draw_windows(pixels, replace(verdict, score=score, probability=None))) for score in (0.1, 0.2)
        )
        rows = np.flatnonzero((one != other).any(axis=(1, 2)))
        assert len(rows)
        assert rows.min() > 60 + 40

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
        (verdict,) = detector.predict([pixels], QUICK)
        windows, attention = dense_attention(detector, pixels)
        assert attention.mean() == pytest.approx(1.0)
        monkeypatch.setattr(glass.predict.heatmaps, "CHUNK", 7)
        again = dense_attention(detector, pixels)[1]
        np.testing.assert_allclose(again, attention, rtol=1e-3)
        assert draw_dense(pixels, verdict, windows, attention).size[0] >= 150
