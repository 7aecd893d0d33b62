"""Words for the classes in tars made elsewhere mean the same as in folders of images, and none swaps the labels."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from scripts.index_shards import main
from shards.adopt.label_words import LabelWords, split_of_name
from shards.adopt.settings import parse_values
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.images.labelled_tars import Members, as_json, index, labelled, labels, picture, write_tar
from tests.shards.adopt.test_foreign_tars import image, taken_in

TRUE = {image(n): n % 2 for n in range(6)}


def samples(place: str, names: tuple[str, str]) -> Members:
    """Returns six samples labelled by ``place`` (folder, json or a member). ``names`` are the words for (real,
    generated)."""
    members: Members = []
    for n in range(6):
        key = f"{names[n % 2]}/{n}" if place == "folder" else str(n)
        members.append((f"{key}.jpg", image(n)))
        if place == "json":
            members += as_json(key, label=names[n % 2])
        elif place != "folder":
            members.append((f"{key}.{place}", names[n % 2].encode()))
    return members


PAIRS = [("nature", "ai"), ("0_real", "1_fake"), ("1_real", "0_fake"), ("Photo", "Synthetic"), ("REAL images", "AIGC")]


@pytest.mark.parametrize("place", ["cls", "json", "txt", "folder", "list"])
@pytest.mark.parametrize("names", PAIRS, ids=" ".join)
def test_words_mean_what_they_say_wherever_they_stand(place: str, names: tuple[str, str], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"txt": {"label_from": "txt"}}.get(place, {})
    members = samples("cls" if place == "list" else place, names)
    if place == "list":
        members = [member for member in members if member[0].endswith(".jpg")]
        settings["label_from"] = str(tmp_path / "list.csv")
        (tmp_path / "list.csv").write_text("key,label\n" + "".join(f"{n},{names[n % 2]}\n" for n in range(6)))
    assert taken_in([write_tar(tmp_path / "a.tar", members)], **settings) == TRUE


def test_a_word_that_stands_nowhere_is_a_mistake(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", samples("cls", ("nature", "ai")))
    with pytest.raises(InputError, match="--label natur=real: no folder and no label is called 'natur'"):
        index(tar, out=tmp_path / "out", values={"natur": 0})
    assert not (tmp_path / "out/dataset.json").exists()


@pytest.mark.parametrize("name", ["real-esrgan-0", "RealSR_x4", "realvis-00"])
def test_a_network_whose_name_begins_with_real_says_nothing(name: str) -> None:
    assert LabelWords().of_tar(f"{name}.tar") is None
    assert LabelWords({"esrgan": 1, "realsr": 1, "realvis": 1}).of_tar(f"{name}.tar").label == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pair", "swapped"),
    [
        (("fake/{}.tar", "real/{}.tar"), False),
        (("deep/er/1_fake/{}.tar", "deep/0_real/er/{}.tar"), True),
        pytest.param(("fake/{}.tar", "real/{}.tar"), True, marks=pytest.mark.slow),
        pytest.param(("deep/er/1_fake/{}.tar", "deep/0_real/er/{}.tar"), False, marks=pytest.mark.slow),
    ],
)
def test_numbers_that_tars_contradict_stop(pair: tuple[str, str], swapped: bool, tmp_path: Path) -> None:
    """Numbers that contradict the names of the tars or of their folders stop indexing. Tars are found at any depth."""
    for label, name in zip((1, 0), pair, strict=True):
        members = labelled(10 * label, 4)
        cls = [(member, b"%d" % (label ^ swapped) if member.endswith(".cls") else data) for member, data in members]
        write_tar(tmp_path / "in" / name.format("00000"), cls)
    if swapped:
        with pytest.raises(InputError, match=r"differ from the names of the tars or of their folders in 8 .*--label"):
            index(tmp_path / "in", out=tmp_path / "out")
    assert len(index(tmp_path / "in", out=tmp_path / "out", values={"1": 0} if swapped else {})) == 8
    found = taken_in([tmp_path / "in"], **({"values": parse_values([], [], ["1=real"])} if swapped else {}))
    assert found == {picture(10 * label + n): label for label in range(2) for n in range(4)}


@pytest.mark.parametrize(
    ("names", "labels_given"),
    [
        (("train_real_0001.tar", "train_fake_0001.tar"), []),
        (("nature-000.tar", "train-ai-000.tar"), []),
        (("x/real/a/000.tar", "x/fake/sd/000.tar"), []),
        (("coco_000.tar", "sdxl_000.tar"), ["coco=real", "sdxl=generated"]),
        (("coco/000.tar", "sdxl/000.tar"), ["coco=real", "SDXL=generated"]),
        (("ai/000.tar", "midjourney/000.tar"), ["ai=real", "midjourney=generated"]),
    ],
)
def test_a_class_per_tar(names: tuple[str, str], labels_given: list[str], tmp_path: Path) -> None:
    for label, name in enumerate(names):
        write_tar(tmp_path / "in" / name, [(f"{n}.jpg", image(n)) for n in range(label, 6, 2)])
    assert taken_in([tmp_path / "in"], values=parse_values([], [], labels_given)) == TRUE


@pytest.mark.parametrize("names", [("real-0", "not_real-0", "fake-0"), ("real-0", "fake-0", "x/non-fake-0")])
def test_a_tar_that_is_named_by_what_it_is_not_stops(names: tuple[str, ...], tmp_path: Path) -> None:
    for n, name in enumerate(names):
        write_tar(tmp_path / f"in/{name}.tar", [(f"{n}.jpg", image(n))])
    with pytest.raises(InputError, match=r"(not_real|non-fake)-0.tar: neither its name nor its folders name a class"):
        taken_in([tmp_path / "in"])


@pytest.mark.parametrize(
    ("members", "given", "message"),
    [
        (
            samples("folder", ("real", "fake/human")),
            [],
            r"stand for both classes \(fake = generated and human = real\)",
        ),
        (samples("folder", ("real", "fake/human")), ["fake=generated", "real=real"], ""),
        (samples("folder", ("coco", "sdxl")), [], "nothing says .* or use --label WORD=real"),
        (samples("folder", ("coco", "sdxl")), ["coco=real", "sdxl=fake"], ""),
        (samples("folder", ("real/1", "fake/0")), [], ""),  # numbers below words are no labels
        (samples("folder", ("real/1", "fake/0")), ["0=real"], ""),
        (samples("cls", ("1", "0")), ["1=real"], ""),
        (samples("cls", ("1", "0")), ["0=generated"], ""),
        (samples("cls", ("2", "0")), ["2=real"], "all|means neither|"),
        (samples("cls", ("real", "edited")), [], "the label 'edited' means neither real nor generated: use --label"),
        (samples("json", ("nature", "ai")), ["nature=fake", "ai=real"], "swapped"),
    ],
)
def test_what_a_person_says_counts(members: Members, given: list[str], message: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", members)
    values = parse_values([], [], given)
    if message == "swapped":  # by the person, who has the last word
        assert taken_in([path], values=values) == {key: 1 - label for key, label in TRUE.items()}
    elif message == "all|means neither|":  # 0 is real where another number is, too
        assert set(taken_in([path], values=values).values()) == {0}
        with pytest.raises(InputError, match="all images in the tars are real"):
            index(path, values=values)
    elif message:
        with pytest.raises(InputError, match=message):
            taken_in([path], values=values)
    else:
        assert taken_in([path], values=values) == TRUE


def test_words_of_scenes_do_not_go_before_words_of_classes(tmp_path: Path) -> None:
    """The word ``human`` in a .json may say what the image shows, so the class names of the folders take precedence."""
    members: Members = []
    for n in range(6):
        key = f"{('real', 'fake')[n % 2]}/{n}"
        members += [(f"{key}.jpg", image(n)), *as_json(key, label="human")]
    assert taken_in([write_tar(tmp_path / "a.tar", members)]) == TRUE
    captions = [(f"{n}.txt", b"photo") for n in range(6)]
    assert taken_in([write_tar(tmp_path / "b.tar", samples("cls", ("0", "1")) + captions)]) == TRUE


def test_generators_stand_below_the_class(tmp_path: Path) -> None:
    names = ["real/train/0", "1_fake/train/sdxl/1", "1_fake/images/2"]
    found = labels(index(write_tar(tmp_path / "a.tar", [(f"{name}.jpg", picture(n)) for n, name in enumerate(names)])))
    assert [found[name] for name in names] == [(0, ""), (1, "sdxl"), (1, "unknown")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-000.tar", "train"),
        ("val_real/00000.tar", "valid"),
        ("a/Testing/fake-0.tar", "test"),
        ("train/test-0.tar", "test"),
        ("train/test/0.tar", None),
        ("trains/0.tar", None),
    ],
)
def test_splits_by_names_and_folders_of_tars(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


def test_folders_of_tars_give_their_splits(tmp_path: Path) -> None:
    for n, name in enumerate(("train/real/0", "train/fake/0", "test/real/0", "test/fake/0")):
        write_tar(tmp_path / "in" / f"{name}.tar", [(f"{i}.jpg", picture(10 * n + i)) for i in range(2)])
    dataset = index(tmp_path / "in", out=tmp_path / "out")
    assert {split: counts.samples for split, counts in dataset.info.counts.items()} == {"train": 4, "test": 4}
    found = {row["source_path"]: (row["label"], row["split"]) for row in dataset.table.to_pylist()}
    assert found["../in/test/fake/0.tar/1.jpg"] == (1, "test")


def test_compressed_tars_are_refused_with_what_to_do(tmp_path: Path) -> None:
    plain = write_tar(tmp_path / "in/a/a.tar", labelled(0))
    for name, mode, command in (
        ("b.tar.gz", "w:gz", "gunzip"),
        ("b.tgz", "w:gz", "gunzip"),
        ("b.tar.xz", "w:xz", "unxz"),
    ):
        packed = tmp_path / "in/a" / name
        with tarfile.open(packed, mode) as tar:
            tar.add(plain, "x.jpg")
        for given in (packed, tmp_path / "in"):
            with pytest.raises(
                InputError, match=rf"{name} is .*: unpack it to a plain .tar first \({command} '.*{name}'"
            ):
                taken_in([given])
        packed.unlink()
    with tarfile.open(tmp_path / "in/a/a.tar.gz", "w:gz") as tar:
        tar.add(plain, "x.jpg")
    assert len(taken_in([tmp_path / "in"])) == 6  # it lies there unpacked


def test_label_is_the_one_way_and_the_others_are_the_same() -> None:
    expected = {"nature": 0, "1": 0, "ai": 1}
    assert parse_values(["nature", "1"], ["ai"]) == expected
    assert parse_values([], [], ["nature=real", "true=real", "AI=fake"]) == expected
    assert parse_values(["1"], [], ["nature=real", "ai=generated"]) == expected
    with pytest.raises(InputError, match="--label ai=generated: --real names 'ai' too"):
        parse_values(["ai"], [], ["ai=fake"])
    words = LabelWords(expected)
    assert [words.of_value(text) for text in ("Nature ", "AI", "1", "0", "x" * 200)] == [0, 1, 0, 1, None]
    assert [LabelWords({"0": 1, "2": 0}).of_value(text) for text in "012"] == [1, 1, 0]  # 1 as nobody said otherwise


def test_a_dry_run_says_what_was_understood_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, members in {
        "train/nature-0.tar": [("a.jpg", picture(0)), ("b.jpg", picture(1)), ("readme", b"")],
        "train/ai/sdxl/0.tar": [("a.jpg", picture(2)), ("b.jpg", b"no image"), ("c.seg.png", b"x")],
        "test/real_0.tar": [("a.jpg", picture(3))],
        "test/fake_0.tar": [("a.jpg", picture(4, "PNG"))],
    }.items():
        write_tar(tmp_path / "in" / name, members)
    before = sorted(tmp_path.rglob("*"))
    assert main([str(tmp_path / "in"), "--dry-run", "--global-size", "32"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sorted(tmp_path.rglob("*")) == before
    assert said == [
        "4 tars, 5 images: 3 real and 2 generated",
        "  labels by tar: 'ai' = generated (1), 'fake' = generated (1), 'nature' = real (2), 'real' = real (1); "
        "0 = real, 1 = generated",
        "",
        "  test/fake_0.tar              1  0 real and 1 generated",
        "  test/real_0.tar              1  1 real and 0 generated",
        "  train/ai/sdxl/0.tar          1  0 real and 1 generated",
        "  train/nature-0.tar           2  2 real and 0 generated",
        "",
        "  generators sdxl 1, unknown 1",
        "  splits     train 3, test 2 (from the names of the tars or a list)",
        "  formats    JPEG 4, PNG 1",
        "  left out   1 image, not_an_image: the file is not in a supported image format, for example "
        "train/ai/sdxl/0.tar/b",
        "  left out   1 image, no_image: the sample has no image with a wanted extension, for example "
        "train/ai/sdxl/0.tar/c.seg.png",
        "  skipped 1 file outside of samples",
    ]
    assert main([str(tmp_path / "in"), "--workers", "1", "--global-size", "32"]) == 0
    counts = ShardDataset.open(tmp_path / "in").info.counts  # in the folder that was given
    assert {split: found.samples for split, found in counts.items()} == {"train": 3, "test": 2}


def test_a_dry_run_stops_where_the_work_would(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.jpg", picture(0)), ("a.cls", b"0")])
    with pytest.raises(InputError, match="all images in the tars are real"):
        main([str(tmp_path), "--dry-run"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
