#!/usr/bin/env bash
# albumentations 2.0.8, albumentationsx 2.5.1, OpenCV 5.0.0.93, Pillow 13.0.0, Python 3.11; seen on 2026-11-29.
#   Installs torch, which albumentationsx wants: 5 GB.
# One expects: ImageCompression of an RGB image gives the pixels that the image has after it was saved as a JPEG or WebP
#   of that quality.
# What happens: the RGB image goes into an encoder that takes BGR, and comes out as RGB again. The colours look right, but
#   the codec took red for blue: to the bit, the result is that of the image with both channels swapped. Luma weighs
#   blue with 0.30 and red with 0.11, so blue keeps the detail that red should have. At quality 75 values differ by up
#   to 36 levels from the real JPEG, by 3.6 on average, where that JPEG differs by 4.7 from the image. A detector
#   becomes robust against files that nobody saves.
# What to do: turn the channels before and after (image[..., ::-1]), or compress with Pillow or torchvision's v2.JPEG.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat >"$folder/compress.py" <<'PYTHON'
import io

import albumentations
import numpy as np
from PIL import Image

noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
PICTURE = np.array(Image.fromarray(noise).resize((128, 128), Image.Resampling.BICUBIC))


def saved(picture, kind, quality):
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, kind, quality=quality)
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def augmented(picture, kind, quality):
    transform = albumentations.ImageCompression(compression_type=kind, quality_range=(quality, quality), p=1)
    return transform(image=np.ascontiguousarray(picture))["image"].astype(int)


for kind, quality in (("jpeg", 50), ("jpeg", 75), ("jpeg", 90), ("webp", 75)):
    found, right = augmented(PICTURE, kind, quality), saved(PICTURE, kind, quality)
    swapped = saved(PICTURE[..., ::-1], kind, quality)[..., ::-1]
    difference = np.abs(found - right)
    print(
        f"{albumentations.__version__}, {kind} {quality}: from the real one by {difference.mean():.1f} on average, by up to"
        f" {difference.max()}; from that of swapped channels by up to {np.abs(found - swapped).max()};"
        f" from the image by {np.abs(right - PICTURE).mean():.1f} on average when right"
    )
    assert np.array_equal(found, swapped), f"changed: {kind} {quality} of swapped channels"
    assert difference.max() >= 15 and difference.mean() > 2, f"changed: {kind} {quality}"
    turned = augmented(PICTURE[..., ::-1], kind, quality)[..., ::-1]
    assert np.array_equal(turned, right), f"changed: channels turned before and after, {kind}"
PYTHON
for packages in "albumentations==2.0.8" "albumentationsx==2.5.1 torch==2.14.1"; do
  environment="$folder/${packages%%=*}"
  python3 -m venv "$environment"
  # shellcheck disable=SC2086 # two packages in one word
  "$environment/bin/pip" install --quiet --no-compile $packages opencv-python-headless==5.0.0.93 pillow==13.0.0
  NO_ALBUMENTATIONS_UPDATE=1 "$environment/bin/python" -W ignore "$folder/compress.py"
done
echo "as found: red and blue change places for the codec"
