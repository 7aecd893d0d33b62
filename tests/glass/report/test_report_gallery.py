"""The gallery of a report: which samples it shows, and their crops."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from glass.measure.predictions import PREDICTION_SCHEMA
from glass.report import RunData, build_gallery, render_html, report_document
from glass.report.embed import encoder, shrink
from glass.report.selection import MAX_CARDS, choose_samples
from glass.report.windows import attention_colour
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.runs.made_up_runs import NUM_WINDOWS, SPLIT, WriteRun, load


def selection_table(probability: list[float], label: list[int], generator: list[str]) -> pa.Table:
    count = len(label)
    columns: dict[str, list[Any]] = {name: [None] * count for name in PREDICTION_SCHEMA.names}
    columns |= {"probability": probability, "label": label, "generator": generator}
    return pa.table(columns, schema=PREDICTION_SCHEMA)


def test_the_gallery_shows_mistakes_first_and_every_kind() -> None:
    table = selection_table(
        [0.1, 0.9, 0.45, 0.2, 0.99, 0.05, 0.55, 0.8, 0.7],
        [0, 0, 0, 0, 1, 1, 1, 1, 1],
        ["", "", "", "", "a", "a", "a", "b", "b"],
    )
    picks = choose_samples(table, 0.5, 0.5)
    assert [(pick.row, pick.reason) for pick in picks[:3]] == [
        (1, "most confident mistake"),
        (5, "most confident mistake"),
        (2, "nearest to the threshold"),  # no image of b is mistaken
    ]
    rows = [pick.row for pick in picks]
    assert len(set(rows)) == len(rows)
    assert {0, 4, 7} <= set(rows)  # the most confident correct verdicts of each kind
    assert picks == choose_samples(table, 0.5, 0.5)


def test_what_is_uncertain_is_no_mistake_and_not_right() -> None:
    table = selection_table([0.9, 0.7, 0.1, 0.65, 0.4], [0, 0, 1, 1, 1], ["", "", "a", "a", "a"])
    picks = {pick.row: pick.reason for pick in choose_samples(table, 0.8, 0.3)}
    assert [picks[0], picks[2]] == ["most confident mistake", "most confident mistake"]
    assert not {picks.get(1), picks.get(3), picks.get(4)} & {"most confident mistake", "most confident correct verdict"}


@pytest.mark.usefixtures("undrawn")
def test_cards_say_uncertain_where_predict_does(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    """Between the two limits of the calibration's band of doubt, a card says neither correct nor wrong."""
    run = runs[0]
    calibration = {"temperature": 1.0, "real_below": 0.2, "before": {"ece": 0.2}, "after": {"ece": 0.03}}
    banded = replace(run, evaluation=run.evaluation | {"threshold": {"value": 0.8, "source": "x"}})
    banded.evaluation["calibration"] = calibration
    gallery = build_gallery([banded], synthetic_dataset)
    verdicts = [(card.label, *card.verdicts) for card in gallery.cards]
    assert {verdict["verdict"] for _, verdict in verdicts} == {"real", "uncertain", "generated"}
    for label, verdict in verdicts:
        uncertain = 0.2 <= verdict["probability"] < 0.8
        assert (verdict["verdict"] == "uncertain") == uncertain
        assert verdict["right"] == (None if uncertain else verdict["verdict"] == label)
    document = report_document([run], synthetic_dataset, SPLIT)
    shown = render_html(document, [run], gallery)
    decided = sum(verdict["right"] is not None for _, verdict in verdicts)
    assert shown.count("✓ correct") + shown.count("✗ wrong") == decided
    assert len(re.findall("→ uncertain", shown)) == len(verdicts) - decided


def test_the_gallery_has_an_end() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    generator = [f"g{n % 30}" if y else "" for n, y in enumerate(label)]
    table = selection_table(rng.random(400).tolist(), label.tolist(), generator)
    picks = choose_samples(table, 0.5, 0.5)
    assert len(picks) == MAX_CARDS
    assert {pick.reason for pick in picks} == {"most confident mistake"}


def test_crops_come_from_the_place_that_the_frame_marks(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    """The images encode positions: red is x // 2, green is y // 2, and blue is 10 × the number in the name."""
    gallery = build_gallery(runs, synthetic_dataset)
    assert (gallery.run, gallery.has_attention, gallery.crop_format) == ("glass", True, "PNG")
    lossless = [card for card in gallery.cards if card.source_path.endswith(".png")]
    assert lossless
    for card in gallery.cards:
        assert len(card.windows) == NUM_WINDOWS - 1  # the empty place is not drawn
        weights = [window.weight for window in card.windows]
        assert weights == sorted(weights, reverse=True)
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        assert [v["run"] for v in card.verdicts] == ["glass", "single_view"]
        for verdict in card.verdicts:
            assert verdict["right"] == (verdict["verdict"] == card.label)
    for card in lossless:
        for window in card.windows:
            crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(window.crop.split(",")[1]))))
            assert crop.shape == (window.height, window.width, 3)
            assert (crop[0, :, 0] == (window.left + np.arange(window.width)) // 2).all()
            assert (crop[:, 0, 1] == (window.top + np.arange(window.height)) // 2).all()
            assert (crop[..., 2] == 10 * int(Path(card.source_path).stem)).all()


@pytest.mark.usefixtures("undrawn")
def test_a_gallery_without_attention(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    run = load(write_run("single_view", attention=False), synthetic_dataset)
    gallery = build_gallery([run], synthetic_dataset)
    assert not gallery.has_attention
    assert {window.weight for card in gallery.cards for window in card.windows} == {None}
    document = report_document([run], synthetic_dataset, SPLIT)
    assert "does not weight" in render_html(document, [run], gallery)


def test_a_shard_that_is_gone_is_reported(write_run: WriteRun, synthetic_dataset: ShardDataset, tmp_path: Path) -> None:
    run = load(write_run("glass"), synthetic_dataset)
    moved = ShardDataset(tmp_path / "nowhere", synthetic_dataset.info, synthetic_dataset.table)
    with pytest.raises(InputError, match=r"cannot be read.*glass verify"):
        build_gallery([run], moved)


def test_attention_colours_run_from_pale_to_red() -> None:
    assert attention_colour(0.0, 4) == "rgb(255, 237, 160)"
    assert attention_colour(0.25, 4) == "rgb(253, 141, 60)"
    assert attention_colour(0.5, 4) == attention_colour(0.9, 4) == "rgb(189, 0, 38)"
    assert attention_colour(1.0, 1) == "rgb(253, 141, 60)"  # the only window: an equal share


def test_images_are_embedded_within_their_budget() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    kinds, sizes = [], []
    for budget in (10**6, 20_000, 10):
        as_uri, kind = encoder(noise, budget, lossless=True)
        kinds.append(kind)
        sizes.append(sum(len(base64.b64decode(as_uri(image).split(",")[1])) for image in noise))
    assert kinds[0] == "PNG"
    assert kinds[1].startswith("JPEG ")
    assert sizes[1] <= 20_000
    assert kinds[2] == "JPEG 40"  # nothing fits: the smallest, and no endless search
    assert shrink(np.zeros((10, 4000, 3), np.uint8), 500).shape == (1, 500, 3)
    assert shrink(noise[0], 500).shape == (64, 64, 3)
