"""``python -m bench``: its output, and its messages about wrong arguments."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import main
from bench.harness.schemas import check_result
from bench.registry import BENCHES
from shards.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_look")


def document_of(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_benches_are_listed(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in BENCHES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decod"], "no bench is called 'decod': choose from decode, loader, "),
        (["decode"], "give --photos DIR, --megapixels"),
        (["decode", "--photos", "nowhere"], "--photos nowhere: no such folder"),
        (["decode", "--megapixels", "3", "--crops", "0"], "--crops 0: all must be above 0"),
        (["decode", "--megapixels", "3", "--crops", "1.5"], "must be whole numbers"),
        (["decode", "--megapixels", "x"], "--megapixels x: must be numbers"),
        (["decode", "--megapixels", "900"], "must be from 0.1 to 200"),
        (["decode", "--megapixels", "3", "--threads", "4096"], "--threads 4096: this process may use only"),
        (["decode", "--megapixels", "3", "--rounds", "0"], "--rounds 0: must be at least 1"),
        (["decode", "--megapixels", "3", "--images", "1"], "--images 1: must be at least 2"),
        (["decode", "--megapixels", "3", "--methods", "magic"], "'magic' is unknown: choose from"),
        (["decode", "--megapixels", "3", "--output", __file__], "is a file: give a folder"),
        (["decode", "--seconds-per-cell", "5"], "--seconds-per-cell works with --formats only"),
        (["build"], "nothing to measure on"),
        (["loader", "--data", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_get_one_sentence(arguments, message):
    with pytest.raises(InputError) as caught:
        main(arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ["loader", "--data", "{data}"],
        ["decode", "--megapixels", "3"],
        ["build", "--megapixels", "3"],
        ["remote", "--data", "{data}"],
        ["soak"],
        ["scale"],
        ["doctor"],
        ["memory"],
        ["train", "--data", "{data}"],
    ],
)
def test_a_folder_that_takes_no_result_is_reported_before_measuring(synthetic_shards, tmp_path, words):
    file = tmp_path / "file"
    file.write_text("mine")
    words = [word.format(data=synthetic_shards) for word in words]
    started = time.monotonic()
    for output in ("/proc/x", "/proc", f"{file}/x"):
        with pytest.raises(InputError, match=r"cannot be written to .*: give another --output"):
            main([*words, "--output", output])
    assert time.monotonic() - started < 10
    assert file.read_text() == "mine"


def test_a_mistake_ends_with_exit_code_2():
    command = [sys.executable, "-m", "bench", "magic"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    names = ", ".join(BENCHES)
    assert done.stderr == f"error: no bench is called 'magic': choose from {names}\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_decode_measures_photographs_and_sizes(tmp_path, capsys):
    photographs = tmp_path / "photos"
    photographs.mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(noise).resize((1200, 900)).save(photographs / f"{number}.jpg")
    Image.fromarray(noise).resize((1200, 900)).save(photographs / "left-out.png")
    code = main(
        [
            "decode",
            "--photos",
            str(photographs),
            "--megapixels",
            "0.2,0.8",
            "--images",
            "2",
            "--crops",
            "4",
            "--threads",
            "1",
            "--rounds",
            "2",
            "--seconds-per-round",
            "0.05",
            "--methods",
            "recipe,window,precut",
            "--output",
            str(tmp_path / "out"),
            "--cache",
            str(tmp_path / "cache"),
        ]
    )
    assert code == 0
    document = document_of(capsys)
    check_result("decode", document)
    assert document["failed"] == document["skipped"] == {}
    cells = {(r["method"], r["num_crops"], r["images"], r["megapixels"]) for r in document["rows"]}
    assert len(cells) == len(document["rows"]) == 3 * 3
    assert document["image_sets"][0]["skipped"] == {"not a JPEG but png": 1}
    names = set(document["ratios"])
    assert {
        "window_over_recipe",
        "window_over_precut@0.2mp",
        "window_0.8mp_over_0.2mp",
        "entry_points_share_median",
    } <= names
    assert not any("@photographs" in name for name in names)
    by_method = {row["method"]: row for row in document["rows"] if row["images"] == "photographs"}
    assert by_method["window"]["windowed_share"] == 1
    assert by_method["window"]["images_per_s"] > by_method["recipe"]["images_per_s"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"decode.json", "decode-megapixels-1-threads.svg"} <= written
    assert len(list((tmp_path / "cache").iterdir())) == 4


@pytest.mark.slow
def test_loader_measures_shards_that_exist(synthetic_shards, capsys):
    code = main(
        [
            "loader",
            "--data",
            str(synthetic_shards),
            "--split",
            "train",
            "--threads",
            "1",
            "--decode",
            "auto,full",
            "--backends",
            "turbo",
            "--crops",
            "2",
            "--rounds",
            "2",
            "--seconds-per-round",
            "0.05",
            "--batch-size",
            "4",
        ]
    )
    assert code == 0
    document = document_of(capsys)
    check_result("loader", document)
    assert [row["method"] for row in document["rows"]] == ["auto/turbo", "full/turbo"]
    assert "auto_over_full@turbo@2crops" in document["ratios"]
    assert all(row["decode_ms"] > 0 for row in document["rows"])


@pytest.mark.slow
def test_build_measures_entry_points(tmp_path, capsys):
    code = main(["build", "--megapixels", "0.2", "--images", "2", "--rounds", "2", "--seconds-per-round", "0.05"])
    assert code == 0
    document = document_of(capsys)
    check_result("build", document)
    assert {row["method"] for row in document["rows"]} == {"pillow_decode", "entry_points", "build_sample"}
    assert document["ratios"]["build_sample_time_over_pillow_decode"] > 0.1


@pytest.mark.slow
def test_remote_counts_the_bytes_of_both_ways(synthetic_shards, capsys, monkeypatch):
    monkeypatch.setenv("GLASS_CACHE_DIR", "put back afterwards")
    assert main(["remote", "--data", str(synthetic_shards), "--links", "0:1000"]) == 0
    document = document_of(capsys)
    check_result("remote", document)
    assert [row["method"] for row in document["rows"]] == ["range", "whole"]
    assert "range_over_whole_bytes_read_per_image@0ms@1000mbit" in document["ratios"]


@pytest.mark.slow
def test_soak_reports_its_observations(tmp_path, capsys):
    """The soak test is too short for a reliable verdict, but long enough to write a complete document."""
    words = ["soak", "--minutes", "0.1", "--no-training", "--output", str(tmp_path)]
    assert main(words) in (0, 1)
    document = document_of(capsys)
    check_result("soak", document)
    assert document["soak"]["images"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"soak.json", "soak.png", "soak.svg"}
