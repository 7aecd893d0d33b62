#!/usr/bin/env bash
# datasets 5.2.0, Python 3.11; seen on 2026-11-30.
# One expects: of a stream, take(200) for validation and skip(200) for training have no image in common, as the
#   documentation of streaming splits a data set.
# What happens: if a stream of four files is read by four nodes, each takes or skips 50 images of its own file. So
#   training on four, with a validation read by one process, contains 150 of the 200 images of the validation, and 150
#   others are never used. The workers of a DataLoader of torch share the files in the same way.
#   If shuffle() comes before the split, as the documentation advises, set_epoch(), which the Trainer of transformers
#   calls, draws other images into training also in one process.
# What to do: split by files, or filter by something that belongs to each image, such as a hash. At least, take and skip
#   with the same number of nodes and workers, and shuffle only after skip().
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export HF_HOME="$folder/cache" HF_HUB_OFFLINE=1
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile datasets==5.2.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import datasets
from datasets.distributed import split_dataset_by_node

datasets.disable_progress_bars()
FILES, EACH, TAKEN = 4, 250, 200
for number in range(FILES):
    rows = {"image_number": list(range(number * EACH, (number + 1) * EACH))}
    datasets.Dataset.from_dict(rows).to_parquet(f"{sys.argv[1]}/{number}.parquet")
stream = datasets.load_dataset("parquet", data_files=f"{sys.argv[1]}/*.parquet", split="train", streaming=True)
assert stream.num_shards == FILES


def numbers(*datasets_read):
    found = [row["image_number"] for dataset in datasets_read for row in dataset]
    assert len(found) == len(set(found)), "changed: an image comes twice"
    return set(found)


def split(dataset, nodes):
    return [split_dataset_by_node(dataset, rank=rank, world_size=nodes) for rank in range(nodes)]


validation = numbers(stream.take(TAKEN))
assert validation == set(range(TAKEN)), "changed: take() takes others than the first"
shared = []
for nodes in (1, 2, 4):
    training = numbers(*split(stream.skip(TAKEN), nodes))
    shared.append(len(training & validation))
    unused = FILES * EACH - len(training | validation)
    print(f"nodes: {nodes}; {len(training)} for training, {shared[-1]} of them in the validation; {unused} in neither")
    assert len(training) == FILES * EACH - TAKEN
assert shared == [0, 100, 150], "changed: what training and validation share"
both = [numbers(*split(part, 4)) for part in (stream.skip(TAKEN), stream.take(TAKEN))]
assert not both[0] & both[1], "changed: four nodes for training and for the validation"

shuffled = stream.shuffle(seed=0, buffer_size=100)
validation, training = numbers(shuffled.take(TAKEN)), shuffled.skip(TAKEN)
for epoch in range(3):
    training.set_epoch(epoch)
    common = len(numbers(training) & validation)
    print(f"shuffled before the split, one process, epoch {epoch}: {common} of the training in the validation")
    assert (common > 0) == (epoch > 0), "changed: what the epoch does"
last = stream.skip(TAKEN).shuffle(seed=0, buffer_size=100)
last.set_epoch(1)
assert not numbers(last) & set(range(TAKEN)), "changed: shuffled after the split"
PYTHON
echo "as found: training contains images of the validation"
