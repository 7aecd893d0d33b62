"""Sources that lose images: the build stops if it loses a whole class or a split that the source gives."""

from pathlib import Path

import pytest

from scripts.build_shards import main as build_shards
from scripts.index_shards import main as index_shards
from shards.errors import InputError
from shards.files.parquet_file import read_parquet
from tests.images.labelled_tars import picture as coded
from tests.images.labelled_tars import write_tar
from tests.images.layouts import picture

SAID = ["--global-size", "16", "--workers", "1"]


def write(root: Path, *folders: str, most: int = 3, spoil: str = "") -> Path:
    """Writes ``most`` images to each of ``folders``. Those in the folder called ``spoil`` are cut off."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for place in range(most):
            path = root / folder / f"{place}.png"
            picture(number, place).save(path)
            if folder == spoil:
                path.write_bytes(path.read_bytes()[:60])
    return root


@pytest.mark.parametrize("word", [pytest.param("real", marks=pytest.mark.slow), "fake"])  # classes count alike
def test_a_class_without_an_image_that_can_be_read_ends_the_build(word: str, tmp_path: Path) -> None:
    source, out = write(tmp_path / "in", "real", "fake", spoil=word), tmp_path / "out"
    name = "generated" if word == "fake" else word
    for _ in range(2):  # the same when it is run again
        with pytest.raises(
            InputError, match=rf"none of the 3 {name} images was accepted \(3 \w+\): fix or leave out .*rejected\.pa"
        ):
            build_shards([str(source), str(out), *SAID])
    assert not (out / "dataset.json").exists()
    rejected = read_parquet(out / "rejected.parquet").to_pylist()
    assert {row["source_path"] for row in rejected} == {f"{word}/{n}.png" for n in range(3)}


def test_a_class_that_is_lost_before_the_work_ends_it_there(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in", "real", "fake"), tmp_path / "out"
    for path in (source / "fake").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of the 3 generated images was accepted \(3 not_an_image\)"):
        build_shards([str(source), str(out), *SAID])
    assert not list(out.glob("*.tar"))
    assert read_parquet(out / "rejected.parquet").num_rows == 3


@pytest.mark.parametrize(
    ("split", "bad"),
    [
        ("test", b""),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("train", b""), ("train", b"no image"), ("test", b"no image"))
        ),
    ],
)
def test_a_given_split_without_an_image_ends_the_build(split: str, bad: bytes, tmp_path: Path) -> None:
    folders = [f"{name}/{word}" for name in ("train", "test") for word in ("real", "fake")]
    source = write(tmp_path / "in", *folders)
    for path in (source / split).rglob("*.png"):
        path.write_bytes(bad or path.read_bytes()[:60])
    with pytest.raises(InputError, match=rf"none of the 6 images given to the split {split} was accepted"):
        build_shards([str(source), str(tmp_path / "out"), *SAID])
    assert build_shards([str(source), str(tmp_path / "drawn"), *SAID, "--no-given-split"]) == 0


def test_a_split_of_which_all_images_are_in_another_ends_the_build(tmp_path: Path) -> None:
    source = write(tmp_path / "in", "train/real", "train/fake")
    (source / "test").symlink_to(tmp_path / "copy")
    write(tmp_path / "copy", "real", "fake")
    with pytest.raises(InputError, match=r"6 images given to the split train was accepted \(6 duplicate_split\)"):
        build_shards([str(source), str(tmp_path / "out"), *SAID])


def test_nothing_left_at_all_ends_the_build(tmp_path: Path) -> None:
    source = write(tmp_path / "in", "real", "fake")
    for path in source.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"not one of 6 images was accepted \(6 not_an_image\)"):
        build_shards([str(source), str(tmp_path / "out"), *SAID])


def test_a_bad_image_of_each_class_and_split_ends_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "in", *(f"{name}/{word}" for name in ("train", "test") for word in ("real", "fake")))
    for path in source.rglob("0.png"):
        path.write_bytes(b"no image")
    assert build_shards([str(source), str(tmp_path / "out"), *SAID]) == 0


@pytest.mark.parametrize("bad", ["all of one class", "all of one split"])
def test_tars_that_lose_a_class_or_a_split_are_refused(bad: str, tmp_path: Path) -> None:
    for place, split in enumerate(("train", "test")):
        members = []
        for n in range(4):
            lost = n % 2 == 1 if bad == "all of one class" else split == "test"
            data = coded(10 * place + n)
            members += [(f"{n}.jpg", data[: len(data) // 2] if lost else data), (f"{n}.cls", b"%d" % (n % 2))]
        write_tar(tmp_path / f"in/{split}-0.tar", members)
    message = "none of the 4 generated images" if bad == "all of one class" else "given to the split test was accepted"
    with pytest.raises(InputError, match=message):
        index_shards([str(tmp_path / "in"), *SAID])
    assert not (tmp_path / "in/dataset.json").exists()
    write_tar(tmp_path / "in/test-0.tar", [("a.jpg", b"no image"), ("a.cls", b"1")])
    with pytest.raises(InputError, match="no image was accepted from the tars named test"):
        index_shards([str(tmp_path / "in"), *SAID, "--out", str(tmp_path / "out")])
