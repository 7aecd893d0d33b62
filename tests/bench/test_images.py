"""The images that benches measure on: photographs found in a folder, and synthetic ones."""

import numpy as np
import pytest
from PIL import Image

from bench.corpora.photographs import find_photographs
from bench.corpora.synthetic import MIN_BITS_PER_PIXEL, synthetic_photographs
from shards.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a JPEG, links to it, a copy of it, a grey JPEG, a PNG, a thumbnail, a CMYK JPEG, a broken file and
    a text file."""
    root = tmp_path_factory.mktemp("photographs") / "photos"
    (root / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)

    def save(name: str, mode: str = "RGB", size: tuple[int, int] = (400, 300)) -> None:
        noise = rng.integers(0, 255, (size[1] // 100, size[0] // 100, 3), np.uint8)
        Image.fromarray(noise).resize(size).convert(mode).save(root / name)

    save("b.jpg")
    save("sub/a.JPEG", "L")
    save("c.png")
    save("small.jpg", size=(300, 200))
    save("print.jpg", "CMYK")
    (root / "copy.jpg").write_bytes((root / "b.jpg").read_bytes())
    (root / "sub/link.jpg").symlink_to(root / "b.jpg")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff rubbish")
    (root / "sub/gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "notes.txt").write_text("not an image")
    return root


def test_each_photograph_counts_once(folder):
    found = find_photographs(folder, min_megapixels=0.1)
    assert [path.name for path in found.paths] == ["b.jpg", "a.JPEG"]
    assert found.skipped == {
        "copy of another file": 1,
        "not a JPEG but png": 1,
        "below 0.1 megapixels": 1,
        "CMYK, which decoders convert differently": 1,
        "unreadable": 1,
    }


def test_links_to_photographs_elsewhere_are_photographs(folder, tmp_path):
    elsewhere = tmp_path / "links"
    elsewhere.mkdir()
    for name in ("one.jpg", "two.jpg"):
        (elsewhere / name).symlink_to(folder / "b.jpg")
    assert find_photographs(elsewhere, 0).paths == [(folder / "b.jpg").resolve()]


def test_a_folder_without_photographs_is_a_mistake(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_photographs(tmp_path / "nowhere", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no JPEG"):
        find_photographs(tmp_path / "empty", 1)
    with pytest.raises(InputError, match="3 below 50 megapixels"):
        find_photographs(folder, 50)


def test_synthetic_photographs_have_a_photograph_s_entropy_at_every_size(tmp_path):
    bits = {}
    for size in (0.1, 0.4):
        (path,) = synthetic_photographs(tmp_path, size, 1, seed=0)
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert not image.info.get("progressive")
            assert image.width * image.height == pytest.approx(size * 1e6, rel=0.05)
            bits[size] = 8 * path.stat().st_size / (image.width * image.height)
    assert min(bits.values()) >= MIN_BITS_PER_PIXEL
    assert bits[0.1] == pytest.approx(bits[0.4], rel=0.2)


def test_synthetic_photographs_are_drawn_once(tmp_path):
    """The same seed gives the same bytes, and files that are already in the folder are not drawn again."""
    first = synthetic_photographs(tmp_path / "a", 0.1, 2, seed=3)
    again = synthetic_photographs(tmp_path / "b", 0.1, 2, seed=3)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert first[0].read_bytes() != first[1].read_bytes()
    other = synthetic_photographs(tmp_path / "b", 0.1, 1, seed=4)
    assert other[0].read_bytes() != first[0].read_bytes()
    stamp = first[0].stat().st_mtime_ns
    synthetic_photographs(tmp_path / "a", 0.1, 2, seed=3)
    assert first[0].stat().st_mtime_ns == stamp
