#!/usr/bin/env bash
# Ray 2.60.0, Pillow 13.0.0, webdataset 1.0.2, Python 3.11; seen on 2026-11-28.
# One expects: ray.data.read_webdataset(A).write_webdataset(B), say after a filter, copies the images that it keeps.
# What happens: images are decoded while they are read and encoded again while they are written, as JPEG of
#   Pillow's default quality 75 under the same name: other bytes, other pixels, and for a detector of
#   generated images a trace that only the copied part of the data carries.
# What to do: read_webdataset(…, decoder=None) and write_webdataset(…, encoder=None), both, keep every byte.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[data]==2.60.0" pillow==13.0.0 webdataset==1.0.2
RAY_TMPDIR="$folder" "$folder/venv/bin/python" - "$folder" <<'PYTHON' 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
import glob
import io
import sys
import tarfile

import numpy as np
import ray
from PIL import Image

folder = sys.argv[1]
noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
file = io.BytesIO()
Image.fromarray(noise).resize((256, 256)).save(file, "JPEG", quality=95)
jpeg = file.getvalue()
with tarfile.open(f"{folder}/source.tar", "w") as tar:
    member = tarfile.TarInfo("0001.jpg")
    member.size = len(jpeg)
    tar.addfile(member, io.BytesIO(jpeg))

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)


def copied(name, reading, writing):
    ray.data.read_webdataset(f"{folder}/source.tar", **reading).write_webdataset(f"{folder}/{name}", **writing)
    with tarfile.open(glob.glob(f"{folder}/{name}/*.tar")[0]) as tar:
        return tar.extractfile("0001.jpg").read()


default = copied("default", {}, {})
pillow_75 = io.BytesIO()
Image.open(io.BytesIO(jpeg)).save(pillow_75, "JPEG")
same_tables = Image.open(io.BytesIO(default)).quantization == Image.open(pillow_75).quantization
print(f"by default: {len(jpeg):,} bytes became {len(default):,}; tables of quality 75: {same_tables}")
assert default != jpeg and same_tables, "changed: the default copy"
assert copied("raw", {"decoder": None}, {"encoder": None}) == jpeg, "changed: None, None"
print("with decoder=None and encoder=None: the same bytes")
PYTHON
echo "as found: images are compressed again"
