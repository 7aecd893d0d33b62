"""Tars made elsewhere: how they are indexed, what is refused, and that indexing does not change them."""

import io
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from loaders import LoaderConfig, build_loader
from scripts.index_shards import main
from shards.adopt.adopt import index_tars
from shards.adopt.listing import list_tar
from shards.adopt.settings import IndexSettings, parse_values
from shards.adopt.sidecar import SidecarTask
from shards.build.finish import write_description
from shards.build.writer import ShardRecord, write_shard_manifest
from shards.errors import InputError
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset
from shards.verify import verify_dataset
from tests.images.labelled_tars import index, labelled, picture, rejected, write_tar
from tests.machine.killed_at_rename import killed_at_rename


@pytest.mark.parametrize(
    "tar_format",
    [
        tarfile.PAX_FORMAT,
        *(pytest.param(form, marks=pytest.mark.slow) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT)),
    ],
)
def test_the_loader_reads_them_and_they_stay_as_they_are(tmp_path: Path, tar_format: int) -> None:
    folder = tmp_path / "tars"
    long = "photos v1.0/a/" + "long" * 20 + "_{}"  # a dot in a folder is not in the key
    for number in range(2):
        members = labelled(10 * number, name=long)
        members += [("readme", b"hello"), (f"other_{number}.png", picture(99 + number, "PNG"))]
        members += [(f"other_{number}.cls", b"1"), (f"other_{number}.seg.png", b"not looked at")]
        write_tar(folder / f"{number:05d}.tar", members, tar_format)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    dataset = index(folder / "00000.tar", folder / "00001.tar", split="0.5,0.25,0.25")
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert verify_dataset(dataset, 1, lambda n: None) == []
    assert len(dataset) == 14
    rows = {row["sample_key"]: row for row in dataset.table.to_pylist()}
    splits = [row["split"] for row in rows.values()]
    assert splits == sorted(splits, key=["train", "valid", "test"].index)
    config = LoaderConfig(global_batch_size=2, num_crops=2, crop_size=24, global_size=32)
    seen = []
    for decode in ("window", "full"):
        with build_loader(dataset, "train+valid+test", config) as loader:
            for batch in loader:
                assert batch["is_valid"].all()
                for place, key in enumerate(batch["sample_key"]):
                    row = rows[key]
                    start, length = row["image_offset"], row["image_length"]
                    image = decode_rgb(before[row["shard"]][start : start + length])
                    assert batch["label"][place] == row["label"]
                    top, left, height, width = batch["crop_windows"][place, 1].tolist()
                    crop = batch["local_crops"][place, 1].permute(1, 2, 0).numpy()
                    assert np.array_equal(crop, image[top : top + height, left : left + width])
                    seen.append((decode, key))
    assert Counter(key for _, key in seen) == dict.fromkeys(rows, 2)


def test_a_data_set_elsewhere_finds_its_tars(tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / f"in/{n}/data.tar", labelled(10 * n)) for n in range(2)]
    dataset = index(*tars, out=tmp_path / "out/index")
    assert sorted(shard.name for shard in dataset.info.shards) == ["../../in/0/data.tar", "../../in/1/data.tar"]
    assert {shard.sidecar for shard in dataset.info.shards} == {"000000-data.sidecar", "000001-data.sidecar"}
    assert sorted(path.name for path in (tmp_path / "in/0").iterdir()) == ["data.tar"]
    assert verify_dataset(dataset, 1, lambda n: None) == []


