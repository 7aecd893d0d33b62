"""Labels, groups and splits of tars made elsewhere, from members, folders, names of tars, and lists."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shards.adopt.settings import parse_values
from shards.errors import InputError
from tests.images.labelled_tars import Members, as_json, index, labelled, labels, picture, rejected, write_tar

Make = Callable[[str, int], Members]


RULES: dict[str, tuple[Make, dict[str, Any]]] = {
    "cls": (lambda k, y: [(f"{k}.cls", b"%d" % y)], {}),
    "cls text": (lambda k, y: [(f"{k}.cls", (b"nature", b"ai")[y])], {"values": parse_values(["nature"], ["AI"])}),
    "cls swapped": (lambda k, y: [(f"{k}.cls", b"%d" % (1 - y))], {"values": parse_values(["1"], ["0"])}),
    "txt": (lambda k, y: [(f"{k}.txt", (b" Real\n", b"fake")[y])], {"label_from": "txt"}),
    "json": (lambda k, y: as_json(k, label=y, generator="sd" * y), {}),
    "json names": (lambda k, y: as_json(k, class_name=("real", "generated")[y]), {}),
    "json deep": (
        lambda k, y: as_json(k, m={"ai": bool(y), "by": "sd"}),
        {"label_from": "json:m.ai", "generator_from": "json:m.by", "values": parse_values(["false"], ["true"])},
    ),
}


@pytest.mark.parametrize(
    "rule",
    [  # all of them are read, without an index, in test_foreign_tars
        rule if rule in ("cls swapped", "txt", "json deep") else pytest.param(rule, marks=pytest.mark.slow)
        for rule in RULES
    ],
)
def test_labels_from_members(rule: str, tmp_path: Path) -> None:
    make, settings = RULES[rule]
    members = []
    for seed in range(6):
        members += [(f"k{seed}.jpg", picture(seed)), *make(f"k{seed}", seed % 2)]
    found = labels(index(write_tar(tmp_path / "a.tar", members), **settings))
    generator = "sd" if "json" in rule and "names" not in rule else "unknown"
    assert found == {f"k{n}": ((1, generator) if n % 2 else (0, "")) for n in range(6)}


def test_labels_from_folders_and_names_of_tars(tmp_path: Path) -> None:
    names = ["x/real/0", "x/fake/sd-1.5/1", "x/Fake/2"]
    members = [(f"{name}.jpg", picture(n)) for n, name in enumerate(names)]
    found = labels(index(write_tar(tmp_path / "a/data.tar", members)))
    assert found == {"x/real/0": (0, ""), "x/fake/sd-1": (1, "sd-1.5"), "x/Fake/2": (1, "unknown")}

    tars = [
        write_tar(tmp_path / f"b/{name}-000.tar", [(f"{name}.jpg", picture(n))])
        for n, name in enumerate(["real", "fake_sd"])
    ]
    found = labels(index(*tars))
    assert found == {"real": (0, ""), "fake_sd": (1, "unknown")}


def test_labels_and_splits_from_a_list(tmp_path: Path) -> None:
    members = [(f"k{seed}.jpg", picture(seed)) for seed in range(7)]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "label", "generator", "split"])
        for seed in range(6):
            writer.writerow(
                [f"k{seed}", ["real", "fake"][seed % 2], "sd" if seed % 2 else "", "test" if seed < 2 else "train"]
            )
    tar = write_tar(tmp_path / "a.tar", members)
    dataset = index(tar, label_from=str(tmp_path / "list.csv"))
    assert labels(dataset) == {f"k{n}": ((1, "sd") if n % 2 else (0, "")) for n in range(6)}
    assert {name: counts.samples for name, counts in dataset.info.counts.items()} == {"train": 4, "test": 2}
    assert rejected(tmp_path) == {"a.tar/k6": "no_label"}


def test_groups_share_a_split(tmp_path: Path) -> None:
    members = []
    for seed in range(24):
        about = {"label": seed % 2, "scene": f"s{seed // 4}"}
        members += [(f"k{seed}.jpg", picture(seed)), (f"k{seed}.json", json.dumps(about).encode())]
    tar = write_tar(tmp_path / "a.tar", members)
    rows = index(tar, group_from="json:scene", split="0.5,0.25,0.25").table.to_pylist()
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    assert len(splits) == 6
    assert all(len(found) == 1 for found in splits.values())
    assert len({row["split"] for row in rows}) == 3


def test_splits_by_the_names_of_tars(tmp_path: Path) -> None:
    tars = [
        write_tar(tmp_path / name, labelled(10 * n)) for n, name in enumerate(["train-0.tar", "val_0.tar", "test.tar"])
    ]
    counts = index(*tars).info.counts
    assert {name: c.samples for name, c in counts.items()} == {"train": 6, "valid": 6, "test": 6}
    other = write_tar(tmp_path / "more/extra.tar", labelled(50))
    with pytest.raises(InputError, match=r"extra\.tar does not begin with the name of a split"):
        index(tars[0], other, out=tmp_path / "x", split="name")
    drawn = index(tars[0], other, out=tmp_path / "y").info.counts
    assert drawn["train"].samples == 8  # 0.7 of 12: shares, because one name says nothing


def test_the_same_image_in_train_and_test_stays_in_test(tmp_path: Path) -> None:
    same = [("again.jpg", picture(0)), ("again.cls", b"0")]
    train = write_tar(tmp_path / "train.tar", labelled(0) + same)
    test = write_tar(tmp_path / "test.tar", labelled(50) + same)
    dataset = index(train, test)
    assert rejected(tmp_path) == {"train.tar/again.jpg": "duplicate_split", "train.tar/img_0.jpg": "duplicate_split"}
    assert dataset.info.counts["test"].samples == 7


def test_the_same_image_as_real_and_generated_is_rejected(tmp_path: Path) -> None:
    lie = [("lie.jpg", picture(0)), ("lie.cls", b"1")]
    index(write_tar(tmp_path / "a.tar", labelled(0) + lie))
    assert set(rejected(tmp_path).values()) == {"duplicate_conflict"}
    assert len(rejected(tmp_path)) == 2
