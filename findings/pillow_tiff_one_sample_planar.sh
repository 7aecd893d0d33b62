#!/usr/bin/env bash
# Pillow 13.0.0, tifffile 2026.3.3, OpenCV 5.0.0.93, Python 3.11; seen on 2026-11-28.
# One expects: PlanarConfiguration (tag 284) changes nothing in a grey TIFF: with one sample per pixel, the planes are
#   "apart" and "together" at once, and writers set either value.
# What happens: with 2, Pillow takes only the first letter of its raw mode. A grey image whose white is zero
#   (PhotometricInterpretation 0, usual for scans) loses its inversion and opens as its own negative. With 1 it is right.
# What to do: for SamplesPerPixel 1, treat tag 284 as 1 before decoding, or decode with tifffile or OpenCV.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct

import cv2
import numpy as np
from PIL import Image

ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 16, axis=0)


def tiff(planar):
    """``ramp`` as an uncompressed grey TIFF whose white is zero, so stored inverted."""
    pixels = (255 - ramp).tobytes()
    height, width = ramp.shape
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 0), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(pixels)), (284, planar)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


for planar in (1, 2):
    data = tiff(planar)
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    right, negative = np.array_equal(pillow, ramp), np.array_equal(pillow, 255 - ramp)
    print(f"PlanarConfiguration {planar}: Pillow right {right}, negative {negative}")
    assert np.array_equal(opencv, ramp), "OpenCV reads both"
    assert (right, negative) == ((True, False) if planar == 1 else (False, True)), "changed"
PYTHON
echo "as found: the negative"
