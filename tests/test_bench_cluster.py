"""``python -m bench cluster``: the figures of docs/SCALING.md follow from its arithmetic."""

import json

import pytest

from bench.cluster import main


def test_what_machines_ask_of_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--samples 8000 --shard-samples 100 --machines 4 --batch-size 80 --gpus 2"
    main([*arguments.split(), "--images-per-s", "100", "--sample-kb", "1000"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    store = figures["store"]
    assert figures["one_lane"]["fetches"] > 3.5
    assert figures["lane_per_machine"]["fetches"] == pytest.approx(1, abs=0.1)
    assert store["images_per_s"] == 800
    assert store["whole_bytes_per_s"] == pytest.approx(800e6, rel=0.1)
    assert store["whole_requests_per_s"] == pytest.approx(800e6 / 2**23, rel=0.1)
    assert store["range_requests_per_s"] == pytest.approx(800 * 7.6)
    assert 200 < figures["description_bytes_per_shard"] < 400
