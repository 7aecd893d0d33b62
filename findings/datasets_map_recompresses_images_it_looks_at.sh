#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, Pillow 13.0.0, Python 3.11; seen on 2026-11-29.
# One expects: map(lambda row: {"width": row["image"].width}) adds a column and keeps the images as they are.
# What happens: where the data set holds the bytes (Parquet, most of the Hub), map() stores each image that the function
#   looked at anew, without a warning: a JPEG as JPEG of Pillow's default quality 75, a lossless WebP as a lossy one, a
#   JPEG with an EXIF orientation as a turned PNG. Rows whose image is not looked at keep their bytes. For a detector
#   of generated images, that is a trace of the preparation, over all that it passed and over nothing else.
# What to do: map(…, input_columns="image"), whose function gets the image alone, keeps every byte; so does
#   cast_column("image", Image(decode=False)) before map() and Image.open(BytesIO(row["image"]["bytes"])) inside.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import sys

import numpy as np
from datasets import Dataset, Features, Image, disable_progress_bars, load_dataset
from PIL import Image as Pillow

disable_progress_bars()
noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
picture = Pillow.fromarray(noise).resize((128, 96))


def encoded(kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def opened(data):
    return Pillow.open(io.BytesIO(data))


turned = Pillow.Exif()
turned[0x0112] = 6
files = {
    "JPEG of quality 95": encoded("JPEG", quality=95),
    "lossless WebP": encoded("WEBP", lossless=True),
    "JPEG of orientation 6": encoded("JPEG", quality=95, exif=turned),
}
rows = [{"path": None, "bytes": data} for data in files.values()]
Dataset.from_dict({"image": rows}, features=Features({"image": Image()})).to_parquet(f"{sys.argv[1]}/images.parquet")
dataset = load_dataset("parquet", data_files=f"{sys.argv[1]}/images.parquet", split="train")


def stored(dataset):
    return [row["bytes"] for row in dataset.cast_column("image", Image(decode=False))["image"]]


def unread(row):
    return {"width": opened(row["image"]["bytes"]).width}


originals = list(files.values())
assert stored(dataset) == originals, "Parquet holds the files"
after = stored(dataset.map(lambda row: {"width": row["image"].width}))
for name, old, new in zip(files, originals, after, strict=True):
    print(f"{name}: {len(old):,} bytes became {len(new):,}, {opened(new).format} of {opened(new).size}")
    assert old != new, f"changed: {name} is kept"
assert opened(after[0]).quantization == opened(encoded("JPEG")).quantization, "changed: no longer quality 75"
assert not np.array_equal(np.asarray(opened(after[1])), np.asarray(picture)), "changed: WebP stays lossless"
assert (opened(after[2]).format, opened(after[2]).size) == ("PNG", (96, 128)), "changed: orientation"

assert stored(dataset.map(lambda row: {"number": 1})) == originals, "changed: images nobody looked at"
alone = dataset.map(lambda image: {"width": image.width}, input_columns="image")
undecoded = dataset.cast_column("image", Image(decode=False)).map(unread)
assert stored(alone) == stored(undecoded) == originals, "changed: the remedies"
assert (alone["width"], undecoded["width"]) == ([128, 128, 96], [128, 128, 128]), "turned when decoded, as stored"
print("with input_columns or decode=False: the same bytes")
PYTHON
echo "as found: looking at an image in map() compresses it again"
