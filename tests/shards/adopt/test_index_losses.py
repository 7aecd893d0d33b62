"""When tars made elsewhere are indexed, no image is lost and no label is swapped silently."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from scripts.index_shards import main
from shards.adopt.adopt import index_tars
from shards.adopt.listing import list_tar
from shards.adopt.settings import IndexSettings
from shards.errors import InputError
from shards.verify import verify_dataset
from tests.images.labelled_tars import Members, as_json, index, labelled, picture, rejected, write_tar


def notes(*tars: Path, out: Path | None = None, **settings: Any) -> str:
    """Indexes ``tars`` and returns the notes that indexing prints besides its counts, as text."""
    chosen = IndexSettings(global_size=32, **settings)
    return "\n".join(index_tars(tars, out, chosen, progress=False).notes)


def versions(count: int = 3) -> Members:
    """Returns real images, and images whose names contain their generator's version, such as ``sd1.5``."""
    members: Members = []
    for n in range(count):
        members += [(f"real/{n}.jpg", picture(n)), (f"fake/sd1.5_{n}.jpg", picture(10 + n))]
        members += [(f"fake/sd2.1_{n}.jpg", picture(20 + n))]
    return members


def test_versions_in_names_are_counted_and_can_be_taken_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [("fake/gan.jpg", picture(40))]
    tar = write_tar(tmp_path / "a.tar", versions() + more)
    assert main([str(tar), "--workers", "1", "--global-size", "32"]) == 0
    said = capsys.readouterr().out
    assert "rejected 6 images" in said
    assert "6 images left out because their names are equal up to the first dot" in said
    assert "for example a.tar/fake/sd1.5_0.jpg: to let keys end at the last dot, index with --last-dot" in said
    assert rejected(tmp_path) == {f"a.tar/fake/sd{v}_{n}.jpg": "shared_key" for v in ("1.5", "2.1") for n in range(3)}
    out = tmp_path / "out"
    common = [str(tar), "--workers", "1", "--global-size", "32", "--out", str(out)]
    assert main([*common, "--last-dot"]) == 0
    assert "10 samples in 1 shard\n" in capsys.readouterr().out
    assert rejected(out) == {}


