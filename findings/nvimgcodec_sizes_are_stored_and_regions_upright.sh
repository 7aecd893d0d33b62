#!/usr/bin/env bash
# nvidia-nvimgcodec-cu12 0.9.0 (CPU backend), Pillow 13.0.0, Python 3.11; seen on 2026-11-30. Not tried on a GPU.
# One expects: a region that lies within width and height of a CodeStream can be decoded.
# What happens: width and height are those of the stored pixels, regions count in the image as EXIF turns it. Of a
#   photograph taken upright, decode() gives None for each region right of the upright edge, with a line on stderr, and
#   a loader that draws its crops within width and height never sees the lower end. Pictures of generators have no EXIF.
# What to do: swap width and height if the orientation is 5 to 8 (read it with another library, as of Pillow), or decode
#   with apply_exif_orientation=False: regions then count in stored pixels. Check each result for None.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nvidia-nvimgcodec-cu12==0.9.0.20 numpy==2.4.6 pillow==13.0.0
cat >"$folder/regions.py" <<'PYTHON'
import io

import numpy as np
from nvidia import nvimgcodec
from PIL import Image, ImageOps

FORMATS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}
REGIONS = {"right": (0, 240, 80, 320), "lower end": (240, 0, 320, 80), "middle": (80, 80, 160, 160)}
CPU = {"device_id": nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY}


def coded(kind, orientation):
    y, x = np.mgrid[:240, :320]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.stack([x // 2, y, 255 - y], axis=-1).astype(np.uint8)).save(file, kind, exif=exif, **FORMATS[kind])
    return file.getvalue()


def pixels(image, region):
    top, left, bottom, right = region
    return np.asarray(image.convert("RGB"))[top:bottom, left:right]


decoder = nvimgcodec.Decoder(backends=[nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)], **CPU)
as_stored = nvimgcodec.DecodeParams(apply_exif_orientation=False)
for kind in FORMATS:
    for orientation in (1, 6):
        data = coded(kind, orientation)
        stored = Image.open(io.BytesIO(data))
        upright = ImageOps.exif_transpose(stored)
        stream = nvimgcodec.CodeStream(data)
        size, whole = (stream.width, stream.height), decoder.decode(stream)
        assert size == (320, 240), "changed: the stream's size is not the stored one"
        assert (whole.width, whole.height) == upright.size, "changed: the whole image is not turned"
        for name, region in REGIONS.items():
            part = stream.get_sub_code_stream(region=nvimgcodec.Region(*region))
            turned, plain = decoder.decode(part), decoder.decode(part, params=as_stored)
            fits_upright = region[2] <= upright.height and region[3] <= upright.width
            fits_stored = region[2] <= stored.height and region[3] <= stored.width
            print(f"found {kind}, orientation {orientation}, stream {size}, region {name} {region}: "
                  f"{'None' if turned is None else 'decoded'}, without turning {'None' if plain is None else 'decoded'}")
            assert (turned is not None) == fits_upright and (plain is not None) == fits_stored, "changed"
            for result, image in ((turned, upright), (plain, stored)):
                assert result is None or np.abs(np.asarray(result.cpu()).astype(int) - pixels(image, region)).max() <= 2
PYTHON
"$folder/venv/bin/python" "$folder/regions.py" 2>"$folder/log" | grep "^found" || { tail -20 "$folder/log"; exit 1; }
echo "as found: sizes are stored ones, regions upright ones"
