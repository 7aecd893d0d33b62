"""The plots of a search show settings on the scales that were searched."""

import re
from typing import Any

import pytest

from glass.report.search_plots import _history, search_svgs

SPACE = [
    {"name": "lr_local", "settings": ["optim.lr_local"], "low": 1e-6, "high": 1e-4},
    {"name": "num_crops", "settings": ["loader.num_crops"], "options": [2, 4, 10]},
    {"name": "model.kind", "settings": ["model.kind"], "options": ["a", "b"]},
]


def document(metric: str, space: Any = SPACE) -> Any:
    values = (0.5, 0.7, 0.9)
    trials = [
        {"number": number, "state": "complete", "value": value, "epochs": 1, "why": None, "params": params}
        for number, (value, params) in enumerate(
            zip(
                values,
                (
                    {"lr_local": 1e-6, "num_crops": 2, "model.kind": "a"},
                    {"lr_local": 1e-5, "num_crops": 4, "model.kind": "b"},
                    {"lr_local": 1e-4, "num_crops": 10, "model.kind": "b"},
                ),
                strict=True,
            )
        )
    ]
    settings = {} if space is None else {"space": space}
    return {"study": "s", "metric": metric, "settings": settings, "trials": trials, "importance": {"lr_local": 1.0}}


def words(svg: str) -> list[str]:
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)<", svg)]


def heights(svg: str, text: str) -> float:
    """The vertical position of a text in a plot, which increases downwards."""
    (found,) = re.findall(rf'<text[^>]* y="([\d.]+)"[^>]*>{re.escape(text)}<', svg)
    return float(found)


@pytest.mark.slow  # plots are drawn by the test without a space, and a page's in test_report_page
@pytest.mark.parametrize(("metric", "best", "worst"), [("accuracy", "0.9", "0.5"), ("loss", "0.5", "0.9")])
def test_axes_have_units_and_the_scale_of_the_search(metric, best, worst):
    svg = search_svgs(document(metric))["parallel"]
    assert {"(logarithmic)", "(per image)", "lr_local", "num_crops"} <= set(words(svg))
    assert {f"best: {best}", "middle: 0.7", f"worst: {worst}"} <= set(words(svg))
    assert heights(svg, "1e-5") == pytest.approx((heights(svg, "1e-6") + heights(svg, "1e-4")) / 2, abs=0.5)
    assert heights(svg, "4") == pytest.approx((heights(svg, "2") + heights(svg, "10")) / 2, abs=0.5)
    assert ("validation loss (nats)" if metric == "loss" else "validation accuracy") in words(svg)


def test_no_tick_of_a_proportion_is_above_one():
    searched = document("auroc")
    for trial in searched["trials"]:
        trial["value"] = 1.0
    ticks = [float(word) for word in words(_history(searched)) if re.fullmatch(r"\d\.\d+", word)]
    assert max(ticks) == 1.0


def test_a_document_without_its_space_is_drawn_from_the_values():
    svg = search_svgs(document("accuracy", None) | {"importance": {}})["parallel"]
    assert {"1e-06", "10", "b"} <= set(words(svg))
    assert "(logarithmic)" not in words(svg)
