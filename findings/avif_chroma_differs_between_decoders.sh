#!/usr/bin/env bash
# Pillow 13.0.0 and OpenCV 5.0.0.93 (libavif), pyvips-binary 8.18.7 (libheif), Python 3.11; seen on 2026-11-28.
# One expects: the same AVIF gives the same pixels in every decoder, up to a rounding of one level, as JPEG does.
# What happens: AV1 decoding is exact, but the file does not say how 4:2:0 chroma becomes 4:4:4. libavif
#   interpolates it, libheif repeats it: more than 100 of 255 levels at coloured edges. 4:4:4 agrees up to 1.
# What to do: name the decoder beside every AVIF result, train and predict with the same one, and expect
#   "preprocessing differs" between a Pillow and a libvips (sharp, ImageMagick) service.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 \
  pyvips-binary==8.18.7 pyvips==3.2.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io

import cv2
import numpy as np
import pyvips
from PIL import Image

y, x = np.mgrid[:192, :256]
picture = np.stack([(x // 16 % 2), (y // 16 % 2), ((x + y) // 16 % 2)], axis=-1).astype(np.uint8) * 255
largest = {}
for subsampling in ("4:4:4", "4:2:0"):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "AVIF", quality=90, subsampling=subsampling)
    data = file.getvalue()
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1].astype(int)
    vips = pyvips.Image.new_from_buffer(data, "").numpy()[..., :3].astype(int)
    largest[subsampling] = int(np.abs(vips - pillow).max())
    print(f"{subsampling}: OpenCV - Pillow {np.abs(opencv - pillow).max()}, libvips - Pillow {largest[subsampling]}")
    assert np.array_equal(opencv, pillow), "changed: two users of libavif differ"
assert largest["4:4:4"] <= 1, "changed: 4:4:4 differs too"
assert largest["4:2:0"] > 50, "changed: the decoders agree on 4:2:0"
PYTHON
echo "as found: 4:2:0 AVIF depends on the decoder"