def test_hostile_members_are_rejected_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.parent.mkdir(exist_ok=True)
    kinds = {
        "link.jpg": tarfile.SYMTYPE,
        "hard.jpg": tarfile.LNKTYPE,
        "dev.jpg": tarfile.CHRTYPE,
        "pipe.jpg": tarfile.FIFOTYPE,
    }
    with tarfile.open(path, "w") as tar:
        for name, content in (
            *labelled(0),
            ("../out.jpg", picture(30)),
            ("/root.jpg", picture(31)),
            ("a/../../b.jpg", picture(32)),
            ("twice.jpg", picture(33)),
            ("twice.cls", b"1"),
            ("twice.jpg", picture(34)),
            ("bad\udcff.jpg", picture(35)),
            ("empty.jpg", b""),
            ("empty.cls", b"0"),
            ("text.jpg", b"not an image"),
            ("text.cls", b"0"),
            ("only.cls", b"0"),
            ("broken.jpg", picture(36)[:300]),
            ("broken.cls", b"0"),
            ("silent.jpg", picture(37)),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("folder.jpg")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    dataset = index(path)
    assert len(dataset) == 6
    expected = {f"a.tar/{name}": "unsafe_member" for name in kinds}
    expected |= {
        "a.tar/../out.jpg": "unsafe_member",
        "a.tar//root.jpg": "unsafe_member",
        "a.tar/a/../../b.jpg": "unsafe_member",
        "a.tar/twice.jpg": "duplicate_key",
        "a.tar/bad\\udcff.jpg": "file_name",
        "a.tar/empty": "empty_file",
        "a.tar/text": "not_an_image",
        "a.tar/only": "no_image",
        "a.tar/broken.jpg": "truncated",
        "a.tar/silent": "no_label",
    }
    assert rejected(tmp_path) == expected
    twice = Counter(["duplicate_key"])  # both images of that name
    assert dataset.info.rejected == Counter(expected.values()) + twice
    assert verify_dataset(dataset, 1, lambda n: None) == []


def test_several_images_need_a_choice(tmp_path: Path) -> None:
    members = []
    for seed in range(4):
        members += [(f"k{seed}.jpg", picture(seed)), (f"k{seed}.cls", b"%d" % (seed % 2))]
        members += [(f"k{seed}.png", picture(20 + seed, "PNG"))]
    tar = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=r"several images \(jpg, png\): choose one with --image-ext"):
        index(tar, out=tmp_path / "x")
    dataset = index(tar, out=tmp_path / "y", image_ext=("webp", "png"))
    assert set(dataset.column("format")) == {"PNG"}


