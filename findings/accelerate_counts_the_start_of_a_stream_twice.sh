#!/usr/bin/env bash
# accelerate 1.15.0, torch 2.14.1, Python 3.11; seen on 2026-11-29. Installs torch: 5 GB.
# One expects: gather_for_metrics() leaves out the samples with which the last batch was filled up, so that a metric
#   counts each image once, as its documentation says.
# What happens: of an IterableDataset read with dispatch_batches=False, as one chooses where each process is to decode
#   its own images, the filling stays in: samples from the start of the stream count twice. With two processes and
#   batches of 64, 132 images are counted as 256, and 100 as 128: with the real ones first, an accuracy of 0.750 becomes
#   0.805. A data set that says its length changes nothing, and the one message has a level that is not shown. Map-style
#   data sets, and streams read by default, are counted right.
# What to do: gather a number for each sample, too, and keep the first of each; or leave dispatch_batches as it is.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 accelerate==1.15.0
cat >"$folder/measure.py" <<'PYTHON'
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, Dataset, IterableDataset

BATCH_SIZE = 64


class Map(Dataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, number):
        return torch.tensor(number)


class Stream(IterableDataset):
    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return iter(torch.arange(self.length))


class SizedStream(Stream):
    def __len__(self):
        return self.length


def gathered(dataset, dispatch):
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=dispatch))
    loader = accelerator.prepare(DataLoader(dataset, batch_size=BATCH_SIZE))
    return torch.cat([accelerator.gather_for_metrics(batch) for batch in loader])


def accuracy(numbers, length):
    """Of a detector that is right about real images, the first half, and about every second fake one."""
    return float(((numbers < length // 2) | (numbers % 2 == 0)).double().mean())


for length in (100, 132, 250, 256):
    for name, dataset, dispatch in (
        ("map-style", Map(length), None),
        ("stream", Stream(length), None),
        ("stream, dispatch_batches=False", Stream(length), False),
        ("stream with a length, dispatch_batches=False", SizedStream(length), False),
    ):
        numbers = gathered(dataset, dispatch)
        if Accelerator(cpu=True).is_main_process:
            right = accuracy(torch.arange(length), length)
            found = accuracy(numbers, length)
            print(f"{length} images, {name}: {len(numbers)} counted, accuracy {found:.3f}, right is {right:.3f}")
        assert len(numbers.unique()) == length, "some are missing"
        expected = -(-length // (2 * BATCH_SIZE)) * 2 * BATCH_SIZE if dispatch is False else length
        assert len(numbers) == expected, f"changed: {name}"
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/torchrun" --nproc-per-node 2 "$folder/measure.py" 2>"$folder/log" ||
  { tail -20 "$folder/log"; exit 1; }
echo "as found: the start of a stream counts twice"
