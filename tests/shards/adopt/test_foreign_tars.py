"""Tars by other programs, in their various layouts: each image is taken in with its own label and bytes."""

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from webdataset import TarWriter

from shards.adopt.examine import examine_tar, guess_rules
from shards.adopt.settings import IndexSettings, parse_values
from shards.adopt.tar_names import find_tars, name_tars
from tests.images.labelled_tars import Members, as_json, picture, write_tar

Sample = Callable[[int, int], Members]
"""A function (number, label) → the members of a sample whose image is ``image(number)``."""


def image(number: int) -> bytes:
    return picture(number)


def cls(key: str, text: object, suffix: str = "jpg") -> Callable[[int, int], Members]:
    """Returns a function that makes samples whose ``.cls`` member holds ``text``, formatted with the label."""

    def make(n: int, y: int) -> Members:
        name = key.format(n=n)
        return [(f"{name}.{suffix}", image(n)), (f"{name}.cls", str(text).format(y=y).encode())]

    return make


def says(suffix: str, content: Callable[[int], bytes], key: str = "{n:05d}") -> Sample:
    def make(n: int, y: int) -> Members:
        name = key.format(n=n)
        return [(f"{name}.jpg", image(n)), (f"{name}.{suffix}", content(y))]

    return make


def folder(real: str, fake: str, suffix: str = "jpg") -> Sample:
    return lambda n, y: [(f"{(real, fake)[y]}/{n}.{suffix}", image(n))]


def json_of(**values: Callable[[int], object]) -> Sample:
    def make(n: int, y: int) -> Members:
        fields = {name: value(y) for name, value in values.items()}
        return [(f"{n}.jpg", image(n)), *as_json(str(n), **fields)]

    return make


WORDS = ("real", "fake")

