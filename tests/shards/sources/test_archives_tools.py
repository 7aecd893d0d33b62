"""Archives written by real programs, where these are installed, and the advice for joining split archives."""

import os
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from shards.errors import InputError
from shards.sources.read import read_sources
from tests.images.archive_forms import build
from tests.machine.folder_contents import assert_same_files, contents

pytestmark = pytest.mark.slow

WAYS = {
    "zip": "zip -qr {out}/a.zip .",
    "zip, stored": "zip -qr0 {out}/a.zip .",
    "zip, zip64 and streamed": "zip -qr -fz - . > {out}/a.zip",
    "GNU tar": "tar -cf {out}/a.tar .",
    "GNU tar, pax": "tar --format=pax -cf {out}/a.tar *",
    "GNU tar, gzip": "tar -czf {out}/a.tar.gz *",
    "bsdtar": "bsdtar -cf {out}/a.tar *",
    "bsdtar, gzip": "bsdtar -czf {out}/a.tgz *",
    "bsdtar, zip": "bsdtar --format zip -cf {out}/a.zip *",
    "7z": "7z a -bd {out}/a.zip . > {out}/said",
}


def in_folder(folder, line):
    """Runs a line of bash in ``folder``. Skips the test if its program is not installed."""
    program = shlex.split(line)[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    subprocess.run(["bash", "-c", line], cwd=folder, check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 16 noisy images, whose names are long or not ASCII."""
    root, random = tmp_path_factory.mktemp("tools") / "set", np.random.default_rng(0)
    for index in range(16):
        below = root / ("nature" if index % 2 else "ai/größe")
        below.mkdir(parents=True, exist_ok=True)
        name = f"{index:02d} 猫.jpg" if index % 3 else f"{index:02d}{'x' * 150}.jpg"
        Image.fromarray(random.integers(0, 256, (96, 96, 3), np.uint8)).save(below / name, quality=95)
    return root


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("tools") / "built"
    build(folder, out)
    return contents(out)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_packs_gives_the_bytes_of_the_folder(way, folder, built, tmp_path):
    in_folder(folder, WAYS[way].format(out=shlex.quote(str(tmp_path))))
    (archive,) = tmp_path.glob("a.*")
    build(archive, tmp_path / "out", workers=2)
    assert_same_files(contents(tmp_path / "out"), built)


def test_a_split_zip_can_be_joined_as_we_say(folder, built, tmp_path):
    in_folder(folder, f"zip -qr -s 64k {shlex.quote(str(tmp_path))}/a.zip .")
    assert len(list(tmp_path.glob("a.*"))) > 2
    for name in ("a.zip", "a.z01"):
        with pytest.raises(InputError, match=r"zip -s 0 a\.zip --out whole\.zip"):
            read_sources(tmp_path / name)
    subprocess.run(["zip", "-q", "-s", "0", "a.zip", "--out", "whole.zip"], cwd=tmp_path, check=True)
    build(tmp_path / "whole.zip", tmp_path / "out")
    assert_same_files(contents(tmp_path / "out"), built)


def test_numbered_parts_can_be_joined_as_we_say(folder, built, tmp_path):
    in_folder(folder, f"zip -qr {shlex.quote(str(tmp_path))}/a.zip .")
    in_folder(tmp_path, "split -b 50000 -d -a 3 --numeric-suffixes=1 a.zip a.zip. && rm a.zip")
    with pytest.raises(InputError, match=r"cat a\.zip\.\[0-9\]\* > whole\.zip"):
        read_sources(tmp_path)
    in_folder(tmp_path, "cat a.zip.[0-9]* > whole.zip")
    build(tmp_path / "whole.zip", tmp_path / "out")
    assert_same_files(contents(tmp_path / "out"), built)


def test_a_zip_with_a_password_is_refused(folder, tmp_path):
    in_folder(folder, f"zip -qr -P secret {shlex.quote(str(tmp_path))}/a.zip .")
    with pytest.raises(InputError, match=r"a\.zip is encrypted"):
        read_sources(tmp_path / "a.zip")


def test_files_with_several_names_are_all_there(folder, tmp_path):
    """A file with two names is read under both, although GNU tar stores the second name as a link without contents."""
    source = shutil.copytree(folder, tmp_path / "set")
    first = min((source / "nature").iterdir())
    os.link(first, source / "ai" / "again.jpg")
    in_folder(source, f"tar -cf {shlex.quote(str(tmp_path))}/a.tar *")
    assert read_sources(tmp_path / "a.tar").table.equals(read_sources(source).table)
    assert read_sources(tmp_path / "a.tar").files.read("ai/again.jpg") == first.read_bytes()
