"""Numbers for readers: a value and its interval are always printed in the same way."""

from collections.abc import Callable

import numpy as np
import pytest

from glass.report.tables import cell, interval_text, number, three_digits
from shards.cli.wording import pace, percent


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.999, [0.9971, 0.9996], "0.999 (0.997–1.000)"),  # and not 1.00–1.00
        (0.0, [0.0, 0.206], "0.000 (0.000–0.206)"),
        (1.0, [1.0, 1.0], "1.000 (too few to tell)"),
        (0.0, [0.0, 0.0], "0.000 (too few to tell)"),
        (0.05, [0.06, 0.11], "0.050 (0.050–0.110)"),  # a percentile interval that leaves it out
        (0.5, None, "0.500 (too few to tell)"),
        (None, None, "–"),
    ],
)
def test_a_value_is_never_outside_its_printed_interval(
    value: float | None, interval: list[float] | None, text: str
) -> None:
    assert str(cell(value, interval)) == text


@pytest.mark.parametrize("show", [number, percent, "{:.2f}".format, "{:+.3f}".format])
def test_rounding_keeps_values_inside(show: Callable[[float], str]) -> None:
    for low, value, high in np.sort(np.random.default_rng(0).random((500, 3)), axis=1):
        ends = interval_text(value, [low, high], show, " to ").split(" to ")
        shown = [float(text.rstrip(" %")) for text in (ends[0], show(value), ends[1])]
        assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0022213, "0.00222"), (7.5, "7.5"), (99.96, "100"), (142.71, "143"), (9755.2, "9,755"), (-3980.4, "-3,980")],
)
def test_measured_figures_have_three_digits(value, shown):
    assert three_digits(value) == shown


def test_nothing_is_minus_zero() -> None:
    assert [number(-0.0004), number(-0.0006), percent(-0.0004)] == ["0.000", "-0.001", "0.0 %"]


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "–"),
        (0.0, "0.0 %"),
        (0.00004, "0.00 %"),
        (0.0008, "0.08 %"),
        (0.00994, "0.99 %"),
        (0.00996, "1.0 %"),
        (0.034, "3.4 %"),
        (1.0, "100.0 %"),
    ],
)
def test_rates_below_one_percent_have_a_digit_more(share, shown):
    assert percent(share) == shown


def test_less_than_an_image_a_second_is_not_none():
    assert [pace(speed) for speed in (1234.4, 5.2, 0.316, 0.0)] == [
        "1,234 images/s",
        "5 images/s",
        "0.32 images/s",
        "0 images/s",
    ]


def test_a_deviation_has_the_digits_of_its_rate():
    assert percent(0.0012, deviation=0.0004) == "0.12 ± 0.04 %"
    assert percent(0.034, deviation=0.0123) == "3.4 ± 1.2 %"
