#!/usr/bin/env bash
# opencv-python-headless 4.12.0.88, 4.13.0.92, 4.14.0.94, Albumentations 2.0.8, numpy 2.4.6, Python 3.11, x86-64;
#   seen on 2026-11-30.
# One expects: an augmentation warps an image and its mask alike, whatever their types.
# What happens: in OpenCV 4.13, warpAffine() with INTER_NEAREST applies the inverse of the matrix to float64 and int16
#   arrays of 1, 3 or 4 channels, and to uint16 arrays of 4. The other types, linear interpolation, 4.12 and 4.14 are
#   right. So Albumentations' Rotate, Affine and SafeRotate turn the image one way and its mask the other, without a
#   warning, if the mask is float64, which is what `mask / 255` makes of uint8: the labels of inpainted regions end up
#   elsewhere. Neither setUseOptimized(False) nor ipp.setUseIPP(False) helps. 4.13.0.90 has the fault, 5.0.0.93 has not.
#   (OpenCV issue 28554.)
# What to do: use OpenCV 4.14 or above, or masks of uint8 or float32. A model that was trained to find inpainted regions
#   with OpenCV 4.13 and such masks has learnt from wrong labels.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile albumentations==2.0.8 opencv-python-headless==4.13.0.92 numpy==2.4.6
for version in 4.12.0.88 4.14.0.94; do
  "$folder/venv/bin/pip" install --quiet --no-compile --no-deps --target "$folder/$version" \
    "opencv-python-headless==$version"
done
cat >"$folder/warp.py" <<'PYTHON'
import albumentations
import cv2
import numpy as np

SIDE = 256
y, x = np.mgrid[:SIDE, :SIDE]
region = (y - 70) ** 2 / 30**2 + (x - 90) ** 2 / 55**2 < 1  # the part that a generator painted, lighter in the image
image = np.where(region[..., None], np.uint8(220), np.uint8(60)).repeat(3, axis=2)
masks = {
    "uint8": 255 * region.astype(np.uint8),
    "uint8 / 255": 255 * region.astype(np.uint8) / 255,
    "float32": region.astype(np.float32),
    "int16": region.astype(np.int16),
    "uint16": region.astype(np.uint16),
    "int32": region.astype(np.int32),
}
WRONG = {"uint8 / 255", "int16"}
is_4_13 = cv2.__version__.startswith("4.13")
print(f"OpenCV {cv2.__version__}")


def overlap(transform, mask):
    """Intersection over union of the region in the warped image and in the warped mask."""
    warped = albumentations.Compose([transform], seed=0)(image=image, mask=mask)
    in_image, in_mask = warped["image"][..., 0] > 140, warped["mask"] > 0.5
    return (in_image & in_mask).sum() / (in_image | in_mask).sum()


for transform in (
    albumentations.Rotate((30, 30), p=1),
    albumentations.Affine(rotate=(30, 30), p=1),
    albumentations.Affine(translate_percent=(0.15, 0.15), p=1),
    albumentations.SafeRotate((30, 30), p=1),
    albumentations.Perspective((0.1, 0.1), p=1),
):
    found = {name: overlap(transform, mask) for name, mask in masks.items()}
    words = ", ".join(f"{name} {share:.2f}" for name, share in found.items())
    print(f"  {type(transform).__name__}: overlap of image and mask {words}")
    for name, share in found.items():
        wrong = is_4_13 and name in WRONG and not isinstance(transform, albumentations.Perspective)
        assert share < 0.2 if wrong else share > 0.97, f"changed: {name}"

matrix = np.array([[1, 0, 10], [0, 1, 20]], np.float64)  # 10 to the right, 20 down
right, inverted = (60, 50), (20, 30)
for name in ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64"):
    for channels in (1, 2, 3, 4):
        square = np.zeros((100, 100, channels), name)
        square[40:50, 40:50] = 1
        for interpolation in (cv2.INTER_NEAREST, cv2.INTER_LINEAR):
            if interpolation == cv2.INTER_LINEAR and name in ("int8", "int32"):
                continue  # refused by some versions
            warped = cv2.warpAffine(square, matrix, (100, 100), flags=interpolation).reshape(square.shape)
            corner = tuple(int(number) for number in np.argwhere(warped[..., 0] > 0).min(0))
            affected = (name in ("int16", "float64") and channels != 2) or (name == "uint16" and channels == 4)
            wrong = is_4_13 and affected and interpolation == cv2.INTER_NEAREST
            assert corner == (inverted if wrong else right), f"changed: {name}, {channels} channels: {corner}"
            if wrong:
                print(f"  {name}, channels: {channels}: the corner moves from (40, 40) to {corner}, not to {right}")
                for switch in (cv2.setUseOptimized, cv2.ipp.setUseIPP):
                    switch(False)
                    again = cv2.warpAffine(square, matrix, (100, 100), flags=interpolation)
                    assert np.array_equal(again.reshape(square.shape), warped), "changed: a switch helps"
                    switch(True)
PYTHON
export NO_ALBUMENTATIONS_UPDATE=1
for version in 4.12.0.88 4.13.0.92 4.14.0.94; do
  PYTHONPATH="$folder/$version" "$folder/venv/bin/python" -W ignore "$folder/warp.py"
done
echo "as found: OpenCV 4.13 warps float64 and int16 masks by the inverse matrix"
