"""Signals that ask a run to stop: the first of a kind is noted, and the second has its usual effect."""

import os
import signal

import pytest

from glass.train.processes import StopSignal


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_is_noted_and_said_and_the_second_ends(capfd):
    with StopSignal() as stop:
        press_ctrl_c()
        assert stop.received == "SIGINT"
        assert "with a checkpoint; press Ctrl-C again to stop at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_warning_and_then_the_end_are_one_wish(capfd):
    """Clusters send a warning signal and then a second kind. The second kind must not interrupt the checkpoint that the
    first one asked for."""
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        press_ctrl_c()
        assert stop.received == "SIGUSR1"
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        assert signal.getsignal(number) is not stop._note


def test_what_was_ignored_stays_ignored():
    """A script's background job ignores SIGINT and must continue to do so, because a Ctrl-C is meant for another
    process."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            press_ctrl_c()
        assert stop.received is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_one_process_of_a_run_speaks(capfd, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with StopSignal() as stop:
        press_ctrl_c()
    assert (stop.received, capfd.readouterr().err) == ("SIGINT", "")
