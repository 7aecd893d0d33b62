#!/usr/bin/env bash
# torchvision 0.29.1, timm 1.0.31, datasets 5.2.0, DALI 2.4.0, Python 3.11; seen on 2026-11-29. Installs torch: 5 GB.
# One expects: a folder of real/ and fake/, with a folder for each generator in fake/, is the same data set in all
#   readers of image folders: all images, two classes, 0 for the first by name.
# What happens: four readers, four data sets, no warning. torchvision takes the outermost folders for classes, and WebP
#   but not AVIF. timm takes the innermost, and PNG and JPEG alone: the generator that saved WebP is gone with its class,
#   and "real" is 0 where it was 1. datasets gives no labels, as the folders are not equally deep. DALI looks one folder
#   deep: only real images are left, all of class 1.
# What to do: give files and labels as a list (DALI: files and labels of readers.file; datasets: metadata.csv; timm and
#   torchvision: a Dataset of one's own), and compare the counts of classes with those of the files.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torchvision==0.29.1 timm==1.0.31 datasets==5.2.0 \
  nvidia-dali-cuda130==2.4.0 pillow==13.0.0
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder/images" <<'PYTHON'
import os
import sys
from collections import Counter

import numpy as np
from datasets import disable_progress_bars, load_dataset
from nvidia.dali import fn, pipeline_def
from PIL import Image
from timm.data import create_dataset
from torchvision.datasets import ImageFolder

disable_progress_bars()
root, EACH = sys.argv[1], 10
for folder, suffix in (("real", "jpg"), ("fake/sdxl", "png"), ("fake/flux", "webp"), ("fake/imagen", "avif")):
    os.makedirs(f"{root}/{folder}")
    for number in range(EACH):
        Image.new("RGB", (16, 16)).save(f"{root}/{folder}/{number:03}.{suffix}")


@pipeline_def(batch_size=100, num_threads=1, device_id=None)
def files():
    return tuple(fn.readers.file(file_root=root, name="files"))


def counted(classes, targets):
    return dict(Counter(f"{target} = {classes[target]}" for target in targets))


by_torchvision, by_timm = ImageFolder(root), create_dataset("", root)
by_datasets = load_dataset("imagefolder", data_dir=root, split="train")
by_dali = files()
labels = [int(np.asarray(label)[0]) for label in by_dali.run()[1]][: by_dali.epoch_size("files")]
found = {
    "torchvision": counted(by_torchvision.classes, by_torchvision.targets),
    "timm": counted(sorted(by_timm.reader.class_to_idx), [target for _, target in by_timm.reader.samples]),
    "datasets": {"no label": len(by_datasets)} if "label" not in by_datasets.features else {},
    "DALI": counted(["fake", "real"], labels),
}
for reader, counts in found.items():
    print(f"{reader}: {sum(counts.values())} of {4 * EACH} images, {counts}")
assert found == {
    "torchvision": {"0 = fake": 2 * EACH, "1 = real": EACH},
    "timm": {"0 = real": EACH, "1 = sdxl": EACH},
    "datasets": {"no label": 3 * EACH},
    "DALI": {"1 = real": EACH},
}, "changed"
PYTHON
echo "as found: the readers agree about nothing"