LAYOUTS: dict[str, tuple[Sample, dict[str, Any]]] = {
    "cls": (cls("{n:06d}", "{y}"), {}),
    "cls, a line": (cls("{n:06d}", "{y}\n"), {}),
    "cls, decimals": (cls("{n:06d}", "{y}.0"), {}),
    "cls, words": (says("cls", lambda y: WORDS[y].encode()), {}),
    "cls, own words": (says("cls", lambda y: (b"nature", b"ai")[y]), {"values": parse_values(["nature"], ["ai"])}),
    "cls, own numbers": (says("cls", lambda y: (b"7", b"9")[y]), {"values": parse_values(["7"], ["9"])}),
    "cls swapped, by the person": (says("cls", lambda y: b"%d" % (1 - y)), {"values": parse_values(["1"], ["0"])}),
    "cls before the image": (lambda n, y: cls("{n}", "{y}")(n, y)[::-1], {}),
    "cls, jpeg": (cls("{n}", "{y}", "jpeg"), {}),
    "cls, JPG": (cls("{n}", "{y}", "JPG"), {}),
    "cls, a name that lies about the format": (cls("{n}", "{y}", "png"), {}),
    "cls, ./ in front": (cls("./a/{n}", "{y}"), {}),
    "cls, folders": (cls("part-{n}/deep/er/{n}", "{y}"), {}),
    "cls, a dot in a folder": (cls("v1.5/{n}", "{y}"), {}),
    "cls, spaces and letters": (cls("a b/Bild №{n} 像", "{y}"), {}),
    "cls, long names": (cls("n" * 150 + "/{n}" + "m" * 120, "{y}"), {}),
    "cls, a mask beside": (lambda n, y: [*cls("{n}", "{y}")(n, y), (f"{n}.seg.png", b"not looked at")], {}),
    "cls, dots in names": (cls("sd1.{n}_0001", "{y}"), {"last_dot": True}),
    "cls, a compound extension": (cls("{n}", "{y}", "image.jpg"), {"image_ext": ("image.jpg",)}),
    "cls, the second image": (
        lambda n, y: [(f"{n}.png", picture(90 + n)), *cls("{n}", "{y}")(n, y)],
        {"image_ext": ("jpg", "png")},
    ),
    "cls, what macOS adds": (lambda n, y: [(f"._{n}.jpg", b"\0\5\26\7"), *cls("{n}", "{y}")(n, y)], {}),
    "txt": (says("txt", lambda y: (b" Real\n", b"FAKE")[y]), {"label_from": "txt"}),
    "a caption beside cls": (lambda n, y: [*cls("{n}", "{y}")(n, y), (f"{n}.txt", b"a photo of a cat")], {}),
    "json, numbers": (json_of(label=lambda y: y), {}),
    "json, decimals": (json_of(label=float), {}),
    "json, true and false": (json_of(label=bool), {}),
    "json, text": (json_of(label=str), {}),
    "json, words": (json_of(label=lambda y: WORDS[y]), {}),
    "json, class_name": (json_of(class_name=lambda y: ("Real", "Generated")[y]), {}),
    "json, class_name beside another label": (json_of(label=lambda y: 281 + y, class_name=lambda y: WORDS[y]), {}),
    "json, another field": (json_of(target=lambda y: y, label=lambda y: "cat"), {"label_from": "json:target"}),
    "json, deep": (json_of(meta=lambda y: {"ai": bool(y)}), {"label_from": "json:meta.ai"}),
    "json, is_real": (
        json_of(is_real=lambda y: not y),
        {"label_from": "json:is_real", "values": parse_values(["true"], ["false"])},
    ),
    "cls beside a json of other things": (
        lambda n, y: [*cls("{n}", "{y}")(n, y), *as_json(str(n), label="tabby cat", width=7)],
        {},
    ),
    "cls beside a json number that is another thing": (
        lambda n, y: [*cls("{n}", "{y}")(n, y), *as_json(str(n), label=n)],
        {},
    ),
    "cls beside a json number that never changes": (
        lambda n, y: [*cls("{n}", "{y}")(n, y), *as_json(str(n), label=0)],
        {},
    ),
    "cls below a folder that says nothing of it": (lambda n, y: [*cls("generated/{n}", "{y}")(n, y)], {}),
    "folders": (folder("real", "fake"), {}),
    "folders, capitals": (folder("x/Real", "x/Generated"), {}),
    "folders, generators": (folder("real", "generated/sd-1.5"), {}),
    "folders, 0 and 1": (folder("0", "1"), {}),
    "folders, own words": (folder("nature", "ai"), {"values": parse_values(["nature"], ["ai"])}),
}