def test_every_truncation_of_a_tar_is_noticed_or_harmless(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", labelled(0, 2)).read_bytes()
    samples = len(list_tar(tmp_path / "whole.tar").samples)
    cut = tmp_path / "cut.tar"
    noticed = []
    for length in range(0, len(whole), 173):
        cut.write_bytes(whole[:length])
        try:
            assert len(list_tar(cut).samples) <= samples
        except InputError as error:
            noticed.append(str(error))
    assert len(noticed) > 10
    assert all("cut.tar" in message for message in noticed)


def test_what_a_person_gets_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    good = write_tar(tmp_path / "good/a.tar", labelled(0))
    odd = write_tar(tmp_path / "odd/a.tar", [("k.jpg", picture(0)), ("k.cls", b"cat")])
    bare = write_tar(tmp_path / "bare/a.tar", [("k.jpg", picture(0))])
    none = write_tar(tmp_path / "none/a.tar", [("readme", b"")])
    single = write_tar(tmp_path / "single/a.tar", [("k.jpg", picture(0)), ("k.cls", b"0")])
    packed = tmp_path / "packed.tar"
    packed.write_bytes(b"\x1f\x8b" + bytes(100))
    text = tmp_path / "text.tar"
    text.write_text("no tar" * 200)
    (tmp_path / "hollow").mkdir()
    out = tmp_path / "out"
    for tars, settings, message in (
        ([tmp_path / "nope.tar"], {}, r"nope\.tar does not exist"),
        ([tmp_path / "hollow"], {}, "holds no .tar files"),
        ([packed], {}, "compressed or packed with gzip, .*: unpack it"),
        ([text], {}, "is not a tar or is cut off"),
        ([none], {}, "holds no samples"),
        ([odd], {}, r"sample 'k': the label 'cat' means neither real nor generated: use --label"),
        ([bare], {}, "nothing says whether sample 'k' is real or generated .*--label-from"),
        ([single], {}, "all images in the tars are real: a detector needs both"),
        ([good], {"label_from": "nonsense"}, "--label-from nonsense: give one of cls, txt"),
        ([good], {"label_from": "list.csv"}, r"--label-from list\.csv: cannot be read"),
        ([good], {"group_from": "cls"}, "--group-from cls: give one of txt, json:KEY"),
        ([good], {"image_ext": ("png",)}, "no image was accepted: .*--image-ext jpg"),
    ):
        with pytest.raises(InputError, match=message):
            index(*tars, out=out, **settings)
    assert len(index(good, out=out)) == 6  # none of the mistakes stands in the way
    with pytest.raises(InputError, match="2 folders: give a folder for the data set with --out"):
        index(good, odd)
    with pytest.raises(InputError, match="--real and --generated both name 'X'"):
        parse_values(["x"], ["X", "x"])


def test_nothing_of_the_persons_is_overwritten(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", labelled(0))
    for name in ("dataset.json", "a.sidecar", "a.sidecar.tar", "samples.arrow"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=f"already holds {name}"):
            index(tar)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


def test_a_second_run_does_nothing_or_says_what_differs(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", labelled(0))
    index(tar)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    report = index_tars([tmp_path], None, IndexSettings(global_size=32), progress=False)
    assert report.finished_before
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    with pytest.raises(InputError, match=r"another index \(different settings\)"):
        index(tar, split_seed=7)
    write_tar(tmp_path / "b.tar", labelled(10))
    with pytest.raises(InputError, match=r"another index \(different tars\)"):
        index(tar, tmp_path / "b.tar")


def test_an_interrupted_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tars = [write_tar(tmp_path / f"in/{n}.tar", labelled(10 * n)) for n in range(3)]
    whole = index(*tars, out=tmp_path / "whole")
    write, written = SidecarTask.write, []

    def write_one(task: SidecarTask, advance: Callable[[], object]) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(task.name)
        write(task, advance)

    with monkeypatch.context() as patch:
        patch.setattr(SidecarTask, "write", write_one)
        with pytest.raises(KeyboardInterrupt):
            index(*tars, out=tmp_path / "cut")
    assert not (tmp_path / "cut/dataset.json").exists()
    (tmp_path / "cut/.1.sidecar.12345.tmp").write_bytes(b"left behind")
    index(*tars, out=tmp_path / "cut")
    names = {path.name for path in whole.root.iterdir()}
    assert {path.name for path in (tmp_path / "cut").iterdir()} == names
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (whole.root / name).read_bytes(), name


def test_nothing_is_left_of_an_index_killed_before_its_first_rename(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", labelled(0))
    killed_at_rename(lambda: index(tar))
    (left,) = tmp_path.glob("*.tmp")
    (tmp_path / ".thesis.txt.17.tmp").write_text("mine")
    index(tar)
    assert not left.exists()
    assert [path.name for path in tmp_path.glob("*.tmp")] == [".thesis.txt.17.tmp"]


def test_damage_is_found(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", labelled(0))
    dataset = index(tar)
    row = dataset.table.to_pylist()[0]
    for path, offset, expected in (
        (tar, row["image_offset"] + row["image_length"] - 40, {"tar", "image"}),
        (tmp_path / "a.sidecar", row["global_offset"] + 500, {"tar", "global_view"}),
        (tmp_path / "a.sidecar", row["mcu_offset"] + 20, {"tar", "entry_points"}),
    ):
        data = path.read_bytes()
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        found = {finding.check for finding in verify_dataset(dataset, 1, lambda n: None)}
        assert expected <= found
        path.write_bytes(data)


def test_sidecars_are_no_tars_by_name_and_older_ones_are_read(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", labelled(0))
    dataset = index(tar)
    assert [path.name for path in tmp_path.glob("*.tar")] == ["a.tar"]
    (tmp_path / "a.sidecar").rename(tmp_path / "a.sidecar.tar")
    info, old = dataset.info, tmp_path / "a.sidecar.parquet"
    shard = replace(info.shards[0], sidecar="a.sidecar.tar")
    write_shard_manifest(old, dataset.table.sort_by("sample_key").to_pylist(), ShardRecord(shard, ()))
    write_description(replace(info, shards=(shard,)), dataset.table, tmp_path)
    older = ShardDataset.open(tmp_path)
    assert verify_dataset(older, 1, lambda n: None) == []
    for begun in (True, False):  # done, and stopped at the last step
        report = index_tars([tmp_path], None, IndexSettings(global_size=32), progress=False)
        assert report.finished_before == begun
        assert not (tmp_path / "a.sidecar").exists()
        assert [shard.sidecar for shard in report.info.shards] == ["a.sidecar.tar"]
        (tmp_path / "dataset.json").unlink()


def test_our_own_shards_can_be_indexed(synthetic_shards: Path, tmp_path: Path) -> None:
    built = ShardDataset.open(synthetic_shards)
    dataset = index(synthetic_shards, out=tmp_path)
    assert sorted(dataset.column("pixel_sha256").tolist()) == sorted(built.column("pixel_sha256").tolist())
    for name in ("label", "split", "generator"):
        by_pixels = [
            dict(zip(map(bytes, d.column("pixel_sha256")), d.column(name), strict=True)) for d in (built, dataset)
        ]
        assert by_pixels[0] == by_pixels[1]


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tar(tmp_path / "a.tar", [*labelled(0), ("readme", b"")])
    assert main([str(tmp_path), "--workers", "1", "--global-size", "32"]) == 0
    said = capsys.readouterr().out
    assert "skipped 1 file outside of samples" in said
    assert "labels by cls: '0' = real (3), '1' = generated (3); 0 = real, 1 = generated" in said
    assert "6 samples in 1 shard\n" in said
    assert main([str(tmp_path), "--workers", "1", "--global-size", "32"]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / f"in/{n}.tar", labelled(10 * n)) for n in range(3)]
    for workers in (1, 2):
        out = tmp_path / str(workers)
        index_tars(tars, out, IndexSettings(global_size=32), workers, progress=False)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name
