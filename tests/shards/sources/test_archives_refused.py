"""An archive that is damaged, hostile or of an unknown kind gives one error, or one rejected image."""

import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest

from shards.errors import InputError
from shards.files import tar_headers
from shards.images.rejection import RejectedImage
from shards.sources.read import read_sources
from tests.images.archive_forms import build, files_below, killed, write_folder, write_tar, write_zip
from tests.shards.build.test_build import rejected


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encode_image, coded_image):
    return write_folder(tmp_path_factory.mktemp("archives") / "set", encode_image, coded_image)


@pytest.fixture(params=[4 << 20, pytest.param(64 << 20, marks=pytest.mark.slow)], ids=["4 MiB", "64 MiB"])
def freely(request, monkeypatch):
    """The number of bytes that a file may unpack to, however small it is. Compressing so many zeros takes a while, so
    the default tests lower the limit from 64 MiB to 4 MiB."""
    assert tar_headers._UNPACKED_FREELY == 64 << 20
    monkeypatch.setattr(tar_headers, "_UNPACKED_FREELY", request.param)
    return request.param


def read(path, name):
    """Returns (reason, detail) with which reading a member of an archive is rejected."""
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
    """A hard link is read as the file that it names, as by ``tar x``. All other links are refused."""
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
    """Info-ZIP writes names in UTF-8 without the flag for it. A name that is not valid UTF-8 is read as code page
    437."""
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


@pytest.mark.parametrize("method", [pytest.param(zipfile.ZIP_STORED, marks=pytest.mark.slow), zipfile.ZIP_DEFLATED])
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