def test_where_all_keys_fold_the_switch_is_named(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", [m for m in versions() if "fake" in m[0]])
    with pytest.raises(InputError, match=r"no image was accepted: .*--image-ext .*--last-dot"):
        index(tar)


def test_where_a_class_folds_away_the_switch_is_named(tmp_path: Path) -> None:
    fake = [(f"fake/sd1.5_{n}.jpg", picture(10 + n)) for n in range(3)]
    tar = write_tar(tmp_path / "a.tar", [(f"real/{n}.jpg", picture(n)) for n in range(3)] + fake)
    with pytest.raises(InputError, match=r"all images .* are real.*; 3 images left out .*--last-dot"):
        index(tar)


def test_where_a_class_lies_behind_the_end_that_is_said(tmp_path: Path) -> None:
    halves = [
        write_tar(tmp_path / f"{folder}.tar", [(f"{folder}/{n}.jpg", picture(n)) for n in range(3)])
        for folder in ("real", "fake")
    ]
    joined = tmp_path / "joined" / "a.tar"
    joined.parent.mkdir()
    joined.write_bytes(b"".join(half.read_bytes() for half in halves))
    with pytest.raises(InputError, match=r"all images .* are real.*; a\.tar: .* after its end"):
        index(joined)


def test_further_images_of_a_sample_are_counted(tmp_path: Path) -> None:
    seg = [(f"img_{n}.seg.png", b"not looked at") for n in range(4)]
    tar = write_tar(tmp_path / "a.tar", labelled(0) + seg)
    assert "skipped 4 images of samples with several images (seg.png 4)" in notes(tar)


def test_all_images_of_a_name_that_comes_twice_are_counted(tmp_path: Path) -> None:
    twice = [("k.png", picture(50, "PNG")), ("k.jpg", picture(51)), ("k.png", b""), ("k.cls", b"0")]
    dataset = index(write_tar(tmp_path / "a.tar", labelled(0) + twice))
    assert dataset.info.rejected == {"duplicate_key": 3}


def with_words(swapped: bool, **more: object) -> Members:
    members: Members = []
    for n in range(6):
        fake = n % 2
        members += [(f"k{n}.jpg", picture(n)), (f"k{n}.cls", b"%d" % (fake ^ swapped))]
        members += as_json(f"k{n}", label=("REAL", "FAKE")[fake], **more)
    return members


def test_labels_that_words_contradict_stop(tmp_path: Path) -> None:
    """Indexing stops if the numbers contradict the words. Programs that number folders in alphabetical order write 0
    for fake."""
    tar = write_tar(tmp_path / "a.tar", with_words(swapped=True))
    with pytest.raises(
        InputError, match=r"labels by cls differ from json:label in 6 of 6 samples, for example a.*--label"
    ):
        index(tar)
    assert index(tar, out=tmp_path / "x", label_from="json:label").column("label").sum() == 3
    said = notes(tar, out=tmp_path / "y", label_from="cls")
    assert "labels by cls differ from json:label in 6 of 6 samples" in said
    swapped = index(tar, out=tmp_path / "z", values={"0": 1, "1": 0})
    rows = swapped.table.to_pylist()
    assert {row["label"] for row in rows if row["source_path"] == "../a.tar/k0.jpg"} == {0}
    assert len(index(write_tar(tmp_path / "good/a.tar", with_words(swapped=False)))) == 6


def test_a_list_with_other_keys_is_shown_beside_the_tars(tmp_path: Path) -> None:
    members = [(f"{n:03d}.jpg", picture(n)) for n in range(4)]
    tar = write_tar(tmp_path / "a.tar", members)
    listed = tmp_path / "a.csv"
    listed.write_text("key, label\n" + "".join(f"{n},{n % 2}\n" for n in range(4)))
    with pytest.raises(InputError, match=r"4 no_label.*: keys of the list, such as '0', are not those of a.tar/000"):
        index(tar, label_from=str(listed))
    listed.write_text("key, label\n" + "".join(f"{n:03d},{n % 2}\n" for n in range(4)))
    assert index(tar, out=tmp_path / "out", label_from=str(listed)).column("label").sum() == 2
    listed.write_text("key, label,label\n" + "".join(f"{n:03d},{n % 2},{1 - n % 2}\n" for n in range(4)))
    with pytest.raises(InputError, match="has two columns called 'label': remove one of them"):
        index(tar, out=tmp_path / "both", label_from=str(listed))


def test_labels_that_the_generators_contradict_stop(tmp_path: Path) -> None:
    def named(swapped: bool, generators: str) -> Members:
        members: Members = []
        for n in range(4):
            members += [(f"k{n}.jpg", picture(n)), (f"k{n}.cls", b"%d" % (n % 2 ^ swapped))]
            if generators[n] != " ":
                members += as_json(f"k{n}", **({"generator": "sdxl"} if generators[n] == "x" else {"caption": "a dog"}))
        return members

    tar = write_tar(tmp_path / "a.tar", named(True, "-x-x"))
    with pytest.raises(InputError, match=r"from json:generator in 4 .*: give --label-from cls if that is right, or"):
        index(tar)
    assert "where every image with a generator is labelled real" in notes(tar, out=tmp_path / "y", label_from="cls")
    assert index(tar, out=tmp_path / "z", values={"0": 1, "1": 0}).column("label").sum() == 2
    with pytest.raises(InputError, match="from json:generator in 4"):
        index(write_tar(tmp_path / "without/a.tar", named(True, " x x")))
    for place, generators in enumerate(("-x--", "----", "xxxx", " x  ")):
        assert "json:generator" not in notes(write_tar(tmp_path / f"{place}/a.tar", named(False, generators)))


def test_labels_that_are_swapped_against_folders_and_names_stop(tmp_path: Path) -> None:
    inside = [
        (f"{('fake', 'real')[n % 2]}/{n}.{suffix}", content)
        for n in range(4)
        for suffix, content in (("jpg", picture(n)), ("cls", b"%d" % (n % 2)))
    ]
    tar = write_tar(tmp_path / "a.tar", inside)
    with pytest.raises(InputError, match="differ from the folders in the names of the members in 4"):
        index(tar)
    tars = [
        write_tar(tmp_path / f"{word}-0.tar", [(f"{y}.jpg", picture(y)), (f"{y}.cls", b"%d" % y)])
        for y, word in enumerate(["fake", "real"])
    ]
    with pytest.raises(InputError, match="differ from the names of the tars or of their folders"):
        index(*tars)


@pytest.mark.parametrize("word", ["real", "fake"])
def test_numbers_that_the_only_class_in_the_names_contradicts_stop(word: str, tmp_path: Path) -> None:
    """Indexing stops if the numbers contradict the one folder whose name is a class, such as ``real/`` beside folders
    of generators."""
    for name, label in ((word, int(word == "real")), ("other", int(word != "real"))):
        members = [(f"{n}.{suffix}", content) for n in range(3) for suffix, content in _numbered(10 * label + n, label)]
        write_tar(tmp_path / "in" / name / "0.tar", members)
    with pytest.raises(InputError, match="differ from the names of the tars or of their folders in 3 of 3 samples"):
        index(tmp_path / "in", out=tmp_path / "out")
    assert len(index(tmp_path / "in", out=tmp_path / "out", values={"1": 0})) == 6


def _numbered(seed: int, label: int) -> tuple[tuple[str, bytes], ...]:
    return ("jpg", picture(seed)), ("cls", b"%d" % label)


def test_folders_that_the_names_of_the_tars_contradict_stop(tmp_path: Path) -> None:
    tars = [
        write_tar(tmp_path / f"{word}-0.tar", [(f"{inside}/{seed}.jpg", picture(seed)) for seed in (n, n + 10)])
        for n, (word, inside) in enumerate((("fake", "real"), ("real", "fake")))
    ]
    with pytest.raises(InputError, match=r"labels by folder differ from the names of the tars .* in 4 of 4 samples"):
        index(*tars)


def test_one_name_that_means_something_else_is_a_note(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "real-world-000.tar", labelled(0))
    assert "differ from the names of the tars or of their folders in 3 of 6 samples" in notes(tar)


def test_a_field_that_asks_for_real_is_not_taken_for_its_opposite(tmp_path: Path) -> None:
    members: Members = []
    for n in range(4):
        members += [(f"{n}.jpg", picture(n)), *as_json(str(n), isReal=not n % 2)]
    tar = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=r"may mean real: .* --label true=real --label false=generated"):
        index(tar, label_from="json:isReal")
    dataset = index(tar, label_from="json:isReal", values={"true": 0, "false": 1})
    rows = {row["source_path"]: row["label"] for row in dataset.table.to_pylist()}
    assert rows == {f"a.tar/{n}.jpg": n % 2 for n in range(4)}


