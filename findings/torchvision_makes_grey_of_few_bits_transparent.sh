#!/usr/bin/env bash
# torchvision 0.29.1, Pillow 13.0.0, Python 3.11; seen on 2026-11-30. Installs torch: 5 GB.
# One expects: decode_image(file, mode="RGBA") gives the colours and the opacity of any PNG, as convert("RGBA") of
#   Pillow does, so that transparent images can be laid on white; an image without transparency is opaque.
# What happens: a grey PNG of 1, 2 or 4 bits gets an opacity of 1, 3 or 15 of 255: laid on white it is white. A
#   transparent colour of an RGB PNG becomes opaque. With mode="RGB" all of them are right. No error; the only warning is
#   that torchvision's decoders are deprecated in favour of torchcodec.
# What to do: read with Pillow and convert("RGBA"), or with torchcodec, which gives the same as Pillow for all of these.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torchvision==0.29.1 torch==2.14.1 pillow==13.0.0 numpy==2.4.6
cat >"$folder/read.py" <<'PYTHON'
import io
import struct
import zlib

import numpy as np
import torch
from PIL import Image
from torchvision.io import decode_image

SIZE = 64
Y, X = np.mgrid[:SIZE, :SIZE]
PICTURE = Image.fromarray(np.stack([X * 4, Y * 4, 255 - X * 2 - Y * 2], axis=-1).clip(0, 255).astype(np.uint8))


def png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def grey_png(num_bits):
    levels = np.asarray(PICTURE.convert("L")) >> (8 - num_bits)
    bits = np.unpackbits(levels[..., None], axis=-1)[..., -num_bits:].reshape(SIZE, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    header = struct.pack(">IIBBBBB", SIZE, SIZE, num_bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


FILES = {  # with the opacities that torchvision gives
    "RGB": (png(PICTURE), {255}),
    "grey and alpha": (png(PICTURE.convert("LA")), {255}),
    "palette with transparency": (png(PICTURE.quantize(64), transparency=3), {0, 255}),
    "1 bit": (png(PICTURE.convert("1")), {1}),
    "grey of 2 bits": (grey_png(2), {3}),
    "grey of 4 bits": (grey_png(4), {15}),
    "RGB with a transparent colour": (png(PICTURE, transparency=PICTURE.getpixel((5, 5))), {255}),
}
RIGHT = list(FILES)[:3]


def with_torchvision(data, mode):
    return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=mode).permute(1, 2, 0).numpy()


def on_white(pixels):
    opacity = pixels[..., 3:] / 255
    return pixels[..., :3] * opacity + 255 * (1 - opacity)


for name, (data, opacities) in FILES.items():
    right, seen = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")), with_torchvision(data, "RGBA")
    difference = np.abs(on_white(right) - on_white(seen))
    share = (difference.max(axis=-1) > 1).mean()
    print(
        f"{name}: opacities {np.unique(seen[..., 3])[:6]}, for {np.unique(right[..., 3])};"
        f" on white {share:.1%} of the pixels differ, by up to {difference.max():.0f}"
    )
    assert np.array_equal(with_torchvision(data, "RGB"), right[..., :3]), f"changed: {name} as RGB"
    assert np.array_equal(seen, right) == (name in RIGHT), f"changed: {name}"
    assert set(np.unique(seen[..., 3]).tolist()) == opacities, f"changed: {name}, opacity"
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/read.py" 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: images of few bits are transparent"
