"""Images in archives: the same data set as of the folder that was packed, and what is refused."""

import io
import os
import pickle
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares
from shards.errors import InputError
from shards.images.rejection import RejectedImage
from shards.sources.dry_run import describe_sources
from shards.sources.files import SCRATCH_NAME
from shards.sources.read import read_sources
from tests.folder_contents import assert_same_files, contents
from tests.test_shards_build import rejected

SETTINGS = BuildSettings(split_shares=parse_shares("0.5,0.25,0.25"), samples_per_shard=5, global_size=32)


def build(source, out, workers=1):
    return build_dataset(source, out, SETTINGS, workers, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encode_image, coded_image):
    """12 images in class folders, one of them lossless, with what is no image."""
    root = tmp_path_factory.mktemp("archives") / "set"
    for index in range(12):
        below = root / ("train/real" if index % 2 else f"train/fake/gan_{'ab'[index // 2 % 2]}")
        below.mkdir(parents=True, exist_ok=True)
        kind, suffix = ("PNG", "png") if index == 3 else ("JPEG", "jpg")
        (below / f"{index:02d}.{suffix}").write_bytes(encode_image(coded_image(index, 40 + index, 30), kind))
    (root / "readme.txt").write_text("how it was made")
    return root


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    """The data set of the folder."""
    out = tmp_path_factory.mktemp("archives") / "built"
    build(folder, out)
    return contents(out)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_zip(path, files, method=zipfile.ZIP_STORED, system=3):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.create_system = method, system
            archive.writestr(info, data)
    return path


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


FORMS = {
    "stored zip": lambda path, files: write_zip(path / "a.zip", files),
    "deflated zip": lambda path, files: write_zip(path / "a.zip", files, zipfile.ZIP_DEFLATED),
    "zip of Windows": lambda path, files: write_zip(
        path / "a.zip", {name.replace("/", "\\"): data for name, data in files.items()}, system=0
    ),
    "zip behind a program": lambda path, files: behind(write_zip(path / "a.zip", files), b"#!/bin/sh\n" * 9),
    "tar": lambda path, files: write_tar(path / "a.tar", files),
    "tar of .": lambda path, files: write_tar(path / "a.tar", {f"./{name}": data for name, data in files.items()}),
    "tar.gz": lambda path, files: write_tar(path / "a.tar.gz", files, "w:gz"),
    "tgz": lambda path, files: write_tar(path / "a.TGZ", files, "w:gz"),
}


def behind(path, start):
    path.write_bytes(start + path.read_bytes())
    return path


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_gives_the_bytes_that_its_folder_gives(form, folder, built, tmp_path):
    archive = FORMS[form](tmp_path, files_below(folder))
    report = build(archive, tmp_path / "out")
    found = contents(tmp_path / "out")
    assert_same_files(found, built)
    assert found.keys() == built.keys()
    assert report.info.num_samples == 12
    assert any("no images by name (.txt 1)" in note for note in report.notes)
    assert build(archive, tmp_path / "out").finished_before


