#!/usr/bin/env bash
# img2dataset 1.47.0, opencv-python-headless 4.14.0.94, Pillow 13.0.0, Python 3.11; seen on 2026-11-30.
# One expects: a photograph that EXIF says to turn, as a telephone held upright writes it, is fetched upright or with its
#   EXIF; and a 16-bit PNG keeps its picture or is counted as a failure.
# What happens: pixels are stored as the sensor read them, and EXIF is dropped: no reader can set them upright any more.
#   The .json beside the image has "Image Orientation", which is no longer true of the file, and status "success". The
#   16-bit PNG is stored as a white JPEG, with status "success"; encode_format="png" keeps its picture, and turns nothing
#   either. Generators write no EXIF: of sets fetched so, only real images lie on their side, and a detector learns that.
# What to do: fetch with disable_all_reencoding=True, which stores the files as they are (skip_reencode=True keeps JPEGs
#   alone). Of a set that is there, drop rows whose "exif" says that they are to be turned, and images of one colour.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile img2dataset==1.47.0 albumentations==1.4.24 \
  opencv-python-headless==4.14.0.94 numpy==2.4.6 pyarrow==26.0.1 pillow==13.0.0
cat >"$folder/fetch.py" <<'PYTHON'
import functools
import http.server
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
from img2dataset import download
from PIL import Image, ImageOps

FOLDER = Path(sys.argv[1])
WAYS = {
    "as by default": {},
    "resize_mode=no": {"resize_mode": "no"},
    "encode_format=png": {"resize_mode": "no", "encode_format": "png", "encode_quality": 6},
    "skip_reencode": {"resize_mode": "no", "skip_reencode": True},
    "disable_all_reencoding": {"disable_all_reencoding": True},
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


def make(site):
    """A landscape whose sky is at the top: upright, to be turned by EXIF, and with 16 bits."""
    y, x = np.mgrid[:240, :320]
    upright = np.stack([x // 2, y, 255 - y], axis=-1).astype(np.uint8)
    Image.fromarray(upright).save(site / "upright.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it upright
    Image.fromarray(np.rot90(upright)).save(site / "turned.jpg", quality=95, exif=exif)
    Image.fromarray(y.astype(np.uint16) * 257).save(site / "sixteen.png")


def fetched(way, port):
    names = ("upright.jpg", "turned.jpg", "sixteen.png")
    table = FOLDER / "urls.csv"
    table.write_text("url,caption\n" + "".join(f"http://127.0.0.1:{port}/{name},{name}\n" for name in names))
    out = FOLDER / way.replace("=", "-")
    download(url_list=str(table), input_format="csv", url_col="url", caption_col="caption", output_folder=str(out),
             processes_count=1, thread_count=3, image_size=256, **WAYS[way])
    for note in sorted(out.glob("*/*.json")):
        told = json.loads(note.read_text())
        yield told, next(path for path in note.parent.glob(f"{note.stem}.*") if path.suffix not in (".json", ".txt"))


if __name__ == "__main__":
    site = FOLDER / "site"
    site.mkdir()
    make(site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for way in WAYS:
        for told, path in fetched(way, server.server_port):
            assert told["status"] == "success", told
            image = Image.open(path)
            orientation = image.getexif().get(0x0112)
            upright = ImageOps.exif_transpose(image)
            shown = np.asarray(upright.convert("RGB" if upright.mode in ("L", "RGB") else "I")).astype(int)
            shown = shown.reshape(*shown.shape[:2], -1)
            height, width, _ = shown.shape
            inner = shown[height // 4 : -height // 4, width // 4 : -width // 4]  # without a border that was added
            sky_at_the_top = inner[0, :, -1].mean() - inner[-1, :, -1].mean() > 50
            name, one_colour = told["caption"], bool(np.ptp(inner) == 0)
            print(f"found {way}: {name}: EXIF orientation {orientation}, sky at the top: {sky_at_the_top}, "
                  f"one colour: {one_colour}, noted: {told['exif']}")
            if name == "upright.jpg":
                assert sky_at_the_top
            elif name == "turned.jpg":
                kept = way in ("skip_reencode", "disable_all_reencoding")
                assert sky_at_the_top == kept and (orientation == 6) == kept and "Rotated 90" in told["exif"]
            else:
                assert one_colour == (path.suffix == ".jpg" and way != "disable_all_reencoding")
    server.shutdown()
PYTHON
export NO_ALBUMENTATIONS_UPDATE=1 WANDB_MODE=disabled
"$folder/venv/bin/python" "$folder/fetch.py" "$folder" 2>"$folder/log" | grep "^found" || { tail -20 "$folder/log"; exit 1; }
echo "as found: stored on their side, and 16 bits as white"
