"""Verdicts in words, as pages show them: no figure misleads, and everything that was found is named."""

from dataclasses import replace

import numpy as np
import pytest

from glass.predict.harmless_changes import CHANGES
from glass.predict.verdict_lines import learnt_line
from glass.predict.verdicts import ImageVerdict
from glass.verdict_page.sentences import covered_share, figure, seen_sentence, stability_sentence, verdict_sentence

HEAD = {
    "model": {"path": "run", "kind": "glass", "weights_sha256": "0" * 64},
    "views": {"num_crops": 4, "sampling": "stratified_grid", "coverage": "sample", "draws": 1},
    "calibrated": True,
    "threshold": 0.9,
    "real_below": 0.2,
    "data_notes": [],
    "note": "",
}


@pytest.mark.parametrize(
    ("value", "edges", "shown"),
    [
        (0.5, (), "0.500"),
        (0.8996, (0.9,), "0.8996"),
        (0.9, (0.9,), "0.900"),
        (0.99999, (), ">0.999"),
        (1e-9, (), "<0.001"),
        (1.0, (), "1.000"),
        (0.0, (0.5,), "0.000"),
        (0.49999999, (0.5,), "0.500000"),
        (0.9996, (0.9997,), "0.9996"),
        (0.9999999, (0.9997,), ">0.9999"),
        (0.0001, (0.0004,), "0.0001"),
    ],
)
def test_a_figure_never_looks_like_an_edge_that_it_is_not(value, edges, shown):
    assert figure(value, *edges) == shown
    assert shown.isprintable()  # a template writes all else as an escape


@pytest.mark.parametrize(
    ("probability", "word", "said"),
    [
        (0.95, "generated", "is 0.950; from 0.900 on, an image is called generated."),
        (0.1, "real", "is 0.100; below 0.200, an image is called real."),
        (0.8999, "uncertain", "is 0.8999: too high for the verdict real (below 0.2000), too low"),
    ],
)
def test_the_verdict_stands_beside_its_edges(probability, word, said):
    verdict = ImageVerdict("x", score=0.3, probability=probability, verdict=word)
    assert said.replace("0.2000", "0.200") in verdict_sentence(verdict, HEAD)
    raw = verdict_sentence(replace(verdict, probability=None), HEAD | {"calibrated": False})
    assert "The raw score is 0.300. It is not a probability" in raw


def test_the_change_that_turns_a_verdict_is_named(detector, files):
    (verdict,) = detector.predict([files[0]])
    assert stability_sentence(replace(verdict, unstable=None)).startswith("It was not tested")
    assert list(verdict.change_verdicts) == list(CHANGES)
    turned = {**dict.fromkeys(CHANGES, "real"), CHANGES[1]: "uncertain"}
    unstable = replace(verdict, verdict="real", unstable=True, change_verdicts=turned)
    assert f"({CHANGES[1]} → uncertain)" in stability_sentence(unstable)


@pytest.mark.parametrize(
    ("uses", "said"),
    [
        (["train"], "WARNING: the model was trained on this image. This verdict does not test the model"),
        (["valid"], "WARNING: the epoch of the model was chosen on this image. This verdict does not test the model"),
        (["train", ""], "WARNING: of 2 images, the model was trained on 1. That verdict does not test the model"),
        (
            ["train", "valid", "train", ""],
            "WARNING: of 4 images, the model was trained on 2 and its epoch was chosen on 1. "
            "Their verdicts do not test the model",
        ),
        (["", ""], "none of these images, pixel for pixel, was used to train the model"),
        ([None], "note: it is unknown which images the model was trained on"),
    ],
)
def test_images_that_the_model_knows_are_counted(uses, said):
    assert learnt_line([ImageVerdict("x", learnt=use) for use in uses]) == said


def test_unreadable_images_are_not_counted_as_known():
    unread, known = ImageVerdict("y", reason="empty_file"), ImageVerdict("x", learnt="train")
    assert learnt_line([unread]) == "no image could be read"
    assert learnt_line([unread, known]).startswith("WARNING: of 1 image, the model was trained on 1. That verdict")


def test_what_windows_cover_is_counted_once():
    rng = np.random.default_rng(0)
    for count in (0, 1, 5):
        windows = rng.integers(1, 40, (count, 4)).astype(np.int32)
        seen = np.zeros((80, 80), bool)
        for top, left, height, width in windows.tolist():
            seen[top : top + height, left : left + width] = True
        verdict = ImageVerdict("x", height=80, width=80, windows=windows)
        assert covered_share(verdict) == pytest.approx(100 * seen.mean())


@pytest.mark.parametrize(
    ("size", "said"),
    [((64, 64), "in its own size"), ((64, 80), "shrunk"), ((40, 64), "enlarged"), ((40, 80), "resized")],
)
def test_the_view_is_shrunk_only_if_the_image_is_larger(size, said):
    verdict = ImageVerdict("x", height=size[0], width=size[1])
    assert seen_sentence(verdict, HEAD, 64) == f"The model saw the whole image ({size[1]} × {size[0]} pixels), {said}."
