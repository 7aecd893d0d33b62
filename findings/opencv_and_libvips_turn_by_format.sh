#!/usr/bin/env bash
# OpenCV 5.0.0.93, pyvips-binary 8.18.7 (libheif), Pillow 13.0.0, Python 3.11; seen on 2026-11-29.
# One expects: a reader either turns pictures as they ask for it or it does not: OpenCV turns by EXIF unless it gets
#   IMREAD_IGNORE_ORIENTATION, libvips leaves that to autorot().
# What happens: it goes by format. OpenCV never turns AVIF, whose orientation stands in boxes (irot, imir), and always
#   turns TIFF, whatever the flag; nothing says so. libvips turns AVIF by itself and no other format. One line of code
#   reads photographs of phones upright or on their side by their format: where one class is AVIF, that is the class.
# What to do: for upright pictures autorot() of libvips or Pillow's exif_transpose, on all formats: both know what was
#   done already. OpenCV has no way for AVIF.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 pyvips==3.2.0 \
  pyvips-binary==8.18.7 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io

import cv2
import numpy as np
import pyvips
from PIL import Image, ImageOps

LIES, STANDS = (80, 40), (40, 80)  # width, height: as stored, and as orientation 6 asks for


def size(array):
    return array.shape[1], array.shape[0]


def opencv(data, flags):
    return size(cv2.imdecode(np.frombuffer(data, np.uint8), flags))


WAYS = ("OpenCV", "OpenCV with IGNORE_ORIENTATION", "libvips", "libvips with autorot", "Pillow with exif_transpose")
EXPECTED = {  # as found
    "JPEG": (STANDS, LIES, LIES, STANDS, STANDS),
    "PNG": (STANDS, LIES, LIES, STANDS, STANDS),
    "WEBP": (STANDS, LIES, LIES, STANDS, STANDS),
    "TIFF": (STANDS, STANDS, LIES, STANDS, STANDS),
    "AVIF": (LIES, LIES, STANDS, STANDS, STANDS),
}
for kind, expected in EXPECTED.items():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", LIES).save(file, kind, exif=exif)
    data = file.getvalue()
    vips = pyvips.Image.new_from_buffer(data, "")
    found = (
        opencv(data, cv2.IMREAD_COLOR),
        opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION),
        size(vips.numpy()),
        size(vips.autorot().numpy()),
        ImageOps.exif_transpose(Image.open(file)).size,
    )
    words = {LIES: "lies", STANDS: "stands"}
    print(f"{kind}: {', '.join(f'{way} {words[seen]}' for way, seen in zip(WAYS, found, strict=True))}")
    assert found == expected, f"changed: {kind}"
PYTHON
echo "as found: OpenCV turns all but AVIF, libvips AVIF alone"
