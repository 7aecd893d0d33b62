#!/usr/bin/env bash
# imagecodecs 2026.3.6 (libjxl 0.11.2), pillow-jxl-plugin 1.3.8, Pillow 13.0.0, Python 3.11; seen on 2026-11-29.
# One expects: a JPEG that was transcoded to JPEG XL without loss, to save a fifth, decodes to the pixels of the JPEG.
# What happens: the file gives the JPEG back byte for byte, yet libjxl decodes its coefficients in its own way: with
#   imagecodecs more than half of all values differ from the JPEG in Pillow, some by 20 levels at quality 50 or 75. The
#   Pillow plugin restores the JPEG first and differs in nothing, so two readers of one file disagree. libjxl's
#   authors call it normal: JPEG leaves the pixels open (libjxl issues 950 and 2290).
# What to do: imagecodecs.jpegxl_decode_jpeg, then the JPEG decoder that the rest of the data goes through; and never
#   one class as JPEG and the other as transcoded JPEG XL.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 pillow-jxl-plugin==1.3.8 imagecodecs==2026.3.6 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401  registers the format with Pillow
from PIL import Image

print(imagecodecs.jpegxl_version())
noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
picture = Image.fromarray(noise).resize((256, 192), Image.Resampling.BICUBIC)


def pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


for quality, at_least in ((50, 15), (75, 15), (90, 8)):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling="4:4:4")
    jpeg = file.getvalue()
    jxl = imagecodecs.jpegxl_encode_jpeg(jpeg)
    assert imagecodecs.jpegxl_decode_jpeg(jxl) == jpeg, "without loss"
    difference = np.abs(imagecodecs.jpegxl_decode(jxl).astype(int) - pillow(jpeg))
    plugin = np.abs(pillow(jxl) - pillow(jpeg)).max()
    print(
        f"quality {quality}, {len(jpeg):,} bytes as {len(jxl):,}: against the JPEG, imagecodecs differs by up to "
        f"{difference.max()}, in {(difference > 0).mean():.0%} of all values, the Pillow plugin by {plugin}"
    )
    assert difference.max() >= at_least and (difference > 0).mean() > 0.5, "changed: imagecodecs"
    assert plugin == 0, "changed: the Pillow plugin"
PYTHON
echo "as found: other pixels in one of two readers"
