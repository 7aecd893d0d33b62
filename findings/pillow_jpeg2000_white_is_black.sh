#!/usr/bin/env bash
# Pillow 13.0.0, imagecodecs 2026.3.6, Python 3.11; seen on 2026-11-28.
# One expects: a colour JPEG 2000 of 10, 12 or 16 bits opens in mode RGB with its white scaled to 255.
# What happens: the reduction to 8 bits rounds up past 255 and wraps, so that white (and all within half
#   a step of it) becomes black, without a warning. Grey images are right: they open as I;16.
# What to do: refuse colour JPEG 2000 of more than 8 bits in Pillow, or decode it with imagecodecs.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 imagecodecs==2026.3.6 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io

import imagecodecs
import numpy as np
from PIL import Image

for bits in (10, 12, 16):
    white = (1 << bits) - 1
    ramp = np.repeat(np.linspace(0, white, 64).astype(np.uint16)[None], 64, axis=0)
    colour = np.stack([ramp] * 3, axis=-1)
    file = imagecodecs.jpeg2k_encode(
        colour, level=0, bitspersample=bits, codecformat="jp2", reversible=True
    )
    assert np.array_equal(imagecodecs.jpeg2k_decode(file), colour), "the file holds the ramp"
    image = Image.open(io.BytesIO(file))
    last = np.asarray(image)[0, -3:, 0].tolist()
    print(f"{bits} bits: mode {image.mode}, the last three columns, up to white: {last}")
    assert image.mode == "RGB", "changed: no longer reduced to 8 bits"
    assert last == [248, 252, 0], "changed: white is no longer black"
PYTHON
echo "as found: white turns black"
