#!/usr/bin/env bash
# litdata 0.2.76, mosaicml-streaming 0.13.0, Pillow 13.0.0, Python 3.11; seen on 2026-11-29. Installs torch: 5 GB.
# One expects: a PNG or GIF with a palette, as pngquant and web sites make them, comes out with its colours.
# What happens: optimize() of litdata and "pil" of MDSWriter keep the indices and drop the palette: the image is still of
#   mode P, and convert("RGB") makes all of it black. No error, no warning. If one class has more palettes than the
#   other, a detector learns that.
# What to do: image.convert("RGB") before writing, or write the bytes of the file.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 litdata==0.2.76 pillow==13.0.0 \
  transformers==4.57.6 Brotli python-snappy zstd xxhash catalogue
"$folder/venv/bin/pip" install --quiet --no-compile --no-deps mosaicml-streaming==0.13.0 # without the clients of clouds
cat >"$folder/made.py" <<'PYTHON'
import sys

import numpy as np
from PIL import Image

FOLDER = sys.argv[1]
KINDS = ("png", "gif")


def make():
    y, x = np.mgrid[:64, :64]
    picture = Image.fromarray(np.stack([x * 4, y * 4, 255 - x * 2 - y * 2], axis=-1).astype(np.uint8))
    for kind in KINDS:
        picture.quantize(64).save(f"{FOLDER}/picture.{kind}")


def opened(kind):
    return Image.open(f"{FOLDER}/picture.{kind}")


def colours(image):
    return np.asarray(image.convert("RGB"))
PYTHON
cat >"$folder/read.py" <<'PYTHON'
import litdata
import numpy as np
from made import FOLDER, KINDS, colours, make, opened
from streaming import MDSWriter, StreamingDataset

QUICK = {"verbose": False, "start_method": "fork"}  # or the worker imports everything again
CASES = [(kind, convert) for kind in KINDS for convert in (False, True)]


def sample(number):
    kind, convert = CASES[number]
    return {"image": opened(kind).convert("RGB") if convert else opened(kind), "number": number}


def check(name, case, image):
    kind, convert = case
    same, black = np.array_equal(colours(image), colours(opened(kind))), not colours(image).any()
    as_what = "as RGB" if convert else "as opened"
    colour = "right" if same else f"lost, all black: {black}"
    print(f"{name}, {kind} {as_what}: mode {image.mode}, the colours are {colour}")
    assert same == convert and (same or black and image.mode == "P"), f"changed: {name}"


if __name__ == "__main__":
    make()
    litdata.optimize(sample, list(range(len(CASES))), f"{FOLDER}/litdata", num_workers=1, chunk_size=10, **QUICK)
    for row in litdata.StreamingDataset(f"{FOLDER}/litdata"):
        check("litdata", CASES[row["number"]], row["image"])
    for number, case in enumerate(CASES):
        with MDSWriter(out=f"{FOLDER}/mds{number}", columns={"image": "pil"}) as writer:
            writer.write({"image": sample(number)["image"]})
        read = StreamingDataset(local=f"{FOLDER}/mds{number}", shuffle=False, batch_size=1)
        check("streaming", case, read[0]["image"])
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/read.py" "$folder" 2>"$folder/log" | grep "colours" ||
  { tail -20 "$folder/log"; exit 1; }
echo "as found: palettes are dropped"
