#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, Python 3.11; seen on 2026-11-29.
# One expects: load_state_dict() of an IterableDataset resumes the interrupted epoch; the next begins at the front.
# What happens: every later epoch begins where the run was resumed, until set_epoch() is called with another number. A
#   run that stopped after 80 of 100 images trains on the last 20 from then on, without a warning: where images lie class
#   by class, on one class. StatefulDataLoader of torchdata 0.11.0 inherits it, without workers or with persistent ones;
#   workers that start anew each epoch hide it. (datasets issue 7447.)
# What to do: dataset.set_epoch(epoch) before each epoch, in the resumed one with the epoch of the checkpoint; and count
#   what an epoch gave.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
from collections import Counter

from datasets import Dataset

LABELS = [0] * 50 + [1] * 50  # real images, then generated ones


def stream():
    return Dataset.from_dict({"label": LABELS}).to_iterable_dataset(num_shards=4)


def epoch(dataset):
    return dict(Counter(row["label"] for row in dataset))


begun = stream()
for place, _ in enumerate(begun, start=1):
    if place == 80:
        state = begun.state_dict()  # "interrupted"
        break
assert [epoch(begun), epoch(begun)] == [{0: 50, 1: 50}] * 2, "epochs of a run that was not resumed are whole"

resumed = stream()
resumed.load_state_dict(state)
epochs = [epoch(resumed) for _ in range(4)]
print(f"resumed after 80 of 100 images, four epochs, images by label: {epochs}")
assert epochs == [{1: 20}] * 4, "changed: later epochs are whole"

resumed = stream()
resumed.load_state_dict(state)
epochs = []
for number in range(4):
    resumed.set_epoch(number)
    epochs.append(epoch(resumed))
print(f"with set_epoch before each: {epochs}")
assert epochs == [{1: 20}] + [{0: 50, 1: 50}] * 3, "changed: the remedy"
PYTHON
echo "as found: after one resumption all epochs are short"
