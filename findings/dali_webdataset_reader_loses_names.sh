#!/usr/bin/env bash
# NVIDIA DALI 2.4.0 on a CPU (no GPU or driver needed), Python 3.11; seen on 2026-11-28.
# One expects: fn.readers.webdataset finds the samples that the webdataset package finds.
# What happens: (1) It reads the name field of the tar header alone. A name of more than 100 bytes stands in a PAX
#   record, which webdataset's own TarWriter and Python's tarfile write by default: samples whose names share the
#   first 100 bytes become one, whose image is empty. The same names in GNU format are read. (2) Extensions are
#   compared with their case: ext="jpg" gives empty images for KEY.JPG, where webdataset gives the image.
# What to do: write keys of less than about 90 bytes and extensions in lower case; compare reader_meta's epoch_size with
#   the number of samples that were written.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nvidia-dali-cuda130==2.4.0 pillow==13.0.0 numpy
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import sys
import tarfile

import numpy as np
from nvidia.dali import fn, pipeline_def
from PIL import Image


def jpeg(level):
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def write(path, names, form):
    with tarfile.open(path, "w", format=form) as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            data = jpeg(50 + number)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def samples(path):
    """How many samples DALI counts, and the bytes of the image of each."""

    @pipeline_def(batch_size=2, num_threads=1, device_id=None)
    def pipeline():
        images = fn.readers.webdataset(paths=[path], ext=["jpg"], missing_component_behavior="empty", name="reader")
        return images[0] if isinstance(images, list | tuple) else images

    built = pipeline()
    built.build()
    count = built.reader_meta("reader")["epoch_size"]
    (output,) = built.run()
    return count, [int(np.array(output[number]).size) for number in range(count)]


long = "a-folder/" + "x" * 110
cases = {
    "short names, lower case": (["a.jpg", "b.jpg"], tarfile.USTAR_FORMAT),
    "names of 124 bytes, GNU": ([long + "1.jpg", long + "2.jpg"], tarfile.GNU_FORMAT),
    "names of 124 bytes, PAX": ([long + "1.jpg", long + "2.jpg"], tarfile.PAX_FORMAT),
    "short names, upper case": (["a.JPG", "b.JPG"], tarfile.USTAR_FORMAT),
}
seen = {}
for number, (case, (names, form)) in enumerate(cases.items()):
    path = f"{sys.argv[1]}/{number}.tar"
    write(path, names, form)
    count, sizes = seen[case] = samples(path)
    print(f"{case}: two samples were written, DALI counts {count}, image bytes {sizes}")
assert all(seen["short names, lower case"][1]), "the reader works"
assert all(seen["names of 124 bytes, GNU"][1]), "changed: GNU names are lost too"
assert seen["names of 124 bytes, PAX"] == (1, [0]), "changed: PAX names"
assert seen["short names, upper case"] == (2, [0, 0]), "changed: upper case"
PYTHON
echo "as found: names are lost"
