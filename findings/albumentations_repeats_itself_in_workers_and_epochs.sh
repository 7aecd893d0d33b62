#!/usr/bin/env bash
# albumentations 2.0.8 (the last release), albumentationsx 2.5.1, torch 2.14.1, OpenCV 5.0.0.93, Python 3.11; seen on
#   2026-11-30. Installs torch: 5 GB.
# One expects: a DataLoader with workers augments each image of each epoch anew, as it does without workers. The old
#   trap, workers that share one state of numpy, is closed: torch seeds random, numpy and itself in each worker.
# What happens: Albumentations 2 asks none of these. A transform has a generator of its own, each worker starts with a
#   copy of it, and each epoch with the same copy again. The n-th image of every worker gets the same noise, crop and
#   JPEG quality in all epochs: with 4 workers, three epochs of 64 images are augmented in 16 ways instead of 192. So it
#   is with and without Compose, with and without a seed; persistent_workers=True draws anew in each epoch, but all
#   workers draw the same. AlbumentationsX is mended. (albumentations issue 2473, AlbumentationsX issue 266.)
# What to do: seed the transform in each worker, by worker_init_fn as below, or use AlbumentationsX 2.5.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 albumentations==2.0.8 \
  opencv-python-headless==5.0.0.93
"$folder/venv/bin/pip" install --quiet --no-compile --no-deps --target "$folder/x" albumentationsx==2.5.1 \
  albucore==0.2.21 numkong==7.8.6
cat >"$folder/draw.py" <<'PYTHON'
import sys
import zlib

import albumentations
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

NUM_IMAGES, NUM_WORKERS, NUM_EPOCHS = 64, 4, 3
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
MENDED = sys.argv[1] == "mended"


class Images(Dataset):
    """The same picture again and again, so that the results differ by what the augmentation draws."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return NUM_IMAGES

    def __getitem__(self, number):
        return zlib.crc32(np.ascontiguousarray(self.transform(image=PICTURE)["image"]).tobytes())


def seed_transform(worker):
    info = get_worker_info()
    info.dataset.transform.set_random_seed(info.seed % 2**32)


def numbers_of_results(transform, num_workers=NUM_WORKERS, **options):
    loader = DataLoader(Images(transform), batch_size=4, num_workers=num_workers, **options)
    epochs = [torch.cat(list(loader)) for _ in range(NUM_EPOCHS)]
    return len(epochs[0].unique()), len(torch.cat(epochs).unique())


def noise():
    return albumentations.GaussNoise(p=1)


def composed(**options):
    return albumentations.Compose([noise()], **options)


each, all_of_them = NUM_IMAGES // NUM_WORKERS, NUM_IMAGES * NUM_EPOCHS
once, always = (NUM_IMAGES, all_of_them), (each, each)
for name, transform, options, found in (
    ("without workers", composed(), {"num_workers": 0}, once),
    ("a transform alone", noise(), {}, always),
    ("Compose", composed(), {}, always),
    ("Compose with a seed", composed(seed=0), {}, always),
    ("Compose, workers that stay", composed(), {"persistent_workers": True}, (each, each * NUM_EPOCHS)),
    ("Compose, seeded in each worker", composed(), {"worker_init_fn": seed_transform}, once),
) if __name__ == "__main__" else ():
    epoch, epochs = numbers_of_results(transform, **options)
    print(
        f"{albumentations.__version__}, {name}: {epoch} results for {NUM_IMAGES} images of an epoch, {epochs} for the"
        f" {all_of_them} of {NUM_EPOCHS} epochs"
    )
    assert (epoch, epochs) == (once if MENDED else found), f"changed: {name}"

if __name__ == "__main__":
    qualities = albumentations.ImageCompression(quality_range=(10, 95), p=1)
    epoch, epochs = numbers_of_results(qualities)
    print(f"{albumentations.__version__}, JPEG qualities between 10 and 95: {epochs} different results in 3 epochs")
    assert (epochs > each) == MENDED, "changed: qualities"
PYTHON
export NO_ALBUMENTATIONS_UPDATE=1
"$folder/venv/bin/python" -W ignore "$folder/draw.py" found
PYTHONPATH="$folder/x" "$folder/venv/bin/python" -W ignore "$folder/draw.py" mended
echo "as found: workers and epochs repeat each other's augmentations"
