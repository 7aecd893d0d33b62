"""Photographs as scenes: renditions of one picture share a group, and bad files do not affect others."""

import csv

import numpy as np
import pytest
from PIL import Image

from scripts.demo_images import photos as photographs
from scripts.demo_images import plan
from scripts.demo_images.encoding import draw_size
from scripts.make_demo import main
from shards.errors import InputError

SIDES = (190, 130)


@pytest.fixture(autouse=True)
def hundredth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduces the pixels of images, and the minimum number of pixels of photographs, to a hundredth."""
    monkeypatch.setattr(photographs, "MIN_PIXELS", photographs.MIN_PIXELS // 100)
    monkeypatch.setattr(plan, "draw_size", lambda rng: tuple(side // 10 for side in draw_size(rng)))


def picture(seed: int) -> Image.Image:
    """A picture of blocks of random colours, which is unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (13, 19, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIDES, Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of four pictures, an enlarged, a cropped, a linked and a smaller version of the first, and files that
    cannot be used."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(4):
        picture(seed).save(folder / f"picture-{seed}.jpg", quality=85)
    first = picture(0)
    (folder / "more").mkdir()
    wide, high = SIDES
    enlarged = first.resize((wide * 5 // 4, high * 5 // 4), Image.Resampling.BICUBIC)
    enlarged.save(folder / "more" / "enlarged.png")
    first.crop((0, 0, wide, high * 98 // 100)).save(folder / "more" / "cropped.jpg", quality=70)
    (folder / "more" / "link.jpg").symlink_to(folder / "picture-0.jpg")
    first.resize((180, 130)).save(folder / "small.jpg")
    (folder / "cut.jpg").write_bytes((folder / "picture-1.jpg").read_bytes()[:3000])
    (folder / "text.jpg").write_text("not an image", encoding="utf-8")
    return folder


def test_renditions_of_one_picture_share_a_group(photos, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main([str(out), "--photos", str(photos), "--images", "12", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "smaller than" in printed
    assert "cannot be read" in printed
    with (out / "images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert len({row["group"] for row in rows}) == 4  # not six: three files show picture 0
    for row in rows:
        with Image.open(out / row["path"]) as image:
            image.load()
    assert "photographs" in (out / "README.txt").read_text(encoding="utf-8")


def test_too_few_different_pictures_are_an_error(photos, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    for name in ("picture-0.jpg", "picture-1.jpg"):
        (one / name).write_bytes((photos / name).read_bytes())
    with pytest.raises(InputError, match="2 usable pictures that differ, but at least 3"):
        main([str(tmp_path / "out"), "--photos", str(one), "--images", "12", "--workers", "1"])
    assert not (tmp_path / "out").exists()
