#!/usr/bin/env bash
# Pillow 13.0.0, Python 3.11; seen on 2026-11-28.
# One expects: Pillow never applies the EXIF orientation by itself; ImageOps.exif_transpose is there for that.
# What happens: true for JPEG, PNG, WebP and AVIF, but a TIFF is turned: .size is that of the turned picture from
#   open() on, load() turns the pixels and takes the tag away, so that nothing afterwards shows that it was done.
# What to do: read tag 274 before load(); for pixels as stored, turn them back (orientation 6 is undone by ROTATE_90, …). A data set
#   of TIFF and JPEG with the same orientation otherwise holds pictures in two orientations.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import io

import numpy as np
from PIL import Image

stored = np.zeros((20, 40, 3), np.uint8)
stored[:, :20] = 255  # the left half is white
for kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
    exif = Image.Exif()  # anew: saving an AVIF takes the orientation out of it
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(stored).save(file, kind, exif=exif)
    image = Image.open(io.BytesIO(file.getvalue()))
    size, before = image.size, image.getexif().get(0x0112)
    image.load()
    after = image.getexif().get(0x0112)
    print(f"{kind}: stored as (40, 20), opened as {size}, orientation {before}, after load() {after}")
    if kind != "TIFF":
        assert (size, after) == ((40, 20), 6), f"changed: {kind}"
        continue
    assert (size, before, after) == ((20, 40), 6, None), "changed: TIFF"
    assert np.array_equal(np.asarray(image.transpose(Image.Transpose.ROTATE_90)), stored), "turned back"
PYTHON
echo "as found: TIFF alone is turned"
