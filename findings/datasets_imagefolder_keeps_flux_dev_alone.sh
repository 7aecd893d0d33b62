#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, Pillow 13.0.0, Python 3.11; seen on 2026-11-29.
# One expects: load_dataset("imagefolder", data_dir=…) gives all images below a folder, whatever generators are called.
# What happens: where train, val, dev, test, eval or the like stands in any name as a word, with dots, hyphens, digits
#   or spaces around it, only what is so named is read, as a split. A folder fake/flux.1-dev hides all real images and
#   all other generators; one picture crash-test-dummy.jpg hides everything else, and the labels. There is no warning:
#   whoever takes the only split that there is trains on it. Beside that, AVIF is passed over, though Pillow opens it.
# What to do: compare the number of rows with that of files. data_files={"train": "FOLDER/**"} ignores words in names
#   (classes are the innermost folders, as ever); AVIF is read where a metadata.csv names it.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import sys

from datasets import disable_progress_bars, load_dataset
from PIL import Image

disable_progress_bars()
EACH = 10


def made(name, folders, suffix="jpg"):
    root = f"{sys.argv[1]}/{name}"
    for number, folder in enumerate(folders):
        os.makedirs(f"{root}/{folder}")
        for i in range(EACH):
            Image.new("RGB", (16, 16), (i, number, 0)).save(f"{root}/{folder}/{i:04}.{suffix}")
    return root


def read(name, **options):
    splits = {split: rows for split, rows in load_dataset("imagefolder", **options).items()}
    classes = {split: getattr(rows.features.get("label"), "names", None) for split, rows in splits.items()}
    found = {split: len(rows) for split, rows in splits.items()}
    print(f"{name}: rows {found}, classes {classes}")
    return found


folders = made("plain", ["real/photos", "fake/flux.1-schnell", "fake/sdxl"])
assert read("flux.1-schnell", data_dir=folders) == {"train": 3 * EACH}, "nothing in the names: all images"

folders = made("dev", ["real/photos", "fake/flux.1-dev", "fake/sdxl"])
assert read("flux.1-dev", data_dir=folders) == {"validation": EACH}, "changed: a folder called flux.1-dev"
told = read("flux.1-dev, with data_files", data_files={"train": f"{folders}/**"})
assert told == {"train": 3 * EACH}, "changed: data_files"

folders = made("one_name", ["real", "fake"])
os.rename(f"{folders}/fake/0003.jpg", f"{folders}/fake/crash-test-dummy.jpg")
assert read("crash-test-dummy.jpg", data_dir=folders) == {"test": 1}, "changed: one file whose name has the word test"

folders = made("formats", ["real", "fake"])
for i in range(EACH):
    Image.open(f"{folders}/real/{i:04}.jpg").save(f"{folders}/real/avif_{i}.avif")
assert read("ten of the images AVIF", data_dir=folders) == {"train": 2 * EACH}, "changed: AVIF"
PYTHON
echo "as found: a word in a name hides all images whose names lack such words"