@pytest.mark.parametrize(
    "tar_format", ["ustar", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gnu", "pax"))]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_image_with_its_label_and_bytes(layout: str, tar_format: str, tmp_path: Path) -> None:
    make, settings = LAYOUTS[layout]
    members = [member for n in range(6) for member in make(n, n % 2)]
    if tar_format == "ustar" and any(len(name.encode()) > 90 for name, _ in members):
        tar_format = "gnu"  # such names do not fit there
    kind = getattr(tarfile, f"{tar_format.upper()}_FORMAT")
    path = write_tar(tmp_path / "a.tar", members, kind)
    assert taken_in([path], **settings) == {image(n): n % 2 for n in range(6)}


def taken_in(paths: list[Path], **settings: Any) -> dict[bytes, int]:
    """Returns image bytes → label for the images that indexing takes from all tars in ``paths``."""
    chosen = IndexSettings(**settings)
    tars = name_tars(find_tars(paths), paths[0].parent)
    rules = guess_rules(tars, chosen)
    found = {}
    for tar in tars:
        data = tar.path.read_bytes()
        for taken in examine_tar(tar, rules, chosen).images:
            found[data[taken.offset : taken.offset + taken.length]] = taken.source.label
    return found


WRITTEN: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "cls": lambda n, y: {"__key__": f"{n:06d}", "jpg": image(n), "cls": y},
    "json": lambda n, y: {"__key__": f"s/{n:06d}", "jpeg": image(n), "json": {"label": bool(y)}},
    "as img2dataset": lambda n, y: {
        "__key__": f"{n:09d}",
        "jpg": image(n),
        "txt": "a cat",
        "json": {"class_name": WORDS[y]},
    },
    "folders": lambda n, y: {"__key__": f"{WORDS[y]}/{n}", "jpg": image(n)},
}


@pytest.mark.parametrize("written", WRITTEN)
def test_what_webdataset_writes(written: str, tmp_path: Path) -> None:
    with TarWriter(str(tmp_path / "a.tar")) as tar:
        for n in range(6):
            tar.write(WRITTEN[written](n, n % 2))
    assert taken_in([tmp_path / "a.tar"]) == {image(n): n % 2 for n in range(6)}


def one_class_per_tar(names: tuple[str, str], folder: Path) -> list[Path]:
    return [write_tar(folder / names[y], [(f"{n}.jpg", image(n)) for n in (y, y + 2)]) for y in range(2)]


@pytest.mark.parametrize(
    "names",
    [
        ("real-000.tar", "fake_sd-001.tar"),
        ("real/00000.tar", "fake/00000.tar"),
        ("Real/a/00000.tar", "generated/sd/00000.tar"),
        ("a/real/train-0.tar", "a/fake/train-0.tar"),
    ],
)
def test_a_class_per_tar_or_per_folder_of_tars(names: tuple[str, str], tmp_path: Path) -> None:
    tars = one_class_per_tar(names, tmp_path / "real world")
    assert taken_in(tars) == {image(n): n % 2 for n in range(4)}
    assert taken_in([tmp_path / "real world/**/*.tar"]) == {image(n): n % 2 for n in range(4)}


@pytest.mark.parametrize(
    "first",
    [
        [],
        [("README", b"hello"), ("LICENSE.txt", b"free")],
        [("0.jpg", b"")],
        [("nothing_said.jpg", picture(70))],
        [("only.cls", b"0")],
    ],
    ids=["an empty tar", "a README", "an empty image", "no label", "no image"],
)
@pytest.mark.parametrize("apart", [True, False])
def test_rules_are_guessed_from_the_samples_that_tell(first: Members, apart: bool, tmp_path: Path) -> None:
    rest = [member for n in range(1, 5) for member in cls("{n}", "{y}")(n, n % 2)]
    if apart:
        paths = [write_tar(tmp_path / "0.tar", first), write_tar(tmp_path / "1.tar", rest)]
    else:
        paths = [write_tar(tmp_path / "0.tar", first + rest)]
    assert taken_in(paths) == {image(n): n % 2 for n in range(1, 5)}


def write_list(path: Path, rows: list[list[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def test_a_list_by_key_and_tar(tmp_path: Path) -> None:
    tars = [
        write_tar(tmp_path / f"{name}/0.tar", [(f"k{n}.jpg", image(10 * t + n)) for n in range(2)])
        for t, name in enumerate(["a", "b"])
    ]
    for form in ("{}/0.tar", "{}/0"):
        rows = [["tar", "key", "label"]]
        rows += [[form.format(t), f"k{n}", n ^ (t == "b")] for t in "ab" for n in range(2)]
        listed = write_list(tmp_path / "list.csv", rows)
        found = taken_in(tars, label_from=listed)
        assert found == {image(0): 0, image(1): 1, image(10): 1, image(11): 0}


def test_pieces_of_a_tar_of_others_programs(tmp_path: Path) -> None:
    """Indexing reads tars with entries for folders, trailing zeros, and samples whose members are not adjacent."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("real")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        for suffix in ("jpg", "json"):
            for n in range(4):
                data = image(n) if suffix == "jpg" else json.dumps({"label": n % 2}).encode()
                info = tarfile.TarInfo(f"{n}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    path.write_bytes(path.read_bytes() + bytes(1 << 18))
    assert taken_in([path]) == {image(n): n % 2 for n in range(4)}
