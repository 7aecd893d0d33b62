"""Addresses of stores where only local files can be read or written."""

import os

import pytest

from scripts import (
    audit,
    crop_study,
    data_stats,
    download_data,
    export,
    final_runs,
    index_shards,
    make_demo,
    predict,
    report,
    robustness,
    study,
    train,
    tune,
)
from shards.errors import InputError

ADDRESS = "s3://me:hunter2@bucket/x"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (train, ["--data", "DATA", "--preset", "glass_tiny", "--output"]),
        (tune, ["--data", "DATA", "--preset", "glass_tiny", "--output"]),
        (final_runs, ["--data", "DATA", "--preset", "glass_tiny", "--output"]),
        (crop_study, ["--data", "DATA", "--preset", "glass_tiny", "--output"]),
        (study, ["--data", "DATA", "--output"]),
        (data_stats, ["DATA", "--output"]),
        (audit, ["DATA", "--html"]),
        (index_shards, ["DATA", "--out"]),
        (report, ["--data", "DATA", "--run", "a=RUN"]),
        (robustness, ["RUN", "--data", "DATA", "--output"]),
        (predict, ["RUN", "IMAGE", "--json"]),
        (predict, ["RUN", "IMAGE", "--heatmaps"]),
        (export, ["RUN", "--to"]),
        (make_demo, ["--images", "12"]),
        (download_data, ["--source", "DATA"]),
    ],
)
def test_an_output_in_a_store_is_refused(
    command, words, synthetic_shards, plain_run, paths, tmp_path, monkeypatch
) -> None:
    """Before, it became a folder called ``s3:`` in the current folder, and was announced as written."""
    monkeypatch.chdir(tmp_path)
    given = {"DATA": str(synthetic_shards), "RUN": str(plain_run), "a=RUN": f"a={plain_run}", "IMAGE": paths[0]}
    with pytest.raises(InputError, match=r"^s3://bucket/x\S* is in a store, but this output is written to a local"):
        command.main([*(given.get(word, word) for word in words), ADDRESS])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("address", ["https://me:hunter2@h/x.jpg?sig=hunter2", "s3://me:hunter2@h/*.jpg"])
def test_an_image_behind_an_address_is_refused_with_a_remedy(address, plain_run) -> None:
    with pytest.raises(InputError, match="is an address: download it") as caught:
        predict.main([str(plain_run), address])
    assert "hunter2" not in str(caught.value)
