"""``bench scale`` on small manifests, and its messages about wrong arguments."""

import json

import pytest

from bench import scale
from bench.corpora.scale_manifest import write_dataset
from bench.harness.schemas import check_result
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

pytestmark = pytest.mark.usefixtures("quick_look")


def test_synthetic_manifests_are_data_sets(tmp_path):
    write_dataset(tmp_path / "data", 1000)
    dataset = ShardDataset.open(tmp_path / "data")
    assert len(dataset) == 1000
    sizes = {name: len(dataset.split_rows(name)) for name in ("train", "valid", "test")}
    assert sizes == {"train": 700, "valid": 150, "test": 150}
    assert len(set(dataset.column("content_id").tolist())) == 1000
    found = scale.measure(tmp_path / "data")
    assert set(scale.MEASURED) <= set(found)
    assert all(found[name] > 0 for name in scale.MEASURED)
    assert found["open_peak_rss_mib"] <= found["peak_rss_mib"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "--rounds 0: must be at least 1"),
        (["--samples", "10"], "--samples 10: give whole numbers of at least 100"),
        (["--output", __file__], "is a file: give a folder"),
    ],
)
def test_mistakes_are_reported(words, message):
    with pytest.raises(InputError, match=message):
        scale.main(words)


@pytest.fixture
def measured(monkeypatch):
    """A list of measurements. The bench takes the next one for each round, without starting processes."""
    rounds: list[dict[str, float]] = []
    monkeypatch.setattr(scale, "_measured", lambda folder: rounds.pop(0))
    return rounds


@pytest.mark.parametrize(("peak", "code"), [(2000.0, 0), (2100.0, 1)])
def test_the_goal_is_held_against_the_peak_over_everything(measured, peak, code, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scale, "LARGE", 1000)
    times = dict.fromkeys(scale.MEASURED, 1.0)
    measured += [
        times | {"open_s": seconds, "open_peak_rss_mib": 1500.0, "peak_rss_mib": peak}
        for seconds in (1.234, 4.567, 2.345)
    ]
    assert scale.main(["--samples", "1000", "--rounds", "3", "--output", str(tmp_path)]) == code
    *lines, last = capsys.readouterr().out.splitlines()
    document = json.loads(last)
    check_result("scale", document)
    (row,) = document["rows"]
    assert (row["open_s"], row["ranges"]["open_s"]) == (2.345, [1.234, 4.567])
    assert (row["open_peak_rss_mib"], row["peak_rss_mib"], row["rounds"]) == (1500.0, peak, 3)
    assert max(map(len, lines)) <= 130
    assert any("1.23–4.57" in line for line in lines)


def test_the_table_wraps_no_number(capsys):
    large = {"samples": 10_000_000, "manifest_mib": 1922.4, "ranges": {}}
    small = {"samples": 1_000, "manifest_mib": 0.3, "ranges": {}}
    for name in scale.MEASURED:
        large[name], large["ranges"][name] = 1234.5, [1123.4, 12345.6]
        small[name], small["ranges"][name] = 0.000234567, [0.000123456, 0.000345678]
    scale._print([small, large])
    out = capsys.readouterr().out
    assert out.count("1,123–12,346") == len(scale.MEASURED)
    assert out.count("0.00012–0.00035") == len(scale.MEASURED)
    assert "10,000,000" in out
    assert max(map(len, out.splitlines())) <= 130
