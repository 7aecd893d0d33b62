#!/usr/bin/env bash
# litert-torch 0.10.0 (formerly ai-edge-torch) with ai-edge-litert 2.3.0, torch 2.14.1; seen on 2026-11-30.
# One expects: litert_torch.convert(model, …) computes F.interpolate as torch does, or refuses to convert it.
# What happens: it keeps the size of the result only, without a warning.
#   1. mode="nearest" becomes LiteRT's operator with pixel centres, which torch calls "nearest-exact". Halved, an image
#      consists of the odd rows and columns instead of the even ones. Detectors that subtract from an image what
#      halving and doubling leave of it (NPR, CVPR 2024) get the residuals of other pixels. Only enlarging by a whole
#      factor is right.
#   2. mode="bilinear" with a scale_factor uses the quotient of the sizes instead. Where factor times size is not a whole
#      number, all pixels shift, by 0.65 of a pixel at the far edge of 64 pixels times 0.3.
#   Right: "bilinear" with a size, "bicubic", "area", "nearest-exact". Refused: antialias=True.
# What to do: x[..., ::2, ::2] instead of halving with "nearest"; bilinear with size=. Compare the outputs of model(x) and
#   of the converted model on images; a smooth image or a random score hides a shift by one pixel.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 litert-torch==0.10.0 ai-edge-litert==2.3.0 \
  litert-converter==0.5.0 numpy==2.4.6
"$folder/venv/bin/python" - >"$folder/log" 2>&1 <<'PYTHON' || { cat "$folder/log" && exit 1; }
import litert_torch
import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

SIDE = 64
OPTIONS = {
    "halved, nearest": {"mode": "nearest", "scale_factor": 0.5},
    "enlarged to 100, nearest": {"mode": "nearest", "size": (100, 100)},
    "doubled, nearest": {"mode": "nearest", "scale_factor": 2.0},
    "halved, nearest-exact": {"mode": "nearest-exact", "scale_factor": 0.5},
    "times 0.3, bilinear": {"mode": "bilinear", "scale_factor": 0.3},
    "to 19, bilinear": {"mode": "bilinear", "size": (19, 19)},
}
WRONG = {"halved, nearest", "enlarged to 100, nearest", "times 0.3, bilinear"}


class Resized(nn.Module):
    """All resized images, the residuals, and the residuals without "nearest" for halving."""

    def forward(self, image):
        resized = [interpolate(image, **options) for options in OPTIONS.values()]
        residuals = image - interpolate(interpolate(image, scale_factor=0.5), scale_factor=2.0)
        return (*resized, residuals, image - interpolate(image[..., ::2, ::2], scale_factor=2.0))


# In the first channel, each pixel is the number of its column; the others are noise.
image = np.random.default_rng(0).uniform(0, SIDE, (1, 3, SIDE, SIDE)).astype(np.float32)
image[:, 0] = np.arange(SIDE)
image = torch.from_numpy(image)
model = Resized().eval()
with torch.no_grad():
    in_torch = [pixels.numpy() for pixels in model(image)]
in_litert = [np.asarray(pixels) for pixels in litert_torch.convert(model, (image,))(image)]
*resized, residuals, other_residuals = zip(in_torch, in_litert, strict=True)
for name, pair in zip(OPTIONS, resized, strict=True):
    assert pair[0].shape == pair[1].shape, f"changed: shape, {name}"
    first, second = (" ".join(f"{value:.4g}" for value in (*pixels[0, 0, 0, :4], *pixels[0, 0, 0, -2:])) for pixels in pair)
    print(f"RESULT {name}: first four and last two columns are {first} in torch, {second} in LiteRT")
    assert (np.abs(np.subtract(*pair)).max() > 0.1) == (name in WRONG), f"changed: {name}"
assert np.array_equal(resized[0][1], in_litert[3]), 'changed: "nearest" is not "nearest-exact"'
assert np.array_equal(resized[0][1], image[..., 1::2, 1::2]), "changed: no longer the odd pixels"

for name, pair in (("residuals", residuals), ("residuals with [::2, ::2]", other_residuals)):
    even, odd = ([f"{(pixels[..., row::2, row::2] == 0).mean():.0%}" for pixels in pair] for row in (0, 1))
    correlation = np.corrcoef(pair[0][:, 1:].ravel(), pair[1][:, 1:].ravel())[0, 1]
    print(f"RESULT {name}: 0 at {even[0]} of the even pixels in torch, at {even[1]} in LiteRT", end="; ")
    print(f"at {odd[0]} and {odd[1]} of the odd ones; correlation of noise {correlation:.2f}")
    if name == "residuals":
        assert (even, odd) == (["100%", "0%"], ["0%", "100%"]) and correlation < 0.6, "changed: residuals"
    else:
        assert np.array_equal(*pair), "changed: [::2, ::2] differs"
PYTHON
sed -n 's/^.*RESULT //p' "$folder/log"
echo "as found: LiteRT halves an image to the other pixels, and scales by another factor"
