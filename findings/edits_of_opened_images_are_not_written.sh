#!/usr/bin/env bash
# datasets 5.2.0, litdata 0.2.76, mosaicml-streaming 0.13.0, Pillow 13.0.0, Python 3.11; seen on 2026-11-29.
#   Installs torch: 5 GB.
# One expects: an image that a function opens, changes and returns is written as it was returned.
# What happens: all three ask the image which file it was opened from, and take that file as it is. Changes made in place,
#   by thumbnail(), paste() or ImageDraw, are lost: no size limit, no covered face, no watermark. There is no warning.
#   datasets does so in map(), from_generator() and from_dict(), for any format (not in a stream, nor where the table
#   holds the bytes); optimize() of litdata and "jpeg" of MDSWriter do so for JPEG. resize() and crop() return a new
#   image, which is written.
# What to do: image = image.copy() before the first change: a copy knows no file. Then look at one sample.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/datasets"
"$folder/datasets/bin/pip" install --quiet --no-compile datasets==5.2.0 pillow==13.0.0
python3 -m venv "$folder/shards"
"$folder/shards/bin/pip" install --quiet --no-compile torch==2.14.1 litdata==0.2.76 pillow==13.0.0 \
  transformers==4.57.6 Brotli python-snappy zstd xxhash catalogue
"$folder/shards/bin/pip" install --quiet --no-compile --no-deps mosaicml-streaming==0.13.0 # without the clients of clouds
cat >"$folder/made.py" <<'PYTHON'
import os
import sys

import numpy as np
from PIL import Image, ImageDraw

FOLDER = sys.argv[1]
KINDS = ("jpg", "png")
LARGE, SMALL = (600, 400), (100, 67)


def path(kind):
    return f"{FOLDER}/images/{kind}.{kind}"


def make():
    os.makedirs(f"{FOLDER}/images", exist_ok=True)
    for kind in KINDS:
        Image.new("RGB", LARGE, (200, 200, 200)).save(path(kind))


def edited(image, copy):
    """Made black in its upper left quarter, then small."""
    image = image.copy() if copy else image
    ImageDraw.Draw(image).rectangle((0, 0, 300, 200), fill=(0, 0, 0))
    image.thumbnail((100, 100))
    return image


def as_edited(image):
    """Whether both edits are there, or neither."""
    pixels = np.asarray(image)
    if pixels.shape[0] == 3:  # litdata gives CHW tensors of JPEGs
        pixels = pixels.transpose(1, 2, 0)
    size, corner = (pixels.shape[1], pixels.shape[0]), int(pixels[0, 0, 0])
    assert (size, corner > 190) in {(LARGE, True), (SMALL, False)}, "one edit of two"
    return size == SMALL


def check(where, kind, copy, image, lost):
    done = as_edited(image)
    print(f"{where}, {kind}, {'a copy' if copy else 'in place'}: {'written' if done else 'the edits are lost'}")
    assert done == (copy or not lost), f"changed: {where}, {kind}"
PYTHON
cat >"$folder/read_datasets.py" <<'PYTHON'
from datasets import Dataset, Features, disable_progress_bars, load_dataset
from datasets import Image as ImageColumn
from made import FOLDER, KINDS, Image, check, edited, make, path

disable_progress_bars()
make()
for kind in KINDS:
    for copy in (False, True):

        def edit(row, copy=copy):
            return {"image": edited(row["image"], copy)}

        def rows(kind=kind, copy=copy):
            yield {"image": edited(Image.open(path(kind)), copy)}

        opened = load_dataset("imagefolder", data_files=path(kind), split="train")
        check("map of datasets", kind, copy, opened.map(edit)[0]["image"], True)
        made = Dataset.from_generator(rows, features=Features({"image": ImageColumn()}))
        check("from_generator of datasets", kind, copy, made[0]["image"], True)
        made = Dataset.from_dict({"image": [row["image"] for row in rows()]})
        check("from_dict of datasets", kind, copy, made[0]["image"], True)
PYTHON
cat >"$folder/read_shards.py" <<'PYTHON'
import litdata
from made import FOLDER, KINDS, Image, check, edited, make, path
from streaming import MDSWriter, StreamingDataset

QUICK = {"verbose": False, "start_method": "fork"}  # or the worker imports everything again
CASES = [(kind, copy) for kind in KINDS for copy in (False, True)]


def sample(number):
    kind, copy = CASES[number]
    return {"image": edited(Image.open(path(kind)), copy), "number": number}


if __name__ == "__main__":
    make()
    litdata.optimize(sample, list(range(len(CASES))), f"{FOLDER}/litdata", num_workers=1, chunk_size=10, **QUICK)
    for row in litdata.StreamingDataset(f"{FOLDER}/litdata"):
        kind, copy = CASES[row["number"]]
        check("optimize of litdata", kind, copy, row["image"], lost=kind == "jpg")
    for number, (kind, copy) in enumerate(CASES):
        encoding = "jpeg" if kind == "jpg" else "png"
        out = f"{FOLDER}/mds{number}"
        with MDSWriter(out=out, columns={"image": encoding}) as writer:
            writer.write({"image": sample(number)["image"]})
        read = StreamingDataset(local=out, shuffle=False, batch_size=1)[0]["image"]
        check(f"'{encoding}' of MDSWriter", kind, copy, read, lost=kind == "jpg")
PYTHON
HF_HOME="$folder/hub" "$folder/datasets/bin/python" "$folder/read_datasets.py" "$folder"
"$folder/shards/bin/python" -W ignore "$folder/read_shards.py" "$folder" 2>"$folder/log" | grep -E "lost|written|changed" ||
  { tail -20 "$folder/log"; exit 1; }
echo "as found: what was changed in place is not written"
