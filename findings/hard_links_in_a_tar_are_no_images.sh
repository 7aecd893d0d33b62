#!/usr/bin/env bash
# webdataset 1.0.2, GNU tar and Python's tarfile, Python 3.11; seen on 2026-11-29.
# One expects: a tar of a folder holds every file in it, and WebDataset returns every image.
# What happens: GNU tar and tarfile store the second name of a file with several hard links (after jdupes -L, cp -al or
#   rsync --link-dest) as a link without bytes. tar x restores it; WebDataset skips members that are no regular files,
#   without a warning: where the label is a file of its own, a sample of nothing but the label, else no sample. It
#   depends on the order of names which of the two classes loses a picture that both contain.
# What to do: tar --hard-dereference, or write members from bytes (webdataset's TarWriter, tarfile.addfile); compare the
#   number of samples that have an image with the number of files.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet webdataset==1.0.2 pillow==13.0.0
tar --version | head -1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys
import tarfile

import webdataset
from PIL import Image

folder = sys.argv[1]
source = f"{folder}/source"
os.mkdir(source)
for key, label in (("a", "0"), ("b", "1"), ("c", "0")):
    with open(f"{source}/{key}.cls", "w") as file:
        file.write(label)
Image.new("RGB", (16, 16), (9, 9, 9)).save(f"{source}/a.jpg")
os.link(f"{source}/a.jpg", f"{source}/b.jpg")
Image.new("RGB", (16, 16), (99, 9, 9)).save(f"{source}/c.jpg")
names = sorted(os.listdir(source))


def gnu_tar(path, *options):
    subprocess.run(["tar", *options, "-cf", path, "-C", source, *names], check=True)


def python_tarfile(path):
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.add(f"{source}/{name}", name)


def samples(path):
    read = webdataset.WebDataset(path, shardshuffle=False)
    return {sample["__key__"]: sorted(set(sample) & {"jpg", "cls"}) for sample in read}


whole = {key: ["cls", "jpg"] for key in "abc"}
for name, write in (("GNU tar", gnu_tar), ("tarfile.add", python_tarfile)):
    path = f"{folder}/{name}.tar"
    write(path)
    found = samples(path)
    print(f"{name}: {found}")
    assert found == {**whole, "b": ["cls"]}, f"changed: {name}"
    restored_folder = f"{folder}/restored by {name}"
    os.mkdir(restored_folder)
    subprocess.run(["tar", "-xf", path, "-C", restored_folder], check=True)
    with open(f"{restored_folder}/b.jpg", "rb") as restored, open(f"{source}/b.jpg", "rb") as original:
        assert restored.read() == original.read(), "the tar is whole: tar x restores the image"
gnu_tar(f"{folder}/dereferenced.tar", "--hard-dereference")
assert samples(f"{folder}/dereferenced.tar") == whole, "changed: --hard-dereference"
print("with --hard-dereference: every sample has its image")
PYTHON
echo "as found: hard links are skipped"
