#!/usr/bin/env bash
# torchmetrics 1.9.0, torch 2.14.1, Python 3.11; seen on 2026-11-29. Installs torch: 5 GB.
# One expects: MetricCollection gives what its metrics give one by one; compute groups only save time.
# What happens: metrics whose counts are equal after the first batch are taken for the same, whatever their thresholds,
#   and from then on only the first of them is updated. A batch without a score between two thresholds is enough: one of
#   eight images, or one of any size from a detector that is not trained yet. reset() does not undo it, so one batch
#   decides for all epochs. At a threshold of 0.9, 10.5 % of the real images are reported as false alarms, as at 0.5,
#   instead of 3.1 %. No warning. (Cf. torchmetrics issue 2596.)
# What to do: MetricCollection(…, compute_groups=False).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 torchmetrics==1.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryRecall, BinarySpecificity

generator = torch.Generator().manual_seed(0)
labels = (torch.rand(4000, generator=generator) < 0.5).long()
logits = 3 * (torch.randn(4000, generator=generator) + 2.5 * labels - 1.25)
scores = logits.sigmoid()


def metrics(*thresholds):
    kinds = {"accuracy": BinaryAccuracy, "recall": BinaryRecall, "specificity": BinarySpecificity}
    return {f"{name} at {at * 100:.0f} %": kind(threshold=at) for name, kind in kinds.items() for at in thresholds}


def measured(collection, scores, batch_size):
    for part, truth in zip(scores.split(batch_size), labels.split(batch_size), strict=True):
        collection.update(part, truth)
    return {name: round(float(value), 3) for name, value in collection.compute().items()}


right = measured(MetricCollection(metrics(0.5, 0.9), compute_groups=False), scores, 4000)
alone = metrics(0.5, 0.9)
assert right == {name: round(float(metric(scores, labels)), 3) for name, metric in alone.items()}, "changed: no groups"
print("one by one:", right)
for batch_size in (1, 8, 16, 4000):
    collection = MetricCollection(metrics(0.5, 0.9))
    found = measured(collection, scores, batch_size)
    wrong = [name for name in found if found[name] != right[name]]
    print(f"batches of {batch_size}: {found if wrong else 'the same'}; groups {list(collection.compute_groups.values())}")
    assert wrong == ([name for name in right if "90" in name] if batch_size <= 8 else []), f"changed: {batch_size}"
    assert batch_size > 8 or found["specificity at 90 %"] == right["specificity at 50 %"], "changed: whose number"

collection = MetricCollection(metrics(0.9, 0.99))
untrained = 0.5 + (scores - 0.5) / 5
measured(collection, untrained, 500)
collection.reset()
found = measured(collection, scores, 500)
right = measured(MetricCollection(metrics(0.9, 0.99), compute_groups=False), scores, 500)
print("epoch 1 untrained, epoch 2 trained, batches of 500:", found)
print("epoch 2, one by one:", right)
for name in ("accuracy", "recall", "specificity"):
    assert found[f"{name} at 99 %"] == found[f"{name} at 90 %"] == right[f"{name} at 90 %"], f"changed: {name}, epoch 2"
    assert right[f"{name} at 99 %"] != right[f"{name} at 90 %"], name
PYTHON
echo "as found: the first batch says which metrics are the same"
