"""Demo images: the same seed gives the same bytes, and each mistake gets one sentence."""

import csv
import hashlib

import pytest
from PIL import Image

from scripts.demo_images import plan
from scripts.demo_images.readmes import SIMULATION_NOTE
from scripts.make_demo import main
from shards.errors import InputError
from shards.sources.read import read_sources


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


SIZE = (92, 70)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder of demo images with about a hundredth of the normal number of pixels, because full-size images take
    seconds."""
    out = tmp_path_factory.mktemp("demo") / "images"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "draw_size", lambda rng: SIZE)
        assert main([str(out), "--images", "12", "--seed", "3", "--workers", "1"]) == 0
    return out


def test_images_have_a_half_to_two_megapixels():
    renditions = [rendition for job in plan.plan_drawn(120, 3) for rendition in job.renditions]
    assert len(renditions) == 120
    assert all(0.5e6 < rendition.width * rendition.height < 2.2e6 for rendition in renditions)
    assert len({(rendition.width, rendition.height) for rendition in renditions}) > 10


def test_list_and_folders_agree(demo):
    """Half of the images are real, the others come from three generators. Sizes are as planned, and each image has a
    group."""
    with (demo / "images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    real = [row for row in rows if not row["generator"]]
    assert len(real) == 6
    assert len({row["generator"] for row in rows if row["generator"]}) == 3
    for row in rows:
        assert row["group"]
        folder = f"generated/{row['generator']}/" if row["generator"] else "real/"
        assert row["path"].startswith(folder)
        with Image.open(demo / row["path"]) as image:
            assert image.size == SIZE
    assert "simulat" in (demo / "README.txt").read_text(encoding="utf-8")
    for source in (demo, demo / "images.csv"):
        assert read_sources(source).dataset_note() == SIMULATION_NOTE


@pytest.mark.slow
def test_bytes_depend_on_the_seed_alone(tmp_path):
    """The bytes do not depend on the number of workers. Another seed gives other images."""
    for workers in ("1", "2"):
        assert main([str(tmp_path / workers), "--images", "12", "--seed", "3", "--workers", workers]) == 0
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    assert main([str(tmp_path / "other"), "--images", "12", "--seed", "4", "--workers", "2"]) == 0
    assert not set(digests(tmp_path / "other").values()) & {
        value for name, value in digests(tmp_path / "1").items() if name.endswith((".jpg", ".png", ".webp"))
    }


def test_a_folder_that_is_made_stays(demo, monkeypatch, capsys):
    monkeypatch.setattr(plan, "draw_size", lambda rng: SIZE)
    before = digests(demo)
    command = [str(demo), "--images", "12", "--workers", "1", "--seed"]
    assert main([*command, "3"]) == 0
    assert capsys.readouterr().out == f"{demo} is already made, nothing to do\n"
    with pytest.raises(InputError, match="is not empty: give a new folder"):
        main([*command, "4"])
    image = next((demo / "real").iterdir())
    content = image.read_bytes()
    image.unlink()
    with pytest.raises(InputError, match="is not empty: give a new folder"):
        main([*command, "3"])
    image.write_bytes(content)
    assert digests(demo) == before


def test_mistakes_are_one_sentence(demo, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments in (
        [str(demo)],  # not empty
        [str(tmp_path / "a"), "--images", "1"],
        [str(tmp_path / "b"), "--photos", str(tmp_path / "missing")],
        [str(tmp_path / "c"), "--photos", str(empty)],
    ):
        with pytest.raises((InputError, SystemExit)):
            main(arguments)
    assert not (tmp_path / "b").exists()
