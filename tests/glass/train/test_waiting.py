"""Estimates of the remaining time, and messages during long silences."""

import logging
import threading

import pytest

from glass.train import progress
from glass.train.progress import ProgressDisplay, duration, report_if_slow


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (99, "99 s"), (99.6, "2 min"), (3_000, "50 min"), (11_980, "3 h 20 min"), (190_000, "2 d 5 h")],
)
def test_a_duration_is_as_exact_as_a_guess(seconds, words):
    assert duration(seconds) == words


class Clock:
    """A clock that stands still until a test sets it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_what_is_left_follows_from_the_steps_after_the_first(monkeypatch, caplog):
    """The epoch has 40 steps, and 120 steps follow. The first step took a minute, the others two seconds each."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    caplog.set_level(logging.INFO, logger="glass")
    seen = {"loss": 0.5, "images_per_s": 8.0, "wait_share": 0.25}
    with ProgressDisplay("epoch 1/4", total=40, later=120) as display:
        clock.now += 60
        display.advance()
        for step in range(2, 21):
            clock.now += 2
            display.advance(**(seen if step == 20 else {}))
    assert caplog.messages == [
        "epoch 1/4, step 20/40: loss 0.5000, 8 images/s, 25 % waiting for data, 40 s left in this"
        " epoch, 5 min in the whole run"
    ]


def test_steps_that_take_minutes_have_a_line_each(monkeypatch, caplog):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    caplog.set_level(logging.INFO, logger="glass")
    with ProgressDisplay("epoch 4/4", total=4) as display:
        for _ in range(2):
            clock.now += 150
            display.advance()
    assert caplog.messages == ["epoch 4/4, step 1/4", "epoch 4/4, step 2/4, 5 min left"]


def test_the_last_epoch_names_one_time(monkeypatch, caplog):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    caplog.set_level(logging.INFO, logger="glass")
    with ProgressDisplay("epoch 4/4", total=40, done=10) as display:
        display.advance()
        clock.now += 100
        display.advance(loss=0.5, images_per_s=8.0, wait_share=0.25)
    assert caplog.messages[0].endswith("25 % waiting for data, 47 min left")


def test_one_word_where_it_is_slow_and_none_where_it_is_not(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="glass")
    said = threading.Event()
    monkeypatch.setattr(progress.logger, "info", lambda *given: (said.set(), heard.append(given)))
    heard = []
    monkeypatch.setattr(progress, "AFTER_S", 0.001)
    with report_if_slow("fetching weights"):
        assert said.wait(10)
    assert heard == [("%s …", "fetching weights")]
    monkeypatch.setattr(progress, "AFTER_S", 60)
    with report_if_slow("fetching weights"):
        pass
    assert len(heard) == 1
