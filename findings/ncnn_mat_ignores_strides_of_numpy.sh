#!/usr/bin/env bash
# ncnn 1.0.20261020 (Python), numpy 2.4.6, Pillow 13.0.0; seen on 2026-11-29.
# One expects: ncnn.Mat(array) takes any float32 array, as torch.from_numpy does, or refuses what it cannot take.
# What happens: it takes the bytes as they lie in memory and ignores strides. An image brought from height, width,
#   channel to channel first by transpose() keeps its shape, and its planes are rubbish; no error, no warning. A network
#   still answers, with a picture of stripes or a score of nothing. Also arr[:, ::2] and arrays in Fortran's order.
#   Where nothing is strided, the Mat is a view: what is written to the array later is what the network computes with.
# What to do: np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32), and keep that array until the result
#   of extract() is copied.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 numpy==2.4.6 pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import ncnn
import numpy as np
from PIL import Image

picture = np.asarray(Image.linear_gradient("L").convert("RGB"), dtype=np.float32)  # dark above, bright below
planes = picture.transpose(2, 0, 1)
assert planes[0, 0].max() == 0, "the first row is black"
seen = np.array(ncnn.Mat(planes))
print("shape kept:", seen.shape == planes.shape, "| pixels kept:", np.array_equal(seen, planes))
print("first plane: last row", planes[0, -1, 0], "as the Mat has it", seen[0, -1, 0])
assert seen.shape == planes.shape and not np.array_equal(seen, planes), "changed: strides count now"

columns = picture[:, ::2, 0]
assert not np.array_equal(np.array(ncnn.Mat(columns)), columns), "changed: strides of columns count now"

copied = np.ascontiguousarray(planes)
mat = ncnn.Mat(copied)
assert np.array_equal(np.array(mat), planes), "a contiguous copy is taken as it is"
copied[0, 0, 0] = 77
assert np.array(mat)[0, 0, 0] == 77, "changed: a Mat no longer shares the array's memory"
PYTHON
echo "as found: rubbish without an error, unless the array is contiguous"