def test_folders_in_a_zip_and_what_macos_adds_are_passed_over(folder, built, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", folder))  # writes entries of folders
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("__MACOSX/train/real/._01.jpg", b"x")
        opened.writestr(".hidden/real/01.jpg", b"x")
    build(archive, tmp_path / "out", workers=2)
    found = contents(tmp_path / "out")
    shards = [name for name in built if name.endswith((".tar", ".idx"))]
    assert {name: found[name] for name in shards} == {name: built[name] for name in shards}


def test_a_folder_around_all_changes_nothing_but_paths(folder, tmp_path):
    files = {f"set/{name}": data for name, data in files_below(folder).items()}
    plain, packed = read_sources(folder.parent), read_sources(write_zip(tmp_path / "set.zip", files))
    assert packed.table.equals(plain.table)
    assert read_sources(write_tar(tmp_path / "set.tar", files)).table.equals(packed.table)


def test_archives_in_a_folder_count_as_folders_of_their_names(folder, tmp_path):
    files = files_below(folder / "train")
    source = tmp_path / "source"
    (source / "test").mkdir(parents=True)
    write_zip(source / "real.zip", {Path(n).name: d for n, d in files.items() if "real" in n})
    write_tar(source / "test" / "ai.tar.gz", {n: d for n, d in files.items() if "gan_a" in n}, "w:gz")
    write_tar(source / "fake.tar", {f"sd/{Path(n).name}": d for n, d in files.items() if "gan_b" in n})
    (source / "readme.zip").write_bytes(b"<html>")
    sources = read_sources(source)
    rows = [tuple(row.values()) for row in sources.table.to_pylist()]
    assert {(path.rpartition("/")[0], label, split) for path, label, _, _, split in rows} == {
        ("real.zip", 0, ""),
        ("fake.tar/sd", 1, ""),
        ("test/ai.tar.gz/fake/gan_a", 1, "test"),
    }
    assert any(".zip 1" in note for note in sources.notes)
    report = build(source, tmp_path / "out", workers=2)
    assert report.info.num_samples == 12
    assert not (tmp_path / "out" / SCRATCH_NAME).exists()


def test_what_lies_beside_its_archive_unpacked_is_not_read_twice(folder, tmp_path):
    source = shutil.copytree(folder, tmp_path / "source")
    write_zip(source / "all.zip", files_below(folder))
    (source / "train" / "real.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(40))
    sources = read_sources(source)
    assert sources.table.equals(read_sources(folder).table)
    assert any("passed over 2 archives, as the same files lie beside it unpacked" in note for note in sources.notes)
    assert not any("no images by name" in note and (".zip" in note or ".7z" in note) for note in sources.notes)


@pytest.mark.parametrize("form", ["deflated zip", "tar.gz"])
def test_a_table_in_an_archive_labels_its_images(form, folder, tmp_path):
    images = [name for name in files_below(folder) if name != "readme.txt"]
    files = {f"pictures/{number}.jpg": files_below(folder)[name] for number, name in enumerate(images)}
    table = "file_name,is_fake\n" + "".join(f"pictures/{number}.jpg,{number % 2}\n" for number in range(len(images)))
    archive = FORMS[form](tmp_path, {**files, "metadata.csv": table.encode()})
    rows = read_sources(archive).table.to_pylist()
    assert {row["path"]: row["label"] for row in rows} == {
        f"pictures/{number}.jpg": number % 2 for number in range(len(images))
    }


@pytest.mark.parametrize("form", ["deflated zip", "tar.gz"])
def test_a_dry_run_shows_what_that_of_the_folder_shows(form, folder, tmp_path):
    of_folder = describe_sources(read_sources(folder), "it")
    assert describe_sources(read_sources(FORMS[form](tmp_path, files_below(folder))), "it") == of_folder
    assert any("megapixels" in line for line in of_folder)


def test_of_a_gzipped_tar_a_dry_run_looks_at_the_beginning(folder, tmp_path):
    files = {f"{word}/{n:03d}.jpg": b"x" * n for word in ("real", "fake") for n in range(100)}
    source = read_sources(write_tar(tmp_path / "a.tar.gz", files, "w:gz"))
    names = source.table.column("path").to_pylist()
    assert set(source.files.samples(names, 20)) == {f"real/{n:03d}.jpg" for n in range(10)}
    assert source.files.read("fake/099.jpg") == b"x" * 99  # all the same


def test_a_worker_gets_only_what_it_reads(tmp_path):
    files = {f"{'real' if n % 2 else 'fake'}/{n}.jpg": b"x" for n in range(1000)}
    source = read_sources(write_zip(tmp_path / "a.zip", files))
    part = pickle.loads(pickle.dumps(source.files.only(["real/7.jpg"])))
    assert part.read("real/7.jpg") == b"x"
    assert len(pickle.dumps(part)) < 1000 < len(pickle.dumps(source.files)) / 10


class Killed(BaseException):
    """The end of a process."""


def killed(*arguments):
    raise Killed


def test_a_build_that_dies_while_it_unpacks_begins_that_anew(folder, built, tmp_path, monkeypatch):
    archive, out = write_tar(tmp_path / "a.tar.gz", files_below(folder), "w:gz"), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("shards.sources.archives.files.bisect_right", killed)  # the first piece is written
        with pytest.raises(Killed):
            build(archive, out)
    assert list((out / SCRATCH_NAME).iterdir()) == []
    (out / SCRATCH_NAME / ".0.tar.1.tmp").touch()  # as where no handler ran
    assert not build(archive, out).continued
    assert_same_files(contents(out), built)


def test_a_build_that_dies_later_finds_what_was_unpacked(folder, built, tmp_path, monkeypatch):
    archive, out = write_tar(tmp_path / "a.tar.gz", files_below(folder), "w:gz"), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("shards.build.build.finish", killed)
        with pytest.raises(Killed):
            build(archive, out)
    (unpacked,) = (out / SCRATCH_NAME).iterdir()
    assert unpacked.suffix == ".tar"
    manifest = min(out.glob("train-*.parquet"))
    manifest.unlink()  # so that a shard is left to do
    with monkeypatch.context() as patch:
        patch.setattr("shards.sources.archives.files._copy", killed)
        assert build(archive, out).continued
    assert not (out / SCRATCH_NAME).exists()
    assert_same_files(contents(out), built)


def test_an_archive_that_changed_ends_what_was_begun(folder, tmp_path, monkeypatch):
    archive, out = write_zip(tmp_path / "a.zip", files_below(folder)), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("shards.build.build.finish", killed)
        with pytest.raises(Killed):
            build(archive, out)
    os.utime(archive, ns=(0, 0))  # the bytes are the same
    assert build(archive, out).continued
    files = files_below(folder)
    files["train/real/01.jpg"] = files["train/real/05.jpg"]
    write_zip(archive, files)
    with pytest.raises(InputError, match=r"holds another build \(1 file changed, such as train/real/01\.jpg"):
        build(archive, out)
    sources = read_sources(archive)
    os.utime(archive, ns=(0, 0))
    with pytest.raises(InputError, match=r"a\.zip changed while it was read"):
        sources.files.read("train/real/05.jpg")


def read(path, name):
    """(reason, detail) of a member of an archive."""
    with pytest.raises(RejectedImage) as caught:
        read_sources(path).files.read(name)
    return caught.value.reason, caught.value.detail


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_members_that_are_unsafe_or_come_twice_cost_no_other_image(folder, tmp_path):
    files = files_below(folder)
    image = files["train/real/01.jpg"]
    bad = ["../real/a.jpg", "/etc/real/b.jpg", "real/../../c.jpg", "C:\\real\\d.jpg", "..\\real\\e.jpg"]
    path = write_zip(tmp_path / "a.zip", files)
    with zipfile.ZipFile(path, "a") as archive:
        for name in bad:
            archive.writestr(name, image)
        archive.writestr(link("real/link.jpg"), "../../etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("train/real/01.jpg", b"another")
    report = build(path, tmp_path / "out")
    assert report.info.num_samples == 11
    assert rejected(tmp_path / "out") == {
        **{name.replace("\\", "/"): "unsafe_member" for name in bad},
        "real/link.jpg": "unsafe_member",
        "train/real/01.jpg": "duplicate_key",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_links_in_a_tar(folder, tmp_path):
    """A hard link is the file that it names, as for ``tar x``; others are refused."""
    files = files_below(folder)
    path = write_tar(tmp_path / "a.tar", files)
    with tarfile.open(path, "a") as tar:
        for name, kind, target in (
            ("train/real/hard.jpg", tarfile.LNKTYPE, "train/real/01.jpg"),
            ("train/real/lost.jpg", tarfile.LNKTYPE, "/etc/passwd"),
            ("train/real/soft.jpg", tarfile.SYMTYPE, "01.jpg"),
            ("../real/up.jpg", tarfile.LNKTYPE, "train/real/01.jpg"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    sources = read_sources(path)
    assert sources.files.read("train/real/hard.jpg") == files["train/real/01.jpg"]
    build(path, tmp_path / "out")
    assert rejected(tmp_path / "out") == dict.fromkeys(
        ("train/real/lost.jpg", "train/real/soft.jpg", "../real/up.jpg"), "unsafe_member"
    )


def test_names_that_are_not_ascii(folder, tmp_path):
    """Info-ZIP writes UTF-8 without its mark; what is no UTF-8 is code page 437."""
    image = files_below(folder)["train/real/01.jpg"]
    names = {"real/b\u00e4r.jpg": "utf-8", "fake/\u732b.jpg": "utf-8", "fake/\u00fcber.jpg": "cp437"}
    path = write_zip(tmp_path / "a.zip", {f"{number}" * 16: image for number in range(3)})
    data = path.read_bytes()
    for number, (name, encoding) in enumerate(names.items()):
        coded = name.encode(encoding)
        data = data.replace(f"{number}".encode() * 16, coded + b"\0" * (16 - len(coded)))
    path.write_bytes(data)
    assert sorted(read_sources(path).table.column("path").to_pylist()) == sorted(names)


def test_names_that_are_no_utf8_in_a_tar_are_set_aside(folder, tmp_path):
    files = files_below(folder)
    path = write_tar(tmp_path / "a.tar", {**files, os.fsdecode(b"real/\xff.jpg"): files["train/real/01.jpg"]})
    assert read_sources(path).misnamed == ["real/\\udcff.jpg"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_costs_one_image(method, folder, tmp_path):
    path = write_zip(tmp_path / "a.zip", files_below(folder), method)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        (info,) = (info for info in archive.infolist() if info.filename == "train/real/01.jpg")
    data[info.header_offset + 200] ^= 0xFF
    path.write_bytes(data)
    assert read(path, "train/real/01.jpg")[0] == "corrupt"
    build(path, tmp_path / "out")
    assert rejected(tmp_path / "out") == {"train/real/01.jpg": "corrupt"}


def test_a_member_that_grows_is_never_unpacked(folder, tmp_path, monkeypatch):
    """Zeros: claimed truly, claimed small, and claimed to be another member's."""
    files = files_below(folder)
    path = write_zip(tmp_path / "a.zip", {**files, "real/bomb.bmp": bytes(8 << 20)}, zipfile.ZIP_DEFLATED)
    assert read_sources(path).files.read("real/bomb.bmp") == bytes(8 << 20)  # below 64 MiB
    with monkeypatch.context() as patch:
        patch.setenv("GLASS_MAX_IMAGE_BYTES", str(4 << 20))
        patch.setattr(zlib, "decompressobj", killed)
        assert read(path, "real/bomb.bmp")[0] == "too_large"
    big = write_zip(tmp_path / "b.zip", {**files, "real/bomb.bmp": bytes(65 << 20)}, zipfile.ZIP_DEFLATED)
    assert read(big, "real/bomb.bmp") == ("too_large", "unpacks to 68,157,440 bytes, above GLASS_MAX_UNPACKED_RATIO")
    small = tmp_path / "c.zip"
    small.write_bytes(path.read_bytes().replace(struct.pack("<L", 8 << 20), struct.pack("<L", 1000)))
    assert read(small, "real/bomb.bmp")[0] == "corrupt"
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    struct.pack_into("<L", data, entry + 20, 100_000)  # the packed size of the first, over those behind it
    path.write_bytes(data)
    assert read(path, next(iter(files)))[0] == "corrupt"


def test_a_gzipped_tar_that_grows_is_refused(folder, tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar.gz", {**files_below(folder), "real/bomb.bmp": bytes(65 << 20)}, "w:gz")
    with pytest.raises(InputError, match=r"unpacks to more than 200 times its size at real/bomb\.bmp"):
        read_sources(path)
    monkeypatch.setenv("GLASS_MAX_UNPACKED_RATIO", "100000")
    read_sources(path)


def test_where_there_is_no_room_to_unpack(folder, tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar.gz", files_below(folder), "w:gz")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shards.sources.scratch.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"unpacking the \.tar\.gz takes [\d,]+ bytes in .*, where 1,000 are free"):
        build(path, tmp_path / "out")


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def cut_inside(path):
    """A tar cut off in the middle of an image."""
    with tarfile.open(path) as tar:
        end = tar.getmembers()[5].offset_data + 100
    path.write_bytes(path.read_bytes()[:end])
    return path


def encrypted(path):
    """With the bits set that say so: Python cannot encrypt."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        names = [info.filename.encode() for info in archive.infolist()]
    for name in names:
        data[data.index(name) - 30 + 6] |= 1
        data[data.rindex(name) - 46 + 8] |= 1
    path.write_bytes(data)
    return path


def last_part(path):
    """A zip whose end says that it is the third of several parts."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.rindex(b"PK\5\6") + 4, 2)
    path.write_bytes(data)
    return path


def with_first_part(path):
    path.with_suffix(".z01").write_bytes(b"PK\7\x08")
    return path


def numbered(path):
    return path.rename(path.with_name("a.zip.001"))


REFUSED = {
    "cut zip": (".zip", lambda path: cut(path, 0.7), r"a\.zip is no zip or is cut off .*: fetch it again"),
    "encrypted": (".zip", encrypted, r"a\.zip is encrypted: unpack it to a folder first, with its password"),
    "last part": (".zip", last_part, r"a\.zip is one part .*: join the parts with zip -s 0 a\.zip --out whole\.zip"),
    "first part": (".zip", with_first_part, r"a\.z(ip|01) is one part .* zip -s 0 a\.zip --out whole\.zip"),
    "numbered": (".zip", numbered, r"a\.zip\.001 is one part .* with cat a\.zip\.\[0-9\]\* > whole\.zip"),
    "bzip2 in zip": (".bz2zip", lambda path: path, r"a\.zip is packed by bzip2, which is not read here: unpack it"),
    "cut tar": (".tar", cut_inside, r"a\.tar is cut off inside train/.*: fetch it again"),
    "cut tar.gz": (".tar.gz", lambda path: cut(path, 0.5), r"a\.tar\.gz is no tar or is cut off .*: fetch it again"),
    "tar.xz": (
        ".tar.xz",
        lambda path: path,
        r"a\.tar\.xz is packed or compressed with xz: unpack it to a folder first",
    ),
}
WRITERS = {
    ".zip": write_zip,
    ".bz2zip": lambda path, files: write_zip(path.with_suffix(".zip"), files, zipfile.ZIP_BZIP2),
    ".tar": write_tar,
    ".tar.gz": lambda path, files: write_tar(path, files, "w:gz"),
    ".tar.xz": lambda path, files: write_tar(path, files, "w:xz"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_archives_that_are_refused_as_a_source_and_in_a_folder(case, folder, tmp_path):
    suffix, spoil, message = REFUSED[case]
    path = spoil(WRITERS[suffix](tmp_path / f"a{suffix}", files_below(folder)))
    for source in (path, tmp_path):
        with pytest.raises(InputError, match=message):
            read_sources(source)


def test_a_zip_of_more_files_than_the_limit_is_not_listed(folder, tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", {f"real/{number}": b"" for number in range(200)})
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "100")
    monkeypatch.setattr(zipfile, "ZipFile", killed)
    with pytest.raises(InputError, match=r"may list more files than GLASS_MAX_LIST_ROWS=100"):
        read_sources(path)


def test_archives_in_an_archive_are_named(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"real/a.jpg": b"x"}).read_bytes()
    path = write_zip(tmp_path / "outer.zip", {"train.zip": inner, "test.zip": inner})
    with pytest.raises(InputError, match=r"outer\.zip holds archives, such as train\.zip, .*: unpack them first"):
        read_sources(path)


def test_a_list_in_an_archive_is_not_named_as_one_to_be_given(folder, tmp_path):
    images = {f"{n}.jpg": data for n, data in enumerate(files_below(folder / "train").values())}
    with pytest.raises(InputError, match="or give a list with the columns path,label"):
        read_sources(write_zip(tmp_path / "a.zip", {**images, "train.csv": b"path,label"}))


@pytest.mark.parametrize("label", ["cls", "json"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_tar_of_samples_is_for_index_shards(label, as_folder, folder, tmp_path):
    files = {}
    for number, data in enumerate(files_below(folder / "train").values()):
        files |= {f"{number:03d}.jpg": data, f"{number:03d}.{label}": b"0"}
    path = write_tar(tmp_path / "train-000000.tar", files)
    with pytest.raises(InputError, match=r"scripts\.index_shards"):
        read_sources(tmp_path if as_folder else path)


def test_an_archive_in_a_store_is_to_be_downloaded():
    with pytest.raises(InputError, match=r"https://example\.org/x\.zip is an archive: download it first"):
        read_sources("https://example.org/x.zip")
