#!/usr/bin/env bash
# torchmetrics 1.9.0, torch 2.14.1, Python 3.11; seen on 2026-11-29. Installs torch: 5 GB.
# One expects: the calibration error of a detector is one number, whether its two classes are called "binary" or
#   "multiclass" with num_classes=2; accuracy and AUROC are the same by either.
# What happens: "binary" compares the probability of "generated" with how often that is right, "multiclass" that of the
#   likelier class, which lets errors of opposite direction cancel. A detector that gives every image 10 points too few
#   for "generated", says 30 % where 40 % are, and 70 % where 80 % are, has an error of 0.10 by one and of 0.03 by the
#   other. For one that is too sure of itself on both sides they agree. Papers call both ECE.
# What to do: say which it is. For verdicts at a threshold, the binary one; the multiclass one (Guo et al. 2017) only
#   beside others' numbers.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 torchmetrics==1.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchmetrics import Accuracy, CalibrationError

generator = torch.Generator().manual_seed(0)
# of images that look like this one, so many are generated
truth = 0.1 + 0.8 * torch.rand(200_000, generator=generator, dtype=torch.float64)
labels = (torch.rand(len(truth), generator=generator, dtype=torch.float64) < truth).long()


def by_both(metric, probability, **options):
    found = []
    for task, scores in (("binary", probability), ("multiclass", torch.stack([1 - probability, probability], dim=1))):
        one = metric(task=task, num_classes=2, **options)
        one.update(scores, labels)
        found.append(float(one.compute()))
    return found


for name, probability, as_binary, as_multiclass in (
    ("right", truth, 0.00, 0.00),
    ("10 points too low", truth - 0.1, 0.10, 0.03),
    ("too sure", (0.5 + 1.4 * (truth - 0.5)).clamp(0, 1), 0.08, 0.08),
):
    found = by_both(CalibrationError, probability, n_bins=15)
    print(f"{name}: calibration error as binary {found[0]:.3f}, as multiclass {found[1]:.3f}")
    assert abs(found[0] - as_binary) < 0.01 and abs(found[1] - as_multiclass) < 0.01, f"changed: {name}"
    assert len(set(by_both(Accuracy, probability))) == 1, "accuracy is the same"
PYTHON
echo "as found: one detector, two calibration errors"
