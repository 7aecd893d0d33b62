"""Images in archives give the same data set as the folder that was packed, and some archives are refused."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest

from shards.dry_run.description import describe_sources
from shards.errors import InputError
from shards.sources.files import SCRATCH_NAME
from shards.sources.read import read_sources
from tests.images.archive_forms import FORMS, Killed, build, files_below, killed, write_folder, write_tar, write_zip
from tests.machine.folder_contents import assert_same_files, contents


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encode_image, coded_image):
    return write_folder(tmp_path_factory.mktemp("archives") / "set", encode_image, coded_image)


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    """Returns name → bytes of the files of the data set that is built from the folder."""
    out = tmp_path_factory.mktemp("archives") / "built"
    build(folder, out)
    return contents(out)


@pytest.mark.parametrize(
    "form",
    [  # of zips one that is packed and one whose names are of Windows, of tars one that is gzipped
        form if form in ("deflated zip", "zip of Windows", "tgz") else pytest.param(form, marks=pytest.mark.slow)
        for form in FORMS
    ],
)
def test_an_archive_gives_the_bytes_that_its_folder_gives(form, folder, built, tmp_path):
    archive = FORMS[form](tmp_path, files_below(folder))
    report = build(archive, tmp_path / "out")
    found = contents(tmp_path / "out")
    assert_same_files(found, built)
    assert found.keys() == built.keys()
    assert report.info.num_samples == 12
    assert any("without an image extension (.txt 1)" in note for note in report.notes)
    assert build(archive, tmp_path / "out").finished_before


def test_folders_in_a_zip_and_what_macos_adds_are_passed_over(folder, built, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", folder))  # writes entries of folders
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("__MACOSX/train/real/._01.jpg", b"x")
        opened.writestr(".hidden/real/01.jpg", b"x")
    build(archive, tmp_path / "out")
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
    report = build(source, tmp_path / "out")
    assert report.info.num_samples == 12
    assert not (tmp_path / "out" / SCRATCH_NAME).exists()


def test_what_lies_beside_its_archive_unpacked_is_not_read_twice(folder, tmp_path):
    source = shutil.copytree(folder, tmp_path / "source")
    write_zip(source / "all.zip", files_below(folder))
    (source / "train" / "real.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(40))
    sources = read_sources(source)
    assert sources.table.equals(read_sources(folder).table)
    assert any("skipped 1 archive whose unpacked files are beside it" in note for note in sources.notes)
    assert any("skipped 1 archive that cannot be read here, but with a folder" in note for note in sources.notes)
    assert not any("without an image extension" in note and (".zip" in note or ".7z" in note) for note in sources.notes)


@pytest.mark.parametrize("form", ["deflated zip", "tar", "tar.gz"])
def test_what_was_unpacked_is_known_by_its_bytes(form, tmp_path):
    """A folder beside an archive counts as its unpacked copy only if all files have equal bytes; equal names and sizes
    are not enough. A folder that lacks some of the files is an error."""
    files = {f"{word}/{n}.jpg": bytes([n]) * 50 for word in ("real", "fake") for n in range(30)}
    source = tmp_path / "source"
    for name, data in files.items():
        (source / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "a" / name).write_bytes(data)
    archive = FORMS[form](source, {**files, "__MACOSX/real/._1.jpg": b"x", "readme.txt": b"not unpacked"})
    assert len(read_sources(source).table) == 60
    (source / "a/fake/3.jpg").unlink()
    with pytest.raises(InputError, match=r"a\..* is unpacked in .*/source/a \(59 of 60 files\)"):
        read_sources(source)
    FORMS[form](source, {name: data[::-1].replace(data[:1], b"x") for name, data in files.items()})
    assert len(read_sources(source).table) == 119
    archive.unlink()
    assert len(read_sources(source).table) == 59


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
    with pytest.raises(InputError, match=r"holds another build \(1 file changed, for example train/real/01\.jpg"):
        build(archive, out)
    sources = read_sources(archive)
    os.utime(archive, ns=(0, 0))
    with pytest.raises(InputError, match=r"a\.zip changed while it was read"):
        sources.files.read("train/real/05.jpg")
