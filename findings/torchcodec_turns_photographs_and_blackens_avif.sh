#!/usr/bin/env bash
# torchcodec 0.17.0, torchvision 0.29.1, Pillow 13.0.0, Python 3.11; seen on 2026-11-30. Installs torch: 5 GB.
# One expects: decode_image of torchcodec, for which torchvision has deprecated its own, gives the pixels that
#   torchvision's decode_image and Pillow give; without alpha asked for, it drops the alpha of every format in one way.
# What happens: (1) torchcodec turns JPEG, PNG, WebP and AVIF by their orientation, always; torchvision and Pillow do
#   not unless they are told to. A detector trained through torchvision and served through torchcodec sees photographs
#   turned that it had learned lying on their side, while generated images, which have no EXIF, stay as they were. (2)
#   With mode="RGB", the default, the transparent pixels of an AVIF are laid on black, and the colours of half
#   transparent ones halved. The same pixels as PNG or WebP keep their colours, as in Pillow: so the format shows.
# What to do: turn in both or in neither (apply_exif_orientation=True of torchvision, exif_transpose of Pillow); decode
#   with mode="RGBA" and drop the alpha, or lay all formats on one background.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile \
  torchcodec==0.17.0 torchvision==0.29.1 torch==2.14.1 pillow==13.0.0 numpy==2.4.6
cat >"$folder/read.py" <<'PYTHON'
import io

import numpy as np
import torch
import torchvision.io
from PIL import Image, ImageOps
from torchcodec.decoders import decode_image

HEIGHT, WIDTH, ORIENTATION, TURN_LEFT = 64, 48, 0x0112, 6
Y, X = np.mgrid[:HEIGHT, :WIDTH]
COLOURS = np.stack([X * 4, Y * 3, 255 - X * 2 - Y], axis=-1).astype(np.uint8)
SAVE = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def file_of(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **SAVE[kind], **options)
    return file.getvalue()


def pixels(tensor):
    return tensor.permute(1, 2, 0).numpy()


def with_torchvision(data):
    return pixels(torchvision.io.decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode="RGB"))


def are_close(left, right):
    return left.shape == right.shape and np.abs(left.astype(float) - right).max() <= 3


def orientation():
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_LEFT
    for kind in SAVE:
        data = file_of(Image.fromarray(COLOURS), kind, exif=exif)
        image = Image.open(io.BytesIO(data))
        stored, turned, seen = np.asarray(image), np.asarray(ImageOps.exif_transpose(image)), pixels(decode_image(data))
        print(f"{kind}: stored {stored.shape[:2]}, torchcodec gives {seen.shape[:2]}")
        assert are_close(seen, turned) and not are_close(seen, stored), f"changed: torchcodec, {kind}"
        if kind != "AVIF":  # needs a further package
            assert are_close(with_torchvision(data), stored), f"changed: torchvision, {kind}"


def transparency():
    opacity = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    opacity[:16], opacity[16:32] = 0, 128
    image = Image.fromarray(np.concatenate([COLOURS, opacity], axis=-1))
    on_black = COLOURS * (opacity / 255)
    for kind in ("PNG", "WEBP", "AVIF"):
        data = file_of(image, kind)
        seen, with_alpha = pixels(decode_image(data)), pixels(decode_image(data, mode="RGBA"))
        shown = "on black" if are_close(seen, on_black) else "kept" if are_close(seen, COLOURS) else "other"
        difference = np.abs(seen.astype(float) - COLOURS)[:32].mean()
        print(f"{kind} with alpha as RGB: colours {shown}; the transparent half differs by {difference:.0f} on average")
        assert shown == ("on black" if kind == "AVIF" else "kept"), f"changed: transparent {kind}"
        assert are_close(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), COLOURS), f"changed: Pillow, {kind}"
        assert are_close(with_alpha, np.asarray(image)), f"changed: {kind} as RGBA"


orientation()
transparency()
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/read.py" 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: torchcodec turns images, and lays transparent AVIF on black"
