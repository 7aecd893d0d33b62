#!/usr/bin/env bash
# NVIDIA DALI 2.4.0 on a CPU, Pillow 13.0.0, OpenCV 5.0.0.93, Python 3.11; seen on 2026-11-28.
# One expects: a still-image decoder shows an animated PNG as every PNG reader does, by its IDAT (the default image).
# What happens: where the default image is no frame of the animation (a "please wait" picture, allowed by the
#   specification), Pillow shows it. DALI and OpenCV do so for one further frame, and show the first frame instead as
#   soon as there are two: pixels of another picture under the same label.
# What to do: give neither of them a PNG that has an acTL chunk before its IDAT, or use Pillow for it everywhere.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nvidia-dali-cuda130==2.4.0 pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import zlib

import cv2
import numpy as np
from nvidia.dali import fn, pipeline_def
from PIL import Image

SIDE = 32
COLOURS = ((0, 0, 255), (0, 255, 0))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(colour):
    return zlib.compress(b"".join(b"\0" + bytes(colour) * SIDE for _ in range(SIDE)))


def apng(frames):
    """The default image is red and no frame; the frames are blue and green."""
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))]
    parts += [chunk(b"acTL", struct.pack(">II", frames, 0)), chunk(b"IDAT", packed((255, 0, 0)))]
    sequence = 0
    for colour in COLOURS[:frames]:
        control = struct.pack(">IIIIIHHBB", sequence, SIDE, SIDE, 0, 0, 1, 10, 0, 0)
        parts += [chunk(b"fcTL", control), chunk(b"fdAT", struct.pack(">I", sequence + 1) + packed(colour))]
        sequence += 2
    return b"".join([*parts, chunk(b"IEND", b"")])


def dali(data):
    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline():
        return fn.decoders.image(fn.external_source(lambda: [np.frombuffer(data, np.uint8)]))

    built = pipeline()
    built.build()
    (output,) = built.run()
    return np.array(output[0])[0, 0].tolist()


for frames, shown in ((1, [255, 0, 0]), (2, [0, 0, 255])):
    data = apng(frames)
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[0, 0].tolist()
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), 1)[0, 0, ::-1].tolist()
    found = dali(data)
    print(f"{frames} frame(s) behind the red default image: Pillow {pillow}, OpenCV {opencv}, DALI {found}")
    assert pillow == [255, 0, 0], "changed: Pillow"
    assert found == opencv == shown, "changed: DALI or OpenCV"
PYTHON
echo "as found: DALI and OpenCV show the first frame of two"
