#!/usr/bin/env bash
# accelerate 1.15.0, webdataset 1.0.2, datasets 5.2.0, torch 2.14.1, Python 3.11; seen on 2026-11-29. Installs torch: 5 GB.
# One expects: on several processes, split_by_node of webdataset (which asks for a nodesplitter there) or
#   split_dataset_by_node of datasets gives each its part, and accelerator.prepare(loader) only moves it to the device.
# What happens: prepare() splits every iterable data set among the processes, also one that is split already. Of two
#   processes, an epoch sees half of the images, of eight an eighth, by default as with dispatch_batches=False, and
#   without shuffling it is the same part each time. An evaluation measures that part. No warning. (accelerate issue 3547.)
# What to do: either split, or prepare the loader. For webdataset, nodesplitter=lambda urls: urls and prepare() see all.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 accelerate==1.15.0 webdataset==1.0.2 datasets==5.2.0
cat >"$folder/read.py" <<'PYTHON'
import sys

import webdataset as wds
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, gather_object
from datasets import Dataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

NUM_SHARDS, EACH = 4, 25
ALL = list(range(NUM_SHARDS * EACH))
folder = sys.argv[1]
if Accelerator(cpu=True).is_main_process:
    for shard in range(NUM_SHARDS):
        with wds.TarWriter(f"{folder}/{shard}.tar") as tar:
            for number in ALL[shard * EACH :][:EACH]:
                tar.write({"__key__": f"{number:03}", "cls": number})
Accelerator(cpu=True).wait_for_everyone()


def tars(nodesplitter):
    urls = [f"{folder}/{shard}.tar" for shard in range(NUM_SHARDS)]
    return wds.WebDataset(urls, shardshuffle=False, nodesplitter=nodesplitter).decode().to_tuple("cls")


def rows(split):
    dataset = Dataset.from_dict({"0": ALL}).to_iterable_dataset(num_shards=NUM_SHARDS)
    here = Accelerator(cpu=True)
    return split_dataset_by_node(dataset, here.process_index, here.num_processes) if split else dataset


for dispatch in (None, False):
    for name, dataset, share in (
        ("webdataset, split_by_node", tars(wds.split_by_node), 2),
        ("webdataset, not split", tars(lambda urls: urls), 1),
        ("datasets, split_dataset_by_node", rows(True), 2),
        ("datasets, not split", rows(False), 1),
    ):
        accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=dispatch))
        loader = accelerator.prepare(DataLoader(dataset, batch_size=5))
        numbers = [batch["0"] if isinstance(batch, dict) else batch[0] for batch in loader]
        seen = gather_object([number for batch in numbers for number in batch.tolist()])
        if accelerator.is_main_process:
            print(f"dispatch_batches={dispatch}, {name}: {len(set(seen))} of {len(ALL)} images seen by two processes")
        assert len(set(seen)) == len(ALL) // share, f"changed: {name}"
PYTHON
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/venv/bin/torchrun" --nproc-per-node 2 "$folder/read.py" "$folder" \
  2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: what was split before prepare() is split twice"
