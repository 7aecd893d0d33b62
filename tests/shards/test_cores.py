"""Commands use the cores that they may use, not all that the machine has."""

import argparse

import pytest

from scripts.arguments import thread_count
from shards.cores import usable_cores
from shards.errors import InputError


def test_cores_outside_the_affinity_mask_are_not_counted(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 97)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3, 5, 8})
    assert usable_cores() <= 3
    assert thread_count("auto") == usable_cores()


def test_a_quota_of_less_than_the_cores_counts(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert usable_cores() == 1


@pytest.mark.parametrize("text", ["", "all"])
def test_a_limit_that_is_no_number_is_named(monkeypatch, text):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", text)
    with pytest.raises(InputError, match=r"LOKY_MAX_CPU_COUNT='.*' is not a number"):
        thread_count("auto")


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e9", "99999999"])
def test_counts_out_of_range_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        thread_count(text)
