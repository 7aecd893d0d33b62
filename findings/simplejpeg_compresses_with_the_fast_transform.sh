#!/usr/bin/env bash
# simplejpeg 1.9.0, Pillow 13.0.0, OpenCV 5.0.0.93, imagecodecs 2026.3.6, Python 3.11; seen on 2026-11-29.
# One expects: encoders differ a little at one quality and chroma sampling, which is why CNNDetection and its successors
#   draw between OpenCV and Pillow when they augment; and all that stand on libjpeg-turbo are alike in that.
# What happens: OpenCV, Pillow and imagecodecs give the same pixels to the bit, so the draw changes nothing. simplejpeg,
#   with the same library, tables and sampling, uses the fast, inexact transform below quality 96: at 75 half of all
#   values differ, some by 20 levels. fastdct=False, which is there to choose the exact one, gives the same bytes.
# What to do: compress all classes with one encoder, not one with simplejpeg and the other with Pillow. To augment, draw
#   qualities and samplings, not libraries.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet simplejpeg==1.9.0 pillow==13.0.0 opencv-python-headless==5.0.0.93 \
  imagecodecs==2026.3.6 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io

import cv2
import imagecodecs
import numpy as np
import simplejpeg
from PIL import Image

noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
picture = np.array(Image.fromarray(noise).resize((251, 187), Image.Resampling.BICUBIC))


def pillow(quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def opencv(quality):
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def simple(quality, fastdct):
    return simplejpeg.encode_jpeg(picture, quality, "RGB", "420", fastdct=fastdct)


def opened(data):
    image = Image.open(io.BytesIO(data))
    return image.quantization, np.asarray(image).astype(int)


for quality in (50, 75, 90, 95, 96):
    tables, pixels = opened(pillow(quality))
    for name, data in (("OpenCV", opencv(quality)), ("imagecodecs", imagecodecs.jpeg8_encode(picture, level=quality))):
        assert np.array_equal(opened(data)[1], pixels), f"changed: {name} and Pillow differ at {quality}"
    asked_exact = simple(quality, fastdct=False)
    assert asked_exact == simple(quality, fastdct=True), "changed: fastdct=False does something"
    found_tables, found = opened(asked_exact)
    assert found_tables == tables, "the same quality"
    difference = np.abs(found - pixels)
    share = (difference > 0).mean()
    print(f"quality {quality}: simplejpeg differs in {share:.0%} of all values, by up to {difference.max()}; others in 0%")
    assert (share == 0) == (quality >= 96), "changed: where the exact transform begins"
    assert quality > 75 or difference.max() >= 15, "changed: how far it differs"
PYTHON
echo "as found: three encoders are one, and simplejpeg is another"
