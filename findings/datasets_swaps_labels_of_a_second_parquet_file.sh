#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, Python 3.11; seen on 2026-11-29.
# One expects: a Parquet file that datasets wrote says which number means "real" and which "fake". Several files read in
#   one call keep their meanings, or are refused where they differ, as concatenate_datasets refuses them.
# What happens: load_dataset("parquet", data_files=[…]) takes the names of the first file for all, also across splits
#   and when streaming. Where one file has ["real", "fake"] and another ["fake", "real"], as ImageFolder sorts them, the
#   labels of the second are swapped, without a warning: real images are trained on, and counted, as fakes.
#   cast_column("label", ClassLabel(names=…)) with names in another order keeps the numbers, too, and so swaps them.
# What to do: one call per file, then align_labels_with_mapping({"real": 0, "fake": 1}, "label") on each, then
#   concatenate_datasets, which checks that they agree.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets, disable_progress_bars, load_dataset

disable_progress_bars()
TRUTH = ["real", "fake", "fake"]
first, second = f"{sys.argv[1]}/first.parquet", f"{sys.argv[1]}/second.parquet"
for path, names in ((first, ["real", "fake"]), (second, ["fake", "real"])):
    features = Features({"truth": Value("string"), "label": ClassLabel(names=names)})
    labels = [names.index(word) for word in TRUTH]
    Dataset.from_dict({"truth": TRUTH, "label": labels}, features=features).to_parquet(path)


def wrong(dataset):
    return sum(dataset.features["label"].int2str(row["label"]) != row["truth"] for row in dataset)


def parquet(files, **options):
    return load_dataset("parquet", data_files=files, **options)


alone = [parquet(path, split="train") for path in (first, second)]
assert [wrong(rows) for rows in alone] == [0, 0], "each file alone says what it means"
together = {
    "both files": parquet([first, second], split="train"),
    "both files, streamed": parquet([first, second], split="train", streaming=True),
    "the second as test split": parquet({"train": first, "test": second})["test"],
    "the second, cast": alone[1].cast_column("label", ClassLabel(names=["real", "fake"])),
}
for name, rows in together.items():
    print(f"{name}: {wrong(rows)} of {len(list(rows))} labels are wrong")
    assert wrong(rows) == len(TRUTH), f"changed: {name}"

try:
    concatenate_datasets(alone)
except ValueError as error:
    print(f"concatenate_datasets refuses: {str(error)[:60]}…")
else:
    raise AssertionError("changed: concatenate_datasets takes other names")
aligned = [rows.align_labels_with_mapping({"real": 0, "fake": 1}, "label") for rows in alone]
joined = concatenate_datasets(aligned)
assert (len(joined), wrong(joined)) == (2 * len(TRUTH), 0), "changed: the remedy"
print("with align_labels_with_mapping: all labels right")
PYTHON
echo "as found: the names of the first file are taken for those of all"
