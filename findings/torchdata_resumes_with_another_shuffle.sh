#!/usr/bin/env bash
# torchdata 0.11.0, torch 2.14.1, Python 3.11; seen on 2026-11-30. Installs torch: 5 GB.
# One expects: a StatefulDataLoader that is given its state_dict() continues where it stopped: what was left of the
#   epoch comes, each image once, and after a state from the end of an epoch the next epoch comes.
# What happens: (1) that holds for shuffle=True and for DistributedSampler. Given another random sampler of torch, be it
#   a RandomSampler, a SubsetRandomSampler (folds) or a WeightedRandomSampler (balanced classes), as sampler or inside a
#   batch_sampler, the loader draws a new order and skips as many images of it as were read of the old one: of 100
#   images 23 to 29 come twice and as many not at all. From the second epoch on, neither the same seed nor a generator
#   of the sampler's own helps. The tutorial of torchdata 0.8 says that torch's RandomSampler and BatchSampler are
#   patched; in 0.11 they are not.
#   (2) If the state was saved at the end of an epoch, and torchdata's own StatefulDistributedSampler was used with
#   num_workers=0, the next epoch is empty: a training counts an epoch without an image (issue 1513 of torchdata tells
#   of the same sampler in torchdata.nodes). No error, no warning.
# What to do: shuffle=True, for a fold on a torch.utils.data.Subset; or the RandomSampler of
#   torchdata.stateful_dataloader.sampler; for processes torch's DistributedSampler with set_epoch(). Count the images.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 torchdata==0.11.0
cat >"$folder/resume.py" <<'PYTHON'
import torch
import torchdata.stateful_dataloader.sampler as stateful
from torch.utils import data
from torchdata.stateful_dataloader import StatefulDataLoader

IMAGES, BATCH_SIZE, NUM_READ = list(range(100)), 8, 6
SAMPLERS = {
    "shuffle=True": lambda: {"shuffle": True},
    "RandomSampler of torchdata": lambda: {"sampler": stateful.RandomSampler(IMAGES)},
    "DistributedSampler, 1 process": lambda: {"sampler": data.DistributedSampler(IMAGES, num_replicas=1, rank=0)},
    "RandomSampler": lambda: {"sampler": data.RandomSampler(IMAGES)},
    "RandomSampler, own generator": lambda: {
        "sampler": data.RandomSampler(IMAGES, generator=torch.Generator().manual_seed(0))
    },
    "SubsetRandomSampler": lambda: {"sampler": data.SubsetRandomSampler(IMAGES)},
    "WeightedRandomSampler": lambda: {"sampler": data.WeightedRandomSampler([1.0] * 100, 100, replacement=False)},
    "BatchSampler": lambda: {"batch_sampler": data.BatchSampler(data.RandomSampler(IMAGES), BATCH_SIZE, False)},
}
RIGHT = list(SAMPLERS)[:3]


def loader_of(sampler, num_workers=0):
    torch.manual_seed(0)  # as a training begins, and begins again
    options = sampler()
    size = {} if "batch_sampler" in options else {"batch_size": BATCH_SIZE}
    return StatefulDataLoader(IMAGES, num_workers=num_workers, **size, **options)


def read(loader, epoch, num_batches=None):
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    images = []
    for number, batch in enumerate(loader, 1):
        images += batch.tolist()
        if number == num_batches:
            break
    return images


def middle_of_the_second_epoch():
    for name, sampler in SAMPLERS.items():
        for num_workers in (0, 2):
            loader = loader_of(sampler, num_workers)
            read(loader, 0)
            before = read(loader, 1, NUM_READ)
            state = loader.state_dict()
            resumed = loader_of(sampler, num_workers)
            resumed.load_state_dict(state)
            after = read(resumed, 1)
            twice, never = len(set(before) & set(after)), len(set(IMAGES) - set(before) - set(after))
            print(f"{name}, {num_workers} workers: {len(before)} + {len(after)} images, twice {twice}, never {never}")
            assert len(before) + len(after) == len(IMAGES), f"changed: {name}, size"
            assert twice == never and (never == 0 if name in RIGHT else never > 5), f"changed: {name}"


def end_of_an_epoch():
    for kind in (data.DistributedSampler, stateful.StatefulDistributedSampler):
        for num_workers in (0, 2):

            def sampler(kind=kind):
                return {"sampler": kind(IMAGES, num_replicas=2, rank=0)}

            loader = loader_of(sampler, num_workers)
            read(loader, 0)
            resumed = loader_of(sampler, num_workers)
            resumed.load_state_dict(loader.state_dict())
            epochs = [len(read(resumed, epoch)) for epoch in (1, 2)]
            print(f"{kind.__name__}, {num_workers} workers: after the end of an epoch, epochs of {epochs} images")
            is_wrong = kind is stateful.StatefulDistributedSampler and num_workers == 0
            assert epochs == [0 if is_wrong else 50, 50], f"changed: {kind.__name__}"


if __name__ == "__main__":
    middle_of_the_second_epoch()
    end_of_an_epoch()
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/resume.py" 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: a resumed epoch reads images twice, and others never"
