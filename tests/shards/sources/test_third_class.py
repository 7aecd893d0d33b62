"""A third class, in folders and in tars, is refused with a message that names it, or skipped by ``--skip``."""

import json
from pathlib import Path
from typing import Any

import pytest

from shards.adopt.settings import IndexSettings
from shards.adopt.tar_names import find_tars, name_tars
from shards.adopt.understand import understand_tars
from shards.errors import InputError
from tests.images.labelled_tars import write_tar
from tests.shards.adopt.test_foreign_tars import image
from tests.shards.sources.test_tables import touch, understood


def labels_in(tars: list[Path], **settings: Any) -> list[int]:
    """Returns the labels of the images that indexing would take in, in the order of their positions."""
    chosen = IndexSettings(**settings)
    found = understand_tars(name_tars(find_tars(tars), tars[0].parent), chosen, 1, False, None)
    return [image.source.label for images in found.images for image in images]


@pytest.mark.parametrize(
    ("folders", "given", "message"),
    [
        (
            ("0", "1", "2"),
            ["0=real", "1=fake"],
            r"2/ holds 1 image beside 0 = real and 1 = generated, and its name says no class: use .*2=real",
        ),
        (("0_real", "1_fake", "2_edited"), [], r"2_edited/ holds 1 image beside 0_real = real and 1_fake"),
        (("a/0_real", "a/1_fake", "b/2_edited"), [], ""),  # elsewhere
        (("0_real", "1_fake", "2_edited"), ["2_edited=fake"], ""),
        (("real", "1_fake", "2_edited"), [], r"2_edited/ holds 1 image beside"),
        (("a/0_real", "b/1_fake", "a/2_edited"), [], r"a/2_edited/ holds 1 image beside 0_real = real, and"),
        (("0_real", "1_fake", "12345"), [], r"12345/ holds 1 image beside 0_real = real and 1_fake = generated"),
        (("0_real", "1_fake", "masks"), [], ""),
        (
            ("train/real", "train/fake/sdxl", "train/edited/a", "train/edited/b"),
            [],
            r"train/edited/ holds 2 images beside real = real and fake = generated, and its name says no class: "
            r"use --label edited=real or --label edited=generated to define what it means, or leave its images out "
            r"with --skip edited",
        ),
        (("real", "fake", "real_faces"), [], "real_faces/ holds 1 image beside"),
        (("real", "fake", "not_fake"), [], "not_fake/ holds 1 image beside"),
        (("label=real", "label=fake", "label=edited"), [], "label=edited/ holds 1 image beside"),
        (("real", "fake", "edited"), ["edited=generated"], ""),
        (("real", "fake", "sets/edited"), [], "sets/edited|sets/ holds"),
        (("a/real", "a/fake", "b/edited"), [], ""),  # elsewhere
        (("real", "fake", "unlabelled", "depth_maps"), [], ""),
    ],
)
def test_a_third_class_among_folders(folders: tuple[str, ...], given: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/a.jpg" for folder in folders))
    if message:
        with pytest.raises(InputError, match=message):
            understood(tmp_path, *given)
    else:
        understood(tmp_path, *given)


def test_folders_are_passed_over_on_purpose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--skip`` applies to folders at any depth, whatever class their names or a table would give to their images."""
    from scripts.build_shards import main

    touch(tmp_path / "in", "real/r.jpg", "fake/sdxl/g.jpg", "fake/Edited/h.jpg", "edited/i.jpg", "edited/deep/j.jpg")
    assert main([str(tmp_path / "in"), "--dry-run", "--skip", "edited/"]) == 0
    said = capsys.readouterr().out
    assert "2 images" in said
    assert "skipped because of --skip: Edited/ (1 image), edited/ (2 images)" in said
    with pytest.raises(InputError, match=r"--skip edites: no folder of images below the source is called 'edites'"):
        main([str(tmp_path / "in"), "--dry-run", "--skip", "edited", "--skip", "edites"])
    (tmp_path / "list.csv").write_text("path,label\nin/real/r.jpg,real\nin/fake/sdxl/g.jpg,fake\n")
    with pytest.raises(
        InputError, match=r"--skip edited leaves out folders, but a list names each image: leave its rows"
    ):
        main([str(tmp_path / "list.csv"), "--dry-run", "--skip", "edited"])


def test_tables_on_folders_that_are_passed_over_count_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--skip`` also silences complaints about tables that name images in skipped folders, or that lie in one."""
    from scripts.build_shards import main

    touch(
        tmp_path,
        "real/r.jpg",
        "fake/g.jpg",
        "edited/i.jpg",
        "edited/j.jpg",
        b"edited/\xff.jpg".decode("utf-8", "surrogateescape"),
    )
    (tmp_path / "metadata.csv").write_text("file_name,group\nreal/r.jpg,a\nedited/i.jpg,b\ngone.jpg,c\n")
    (tmp_path / "edited" / "metadata.csv").write_text("file_name,label\nj.jpg,neither\n")
    assert main([str(tmp_path), "--dry-run", "--skip", "edited"]) == 0
    said = capsys.readouterr().out
    assert "1 row of" in said
    assert "skipped because of --skip: edited/ (2 images)" in said
    assert "edited/metadata.csv" not in said
    assert "\\xff" not in said


@pytest.mark.parametrize("form", ["cls", "json", "folder", "list"])
@pytest.mark.parametrize("third", ["2", "edited"])
def test_a_third_class_in_a_tar(form: str, third: str, tmp_path: Path) -> None:
    values = ["0", "1", third]
    members, settings = [], {}
    for n, value in enumerate(values):
        key = f"{value}/{n}" if form == "folder" else str(n)
        members.append((f"{key}.jpg", image(n)))
        if form == "cls":
            members.append((f"{key}.cls", value.encode()))
        elif form == "json":
            members.append((f"{key}.json", json.dumps({"label": value}).encode()))
    if form == "list":
        settings["label_from"] = str(tmp_path / "list.csv")
        (tmp_path / "list.csv").write_text("key;label\n" + "".join(f"{n};{v}\n" for n, v in enumerate(values)))
    message = rf"sample '\S*2': the label '{third}' means neither real nor"
    if form == "folder":
        message = rf"^{third}/ holds 1 image beside 0 = real and 1 = generated, .* --skip {third}$"
    with pytest.raises(InputError, match=message):
        labels_in([write_tar(tmp_path / "a.tar", members)], **settings)


def test_folders_in_tars_are_passed_over_on_purpose(tmp_path: Path) -> None:
    """The folders of several tars count as one tree. A name given to ``--skip`` must exist in it."""
    names = ["real/a", "fake/sdxl/b", "Edited/c", "edited/deep/d", "masks/e", "real/more/f"]
    one = write_tar(tmp_path / "a.tar", [(f"{name}.jpg", image(n)) for n, name in enumerate(names[:3])])
    other = write_tar(tmp_path / "b.tar", [(f"{name}.jpg", image(n + 3)) for n, name in enumerate(names[3:])])
    with pytest.raises(InputError, match=r"^[Ee]dited/ holds 1 image beside real = real and fake = generated"):
        labels_in([one, other])
    assert labels_in([one, other], skip=("edited",)) == [0, 1, 0]
    with pytest.raises(InputError, match=r"--skip edites: no folder of images"):
        labels_in([one, other], skip=("edited", "edites"))
