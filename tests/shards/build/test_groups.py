"""Lists of groups: which images they join, how they change a build and an index, and which lists are refused."""

import csv
import hashlib
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.build_shards import main
from scripts.index_shards import main as index_main
from shards.build.build import BuildReport, build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.manifest.group_list import check_group_output, read_group_list, write_group_list
from shards.manifest.groups import joined_groups
from tests.images.labelled_tars import labelled, write_tar

SETTINGS = BuildSettings(split_shares=parse_shares("0.4,0.3,0.3"), samples_per_shard=5, global_size=16)
NUM_IMAGES = 14


@pytest.fixture
def images(tmp_path: Path, coded_image, encode_image) -> Path:
    """A folder of 14 images, ``00.jpg`` … ``13.jpg``, with a source list that names no groups."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(NUM_IMAGES):
        (folder / f"{number:02d}.jpg").write_bytes(encode_image(coded_image(number, 40, 30), "JPEG"))
    write_source(folder)
    return folder


def write_source(folder: Path, groups: dict[int, str] | None = None, splits: dict[int, str] | None = None) -> Path:
    groups, splits = groups or {}, splits or {}
    rows = [(f"{n:02d}.jpg", ("real", "fake")[n % 2], groups.get(n, ""), splits.get(n, "")) for n in range(NUM_IMAGES)]
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group", "split"), *rows])
    return folder / "list.csv"


def digest(images: Path, number: int) -> bytes:
    return hashlib.sha256((images / f"{number:02d}.jpg").read_bytes()).digest()


def write_groups(images: Path, groups: list[tuple[int, str]], name: str = "groups.csv") -> Path:
    path = images.parent / name
    path.unlink(missing_ok=True)
    write_group_list(path, [(digest(images, number), group, f"{number:02d}.jpg") for number, group in groups])
    return path


def build(source: Path, groups: Path | None, out: Path | None = None) -> tuple[ShardDataset, BuildReport]:
    out = out or source.parent.parent / "out"
    report = build_dataset(source, out, SETTINGS, progress=False, groups=groups)
    return ShardDataset.open(out), report


def facts(dataset: ShardDataset) -> dict[int, tuple[str, str]]:
    """Returns image number → (group, split)."""
    columns = (dataset.column(name).tolist() for name in ("source_path", "group", "split"))
    return {int(path[:2]): (group, split) for path, group, split in zip(*columns, strict=True)}


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sets(st.sampled_from("abxyz"), max_size=2))),
    st.randoms(use_true_random=False),
)
@settings(max_examples=20)
def test_groups_are_the_components_of_what_shares_a_name(items, random):
    """The groups equal those of a slow method, which merges sets of names until none overlap, and do not depend on the
    order."""

    def joined(rows: list) -> list[str]:
        given_, listed = [own for own, _ in rows], [tuple(sorted(names)) for _, names in rows]
        return joined_groups(given_, listed, [names[0] if names else "" for names in listed])

    parts: list[set[str]] = []
    for own, names in items:
        new = names | ({own} - {""})
        touched = [part for part in parts if part & new]
        parts = [part for part in parts if not part & new] + [new.union(*touched)]
    given_names = {own for own, _ in items}
    expected = [
        next((min(part & given_names or part) for part in parts if part & (names | ({own} - {""}))), "")
        for own, names in items
    ]
    assert joined(items) == expected
    mixed = [*zip(items, expected, strict=True)]
    random.shuffle(mixed)
    assert joined([item for item, _ in mixed]) == [name for _, name in mixed]


def test_a_list_joins_with_the_groups_of_the_source(images):
    """Groups join transitively: 0 and 1 share a group in the source, and the list joins 1 with 2, and 2 with 3."""
    source = write_source(images, {0: "scene", 1: "scene", 8: "other"})
    groups = write_groups(images, [(1, "x"), (2, "x"), (2, "y"), (3, "y"), (4, "z"), (5, "z"), (6, "other")])
    dataset, report = build(source, groups)
    found = facts(dataset)
    assert {found[n][0] for n in (0, 1, 2, 3)} == {"scene"}
    assert {found[n][0] for n in (4, 5)} == {"z"}
    assert {found[n][0] for n in (6, 8)} == {"other"}
    assert {found[n][0] for n in range(9, NUM_IMAGES)} == {""}
    splits = defaultdict(set)
    for group, split in found.values():
        splits[group].add(split)
    assert [len(splits[group]) for group in ("scene", "z", "other")] == [1, 1, 1]
    assert report.notes[-1] == f"{groups} gave 6 images a group"
    assert len(splits[""]) == 3


def test_parquet_and_csv_say_the_same_and_paths_do_not_matter(images, tmp_path):
    groups = [(n, f"pair {n // 2}") for n in range(12)]
    build(images / "list.csv", write_groups(images, groups))
    moved = tmp_path / "moved"
    images.rename(moved)
    listed = write_groups(moved, groups[::-1], "groups.parquet")
    build(moved / "list.csv", listed, tmp_path / "again")
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("out", "again"))
    plan = ".build_plan.parquet"  # holds the times of the files
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} <= {plan}


def test_another_list_is_another_build_where_it_makes_other_groups(images, capsys):
    groups = write_groups(images, [(0, "a"), (1, "a")])
    command = [str(images / "list.csv"), str(images.parent / "out"), "--groups", str(groups)]
    command += ["--global-size", "16", "--workers", "1"]
    assert main(command) == 0
    assert f"{groups} gave 2 images a group\n" in capsys.readouterr().out
    groups.unlink()
    write_group_list(groups, [(digest(images, 1), "a", ""), (digest(images, 0), "a", ""), (bytes(32), "a", "")])
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "already built, nothing to do" in printed
    assert f"{groups} gave 2 images a group; 1 image in the list are not in this data set\n" in printed
    write_groups(images, [(0, "a"), (2, "a")])
    for changed in (command, command[:2] + command[4:]):
        with pytest.raises(InputError, match=r"holds another build .*groups or splits of the images changed"):
            main(changed)


def test_two_splits_in_one_group_are_said_and_can_be_mended_in_place(images):
    source = write_source(images, splits={0: "train", 1: "test"})
    groups = write_groups(images, [(0, "scene"), (1, "scene")])
    with pytest.raises(InputError, match=r"00\.jpg is given to train and 01\.jpg to test, .* same group 'scene'"):
        build(source, groups)
    dataset, _ = build(write_source(images, splits={0: "test", 1: "test"}), groups)
    assert facts(dataset)[0] == facts(dataset)[1] == ("scene", "test")


def test_two_splits_in_one_group_are_said_where_a_split_is_drawn_out_of_train(images):
    """A group with an image in test and one in train is an error, although some images of train are moved to valid, to
    which the source gives none."""
    splits = {number: "test" if number < 6 else "train" for number in range(NUM_IMAGES)}
    groups = write_groups(images, [(0, "scene"), (8, "scene")])
    with pytest.raises(InputError, match=r"00\.jpg is given to test and 08\.jpg to train, .* same group 'scene'"):
        build(write_source(images, splits=splits), groups)


def test_a_dry_run_reads_the_list(images, capsys):
    groups = write_groups(images, [(0, "scene"), (8, "scene")])
    assert main([str(images / "list.csv"), "--dry-run", "--groups", str(groups)]) == 0
    assert f"{groups} groups 2 images, but a dry run does not match them" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"nowhere\.csv cannot be read"):
        main([str(images / "list.csv"), "--dry-run", "--groups", str(images / "nowhere.csv")])


def test_an_empty_list_changes_nothing(images, tmp_path):
    for name in ("none.csv", "none.parquet"):
        empty = write_groups(images, [], name)
        assert not read_group_list(empty).groups
    build(images / "list.csv", empty)
    build(images / "list.csv", None)  # the same build


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "cannot be read as a list of groups"),
        ("sha256,path\n", "no column 'group': a list of groups has the columns sha256,group,source_path"),
        ("path,group\nx,y\n", "no column 'sha256'"),
        (f"sha256,group\n{'0' * 64},a\nabc,b\n", r"row 2: sha256 'abc' is not 64 hexadecimal digits"),
        (f"sha256,group\n{'0' * 64},a,b\n", "cannot be read as a list of groups"),
        (f"sha256,group\n{'0' * 64},a\n", "lists the SHA-256 of none of these image files"),
        (f"sha256,group\n{'0' * 64},\udcff\n", "cannot be read as a list of groups"),
    ],
)
def test_lists_that_are_none_are_refused_in_a_sentence(text, what, images):
    path = images.parent / "groups.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=what):
        build(images / "list.csv", path)
    assert not [*images.parent.glob("out/*")]  # nothing that the mended list would meet


def test_other_kinds_of_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"give a list of groups as a \.csv or \.parquet file"):
        read_group_list(tmp_path / "groups.txt")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_group_list(tmp_path / "groups.csv")
    (tmp_path / "text.parquet").write_text("sha256,group\n")
    with pytest.raises(InputError, match="cannot be read as a list of groups"):
        read_group_list(tmp_path / "text.parquet")
    pq.write_table(pa.table({"sha256": [bytes(32)], "group": ["a"]}), tmp_path / "bytes.parquet")
    with pytest.raises(InputError, match="row 1: sha256"):
        read_group_list(tmp_path / "bytes.parquet")


def test_names_of_numbers_and_a_spreadsheets_mark_are_read(tmp_path):
    """Numeric group names and a byte order mark are read as pandas and spreadsheets write them."""
    (tmp_path / "a.csv").write_bytes(f"\ufeffgroup,sha256\r\n007,{'AB' * 32} \r\n,{'cd' * 32}\r\n".encode())
    pq.write_table(pa.table({"sha256": ["ab" * 32], "group": [7]}), tmp_path / "b.parquet")
    assert read_group_list(tmp_path / "a.csv").groups == {b"\xab" * 32: ("007",)}
    assert read_group_list(tmp_path / "b.parquet").groups == {b"\xab" * 32: ("7",)}


def test_only_an_identical_list_is_replaced(tmp_path):
    rows = [(bytes(32), "a", 'b,"\n')]
    for name in ("groups.csv", "groups.parquet"):
        path = tmp_path / name
        for _ in range(2):
            check_group_output(path, lambda: [bytes(32)])
            write_group_list(path, rows)
        assert read_group_list(path).groups == {bytes(32): ("a",)}
        before = path.read_bytes()
        with pytest.raises(InputError, match="lists images that are not in this data set: give another name"):
            check_group_output(path, lambda: [b"1" * 32])
        with pytest.raises(InputError, match="holds another list of groups, or was edited"):
            write_group_list(path, [*rows, (b"1" * 32, "a", "")])
        assert path.read_bytes() == before
        path.write_text("mine")
        with pytest.raises(InputError, match="was not written by this command"):
            check_group_output(path, lambda: [bytes(32)])


def test_an_index_takes_groups_too(tmp_path, capsys):
    members = labelled(0, 12)
    tars = [write_tar(tmp_path / f"{n}.tar", members[12 * n : 12 * n + 12]) for n in range(2)]
    pictures = [data for name, data in members if name.endswith(".jpg")]
    hashes = [hashlib.sha256(data).digest() for data in pictures]
    write_group_list(tmp_path / "groups.csv", [(hashes[n], "scene", "") for n in (0, 5, 6, 11)])
    command = [*map(str, tars), "--out", str(tmp_path / "out"), "--workers", "1", "--global-size", "16"]
    grouped = [*command, "--groups", str(tmp_path / "groups.csv")]
    assert index_main(grouped) == 0
    assert "groups.csv gave 4 images a group\n" in capsys.readouterr().out
    dataset = ShardDataset.open(tmp_path / "out")
    groups, splits = dataset.column("group"), dataset.column("split")
    assert sorted(map(bytes, dataset.column("sha256")[groups == "scene"])) == sorted(hashes[n] for n in (0, 5, 6, 11))
    assert len(set(splits[groups == "scene"])) == 1
    assert set(groups) == {"", "scene"}
    assert index_main(grouped) == 0
    with pytest.raises(InputError, match=r"another index \(different groups\)"):
        index_main(command)
