#!/usr/bin/env bash
# Pillow 13.0.0, OpenCV 5.0.0.93, libvips 8.18.7, Python 3.11; seen on 2026-11-30.
# One expects: a JPEG, and a PNG of exactly its decoded pixels, become the same small image; the format is forgotten.
# What happens: thumbnail() of Pillow and of libvips and IMREAD_REDUCED_COLOR_* of OpenCV let the JPEG decoder do part
#   of the reduction, and resize other formats after decoding. For example, IMREAD_REDUCED_COLOR_4 averages 16 pixels of
#   a JPEG, but interpolates between 4 of 16 pixels of a PNG: they differ by 5 levels on average, and in size if the
#   sides are not multiples of 4. If real images are JPEGs and generated ones PNGs, a single number, how fine the small
#   image is, separates the classes with an AUROC of 1 in each library, though their pixels were the same.
# What to do: decode in full, then resize, all formats alike. In Pillow, thumbnail(size, reducing_gap=None) does so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy pyvips==3.2.0 \
  pyvips-binary==8.18.7
"$folder/venv/bin/python" - <<'PYTHON'
import io

import cv2
import numpy as np
import pyvips
from PIL import Image

SIDE, SMALL, PICTURES = 768, 192, 12


def picture(seed):
    """Random, with the spectrum of photographs, and another contrast each time."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    frequency[0, 0] = 1
    planes = [np.fft.ifft2(np.fft.fft2(random.standard_normal((SIDE, SIDE))) / frequency).real for _ in range(3)]
    image = np.stack(planes, axis=-1)
    return np.clip(128 + image / image.std() * random.uniform(20, 45), 0, 255).astype(np.uint8)


def pair(image):
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return jpeg, cv2.imencode(".png", pixels)[1].tobytes()


def opencv(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_4)


def pillow(data, gap=2.0):
    image = Image.open(io.BytesIO(data))
    image.thumbnail((SMALL, SMALL), reducing_gap=gap)
    return np.asarray(image)


def pillow_without_gap(data):
    return pillow(data, None)


def libvips(data):
    return pyvips.Image.thumbnail_buffer(data, SMALL).numpy()


def fineness(image):
    """How far neighbours differ, compared with pixels that are two apart; the contrast does not matter."""
    rows = image.astype(float)
    return np.abs(rows[:, 1:] - rows[:, :-1]).mean() / np.abs(rows[:, 2:] - rows[:, :-2]).mean()


pairs = [pair(picture(seed)) for seed in range(PICTURES)]
assert all(np.array_equal(*(np.asarray(Image.open(io.BytesIO(data))) for data in both)) for both in pairs)
found = {}
for reader in (opencv, pillow, libvips, pillow_without_gap):
    small = [[reader(data) for data in both] for both in pairs]
    assert all(image.shape == (SMALL, SMALL, 3) for both in small for image in both)
    difference = np.mean([np.abs(jpeg.astype(int) - png).mean() for jpeg, png in small])
    jpegs, pngs = ([fineness(both[which]) for both in small] for which in (0, 1))
    auroc = np.mean([(jpeg > png) + (jpeg == png) / 2 for jpeg in jpegs for png in pngs])
    found[reader.__name__] = difference, auroc
    print(f"{reader.__name__}: {difference:.2f} levels from JPEG to PNG; AUROC of JPEG by fineness {auroc:.2f}")
assert found["opencv"][0] > 4 and found["opencv"][1] == 0, "changed: OpenCV reduces JPEG and PNG more alike"
assert found["pillow"][0] > 1 and found["pillow"][1] == 1, "changed: Pillow reduces JPEG and PNG more alike"
assert found["libvips"][0] > 1 and found["libvips"][1] == 1, "changed: libvips reduces JPEG and PNG more alike"
assert found["pillow_without_gap"] == (0, 0.5), "changed: Pillow differs without a gap"

sizes = [opencv(data).shape[:2] for data in pair(picture(0)[:498, :702])]
print(f"498 × 702 pixels with IMREAD_REDUCED_COLOR_4: {sizes[0]} of the JPEG, {sizes[1]} of the PNG")
assert sizes == [(125, 176), (124, 175)], "changed: the sizes"
PYTHON
echo "as found: small images tell in which format they were stored"
