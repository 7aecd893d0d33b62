#!/usr/bin/env bash
# torchmetrics 1.9.0, torch 2.14.1, scikit-learn 1.9.1, Python 3.11; seen on 2026-11-29. Installs torch: 5 GB.
# One expects: AUROC goes by the order of the scores, so that logits in batches of any size give scikit-learn's number.
# What happens: update() puts a batch through a sigmoid if a score in it lies outside of 0 … 1, else not. In small
#   batches, as of large images, some logits are turned and others are not: AUROC and average precision fall by
#   hundredths, the accuracy rises. And the sigmoid rounds large logits to 1: where all are around 20, or 12 in float16,
#   AUROC is 0.51 instead of 0.87. (torchmetrics issues 2195 and 2819.)
# What to do: BinaryAUROC(normalization=None); for other metrics torch.sigmoid(logits.double()) before update().
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 torchmetrics==1.9.0 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryAveragePrecision

generator = torch.Generator().manual_seed(0)
labels = (torch.rand(2000, generator=generator) < 0.5).long()
logits = torch.randn(2000, generator=generator) + 1.5 * labels - 0.3


def measured(metric, scores, batch_size):
    for part, truth in zip(scores.split(batch_size), labels.split(batch_size), strict=True):
        metric.update(part, truth)
    return float(metric.compute())


auroc = roc_auc_score(labels, logits)
for metric, right in (
    (BinaryAUROC, auroc),
    (BinaryAveragePrecision, average_precision_score(labels, logits)),
    (BinaryAccuracy, ((logits > 0) == labels).double().mean()),
):
    by_size = {size: round(measured(metric(), logits, size), 3) for size in (1, 2, 4, 8, 2000)}
    print(f"{metric.__name__} by size of the batch: {by_size}; right is {right:.3f}")
    assert abs(by_size[2000] - right) < 0.001 < 0.01 < abs(by_size[1] - right), f"changed: {metric.__name__}"

for kind, shift in ((torch.float32, 20), (torch.float16, 12)):
    large = (1.5 * logits + shift).to(kind)
    found, right = measured(BinaryAUROC(), large, 2000), roc_auc_score(labels, large.double())
    print(f"AUROC of {kind} logits around {shift}: {found:.3f}; right is {right:.3f}")
    assert found < 0.55 and right > 0.85, f"changed: {kind}"

assert abs(measured(BinaryAUROC(normalization=None), logits, 1) - auroc) < 1e-5, "changed: normalization=None"
assert abs(measured(BinaryAUROC(), logits.double().sigmoid(), 1) - auroc) < 1e-5, "changed: a sigmoid beforehand"
PYTHON
echo "as found: AUROC of logits depends on the size of batches"