@pytest.mark.parametrize(
    "names", [pytest.param(("x/a", "y/a", "z/000000-a"), marks=pytest.mark.slow), ("x/a", "x/A", "y/b")]
)
def test_each_tar_has_a_sidecar_of_its_own(names: tuple[str, ...], tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / f"{name}.tar", labelled(10 * n)) for n, name in enumerate(names)]
    dataset = index(*tars, out=tmp_path / "out")
    assert len({shard.sidecar.lower() for shard in dataset.info.shards}) == 3
    assert len(dataset) == 18
    assert verify_dataset(dataset, 1, lambda n: None) == []


def test_a_list_must_say_which_tar_a_key_is_of(tmp_path: Path) -> None:
    members = [(f"k{n}.jpg", picture(n)) for n in range(2)]
    tars = [write_tar(tmp_path / f"{t}.tar", members) for t in "ab"]
    listed = tmp_path / "list.csv"
    listed.write_text("key,label\nk0,real\nk1,fake\nk9,fake\n")
    with pytest.raises(InputError, match=r"sample 'k\d' is in a.tar and in b.tar, .* column tar"):
        index(*tars, label_from=str(listed))
    said = notes(tars[0], out=tmp_path / "out", label_from=str(listed))
    assert f"no image in the tars for 1 row of {listed}, for example 'k9'" in said
    listed.write_text("key,tar,label\nk0,0.tar,real\nk1,1.tar,fake\n")
    tars = [write_tar(tmp_path / f"{t}/0.tar", members) for t in "ab"]
    with pytest.raises(InputError, match=r"the tar '0.tar' may be .*: write the folder in front"):
        index(*tars, out=tmp_path / "o", label_from=str(listed))


def sparse_header(name: str, stored: int, size: int) -> bytes:
    """Returns the header of a sparse member as ``tar --sparse`` writes it: of its ``size`` bytes, only the first
    ``stored`` are in the tar."""
    info = tarfile.TarInfo(name)
    info.type, info.size = tarfile.GNUTYPE_SPARSE, stored
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, stored)
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_a_sparse_member_is_none_that_was_cut_off(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", labelled(0))
    sparse = sparse_header("hole.jpg", 512, 1 << 30) + bytes(512)
    path.write_bytes(sparse + path.read_bytes())
    assert len(index(path)) == 6
    assert rejected(tmp_path) == {"a.tar/hole.jpg": "unsafe_member"}


def test_two_tars_joined_by_cat_are_said(tmp_path: Path) -> None:
    one, other = (write_tar(tmp_path / f"{n}.tar", labelled(10 * n)) for n in range(2))
    one.write_bytes(one.read_bytes() + other.read_bytes())
    said = notes(one)
    assert "0.tar: " in said
    assert "bytes after its end were not read: if tars were concatenated with cat" in said


def test_a_tar_without_its_end_is_said_and_a_damaged_header_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", labelled(0))
    listing = list_tar(path)
    assert listing.unread == []
    whole = path.read_bytes()
    last = max(m.offset + m.length for s in listing.samples for m in s.members.values())
    path.write_bytes(whole[: -(-last // 512) * 512])
    assert "may have been cut off" in notes(path, out=tmp_path / "out")
    header = listing.samples[3].members["jpg"].offset - 512
    path.write_bytes(whole[: header + 5] + b"?" + whole[header + 6 :])
    with pytest.raises(InputError, match=rf"a.tar is damaged at byte {header:,}"):
        list_tar(path)


def test_mistakes_name_what_helps(tmp_path: Path) -> None:
    write_tar(tmp_path / "in/deep/er/a.tar", labelled(0))
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/photo.jpg").write_bytes(b"")
    packed = tmp_path / "images.zip"
    packed.write_bytes(b"PK\3\4" + bytes(100))
    for given, message in (
        (tmp_path / "bare", "holds no .tar files, but photo.jpg: give tars"),
        (packed, "compressed or packed with zip, .*: unpack it to a plain .tar"),
    ):
        with pytest.raises(InputError, match=message):
            index(given, out=tmp_path / "out")
    assert len(index(tmp_path / "in/**/*.tar", out=tmp_path / "out")) == 6
    index_tars([tmp_path / "in"], tmp_path / "same", IndexSettings(global_size=32), progress=False)
    assert (tmp_path / "same/samples.arrow").read_bytes() == (tmp_path / "out/samples.arrow").read_bytes()