def test_a_member_that_grows_is_never_unpacked(folder, tmp_path, monkeypatch, freely):
    """A member that unpacks to far more than its packed size is refused, whether its header gives the true length, a
    smaller one, or a packed size that includes other members."""
    files, length = files_below(folder), freely // 2
    path = write_zip(tmp_path / "a.zip", {**files, "real/bomb.bmp": bytes(length)}, zipfile.ZIP_DEFLATED)
    assert read_sources(path).files.read("real/bomb.bmp") == bytes(length)
    with monkeypatch.context() as patch:
        patch.setenv("GLASS_MAX_IMAGE_BYTES", str(length // 2))
        patch.setattr(zlib, "decompressobj", killed)
        assert read(path, "real/bomb.bmp")[0] == "too_large"
    big = write_zip(tmp_path / "b.zip", {**files, "real/bomb.bmp": bytes(freely + 1000)}, zipfile.ZIP_DEFLATED)
    what = f"unpacks to {freely + 1000:,} bytes, above GLASS_MAX_UNPACKED_RATIO"
    assert read(big, "real/bomb.bmp") == ("too_large", what)
    small = tmp_path / "c.zip"
    small.write_bytes(path.read_bytes().replace(struct.pack("<L", length), struct.pack("<L", 1000)))
    assert read(small, "real/bomb.bmp")[0] == "corrupt"
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    struct.pack_into("<L", data, entry + 20, 100_000)  # the packed size of the first, over those behind it
    path.write_bytes(data)
    assert read(path, next(iter(files)))[0] == "corrupt"


def test_a_gzipped_tar_that_grows_is_refused(folder, tmp_path, monkeypatch, freely):
    path = write_tar(tmp_path / "a.tar.gz", {**files_below(folder), "real/bomb.bmp": bytes(freely)}, "w:gz")
    with pytest.raises(InputError, match=r"unpacks to more than 200 times its size at real/bomb\.bmp"):
        read_sources(path)
    monkeypatch.setenv("GLASS_MAX_UNPACKED_RATIO", "100000")
    read_sources(path)


def test_where_there_is_no_room_to_unpack(folder, tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar.gz", files_below(folder), "w:gz")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shards.sources.scratch.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"unpacking the \.tar\.gz takes [\d,]+ bytes in .*, but only 1,000 are free"):
        build(path, tmp_path / "out")


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def cut_inside(path):
    """Cuts the tar off in the middle of an image. Returns its path."""
    with tarfile.open(path) as tar:
        end = tar.getmembers()[5].offset_data + 100
    path.write_bytes(path.read_bytes()[:end])
    return path


def encrypted(path):
    """Sets the bits in a zip that mark its members as encrypted, because Python cannot encrypt zips. Returns its
    path."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        names = [info.filename.encode() for info in archive.infolist()]
    for name in names:
        data[data.index(name) - 30 + 6] |= 1
        data[data.rindex(name) - 46 + 8] |= 1
    path.write_bytes(data)
    return path


def last_part(path):
    """Makes the end of a zip claim that it is the third of several parts. Returns its path."""
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
    "cut zip": (".zip", lambda path: cut(path, 0.7), r"a\.zip is not a zip or is cut off .*: download it again"),
    "encrypted": (".zip", encrypted, r"a\.zip is encrypted: unpack it to a folder first, with its password"),
    "last part": (".zip", last_part, r"a\.zip is one part .*: join the parts with zip -s 0 a\.zip --out whole\.zip"),
    "first part": (".zip", with_first_part, r"a\.z(ip|01) is one part .* zip -s 0 a\.zip --out whole\.zip"),
    "numbered": (".zip", numbered, r"a\.zip\.001 is one part .* with cat a\.zip\.\[0-9\]\* > whole\.zip"),
    "bzip2 in zip": (".bz2zip", lambda path: path, r"a\.zip is compressed by bzip2, which is not supported: unpack it"),
    "cut tar": (".tar", cut_inside, r"a\.tar is cut off inside train/.*: download it again"),
    "cut tar.gz": (
        ".tar.gz",
        lambda path: cut(path, 0.5),
        r"a\.tar\.gz is not a tar or is cut off .*: download it again",
    ),
    "tar.xz": (
        ".tar.xz",
        lambda path: path,
        r"a\.tar\.xz is compressed or packed with xz, .*: unpack it to a folder first",
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
    with pytest.raises(InputError, match=r"outer\.zip holds archives, for example train\.zip, .*: unpack them first"):
        read_sources(path)


def test_a_list_in_an_archive_is_not_named_as_one_to_be_given(folder, tmp_path):
    images = {f"{n}.jpg": data for n, data in enumerate(files_below(folder / "train").values())}
    with pytest.raises(
        InputError, match=r"holds 1 table in an archive, for example train\.csv, .*: unpack the archive"
    ):
        read_sources(write_zip(tmp_path / "a.zip", {**images, "train.csv": b"path,label"}))
    tables = {"data/train-00000-of-00001.parquet": b"PAR1", "README.md": b"x"}
    with pytest.raises(InputError, match=r"for example data/train-00000-of-00001\.parquet, .*: unpack the archive"):
        read_sources(write_zip(tmp_path / "b.zip", tables))
    (note,) = [
        n for n in read_sources(write_zip(tmp_path / "c.zip", {**files_below(folder), **tables})).notes if "table" in n
    ]
    assert note.startswith("skipped 1 table in an archive, for example data/train-00000-of-00001.parquet")


@pytest.mark.parametrize("label", ["cls", "json"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_tar_of_samples_is_for_index_shards(label, as_folder, folder, tmp_path):
    files = {}
    for number, data in enumerate(files_below(folder / "train").values()):
        files |= {f"{number:03d}.jpg": data, f"{number:03d}.{label}": b"0"}
    path = write_tar(tmp_path / "train-000000.tar", files)
    with pytest.raises(InputError, match=r"glass index"):
        read_sources(tmp_path if as_folder else path)


def test_an_archive_in_a_store_is_to_be_downloaded():
    with pytest.raises(InputError, match=r"https://example\.org/x\.zip is an archive: download it first"):
        read_sources("https://example.org/x.zip")
