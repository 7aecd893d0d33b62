#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, Pillow 13.0.0, Python 3.11; seen on 2026-11-28.
# One expects: load_dataset("webdataset", …) returns what lies in the tars, or says what it leaves out.
# What happens: columns and types come from the first five samples of the first tar. (1) A later tar of PNGs behind
#   one of JPEGs: all its rows are there, their image is None, without a warning. (2) A field of the json member that is
#   null in those five and text later: DatasetGenerationError; with streaming=True it is read.
# What to do: one image format per call (data_files of that format's tars), and "" instead of null in json members.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0
HF_HOME="$folder/hub" "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import json
import sys
import tarfile

from datasets import disable_progress_bars, load_dataset
from datasets.exceptions import DatasetGenerationError
from PIL import Image

disable_progress_bars()


def image(kind):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(file, kind)
    return file.getvalue()


def write(name, samples):
    path = f"{sys.argv[1]}/{name}.tar"
    with tarfile.open(path, "w") as tar:
        for number, sample in enumerate(samples):
            for extension, data in sample.items():
                member = tarfile.TarInfo(f"{number:04d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def load(files, streaming=False):
    return list(load_dataset("webdataset", data_files=files, split="train", streaming=streaming))


jpegs = write("jpegs", [{"jpg": image("JPEG"), "json": b'{"label": 0}'} for _ in range(6)])
pngs = write("pngs", [{"png": image("PNG"), "json": b'{"label": 1}'} for _ in range(6)])
rows = load([jpegs, pngs])
without = sum(row["jpg"] is None and "png" not in row for row in rows)
print(f"6 JPEG and 6 PNG samples: {len(rows)} rows, {without} of them without an image")
assert (len(rows), without) == (12, 6), "changed: mixed formats"

texts = [None] * 5 + ["text"] * 2
notes = [{"jpg": image("JPEG"), "json": json.dumps({"note": text}).encode()} for text in texts]
path = write("notes", notes)
try:
    load([path])
except DatasetGenerationError as error:
    print("null first, text later:", error.__cause__)
else:
    raise AssertionError("changed: null first, text later is read")
assert load([path], streaming=True)[-1]["json"] == {"note": "text"}, "changed: streaming"
PYTHON
echo "as found: five samples decide"
