#!/usr/bin/env bash
# Pillow 12.3.0 and 13.0.0, numpy 2.4.6; seen on 2026-11-30.
# One expects: resize() of 8 bits has given the same pixels for years (10.4 and 12.3 are equal to the bit), so images
#   resized for a training and by a detector in service are the same, whatever Pillow each of them has.
# What happens: Pillow 13 resizes the height first where it loses more than twice as many pixels as the width; 12
#   began with the width, unless the image was 100 times as high as wide. Between the two passes the picture is rounded
#   and clipped to 8 bits, so the order shows: a level in a fifth of all values with BILINEAR, and up to 14 and 25 levels
#   in this picture with BICUBIC and LANCZOS, which overshoot. Upright photographs that become squares are changed, as by Resize((384, 384)) and by most image
#   processors, and slim images at any size. Landscapes and squares stay as they were, so photographs and generated
#   images, most of which are square, change unequally. No warning. (Pillow pull request 9549.)
# What to do: the same Pillow for both sides. Or one direction at a time, width first: the same pixels in each version.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6
for version in 12.3.0 13.0.0; do
  "$folder/venv/bin/pip" install --quiet --target "$folder/$version" pillow=="$version"
done
cat >"$folder/resize.py" <<'PYTHON'
import sys

import numpy as np
from PIL import Image

KINDS = ("BILINEAR", "BICUBIC", "LANCZOS")
SIZES = {"upright": (480, 640), "landscape": (640, 480), "square": (640, 640), "slim": (300, 1000)}
rng = np.random.default_rng(0)
scene = np.zeros((1000, 1000, 3))
for cells in (8, 40, 200, 1000):  # large shapes and fine detail
    part = rng.integers(0, 256, (cells, cells, 3), np.uint8).repeat(1000 // cells, axis=0).repeat(1000 // cells, axis=1)
    scene += part - 127.5
scene = np.clip(scene + 127.5, 0, 255).astype(np.uint8)

results = {}
for name, (width, height) in SIZES.items():
    image = Image.fromarray(np.ascontiguousarray(scene[:height, :width]))
    small = (154, 512) if name == "slim" else (384, 384)  # the slim one keeps its proportions
    for kind in KINDS:
        filter = Image.Resampling[kind]
        results[f"{name} to {small}, {kind}"] = np.asarray(image.resize(small, filter))
        steps = image.resize((small[0], height), filter).resize(small, filter)
        results[f"{name} to {small}, {kind}, width first"] = np.asarray(steps)
np.savez(sys.argv[1], **results)
PYTHON
for version in 12.3.0 13.0.0; do
  PYTHONPATH="$folder/$version" "$folder/venv/bin/python" "$folder/resize.py" "$folder/$version.npz"
done
"$folder/venv/bin/python" - "$folder/12.3.0.npz" "$folder/13.0.0.npz" <<'PYTHON'
import sys

import numpy as np

old, new = (np.load(path) for path in sys.argv[1:])
for name in old.files:
    if name.endswith("width first"):
        assert np.array_equal(old[name], new[name]), f"changed: {name}"
        assert np.array_equal(old[name], old[name.removesuffix(", width first")]), f"changed: Pillow 12, {name}"
        continue
    difference = np.abs(old[name].astype(int) - new[name])
    print(f"{name}: {np.mean(difference > 0):.1%} of the values differ, by {difference.max()} at most")
    assert bool(difference.any()) == name.startswith(("upright", "slim")), f"changed: {name}"
    assert "upright" not in name or "BILINEAR" in name or difference.max() > 5, f"changed: {name}"
print("one direction at a time, width first: the same pixels in both versions")
PYTHON
echo "as found: Pillow 13 gives other pixels for upright and slim images"
