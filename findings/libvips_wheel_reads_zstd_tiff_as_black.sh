#!/usr/bin/env bash
# pyvips-binary 8.18.7 with pyvips 3.2.0, OpenCV 5.0.0.93, Pillow 13.0.0, tifffile with imagecodecs; seen on 2026-11-28.
# One expects: a reader that lacks zstd refuses a TIFF compressed with it, at the latest with fail_on="error".
# What happens: OpenCV refuses; the libvips of the wheel opens it, and every pixel is 0. Size and type are right.
#   It counts as a warning: fail_on="error" returns the black image too, only fail_on="warning" raises.
# What to do: give such files to Pillow, tifffile or DALI; open with fail_on="warning" where libvips reads a data set.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 \
  pyvips-binary==8.18.7 pyvips==3.2.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io

import cv2
import numpy as np
import pyvips
import tifffile
from PIL import Image

picture = np.random.default_rng(0).integers(1, 256, (192, 256, 3), dtype=np.uint8)
file = io.BytesIO()
tifffile.imwrite(file, picture, tile=(192, 192), compression="zstd", photometric="rgb")
data = file.getvalue()
assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture), "Pillow reads it"
assert cv2.imdecode(np.frombuffer(data, np.uint8), 1) is None, "changed: OpenCV reads it"
vips = pyvips.Image.new_from_buffer(data, "").numpy()
print("libvips:", vips.shape, vips.dtype, "largest value", vips.max())
assert vips.shape == picture.shape and vips.max() == 0, "changed: no longer black"
assert pyvips.Image.new_from_buffer(data, "", fail_on="error").max() == 0, "changed: an error now"
try:
    pyvips.Image.new_from_buffer(data, "", fail_on="warning").numpy()
except pyvips.Error as error:
    print("with fail_on='warning':", str(error).splitlines()[1].strip())
else:
    raise AssertionError("changed: fail_on='warning' no longer raises")
PYTHON
echo "as found: black without an error"
