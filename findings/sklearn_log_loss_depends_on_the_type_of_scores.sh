#!/usr/bin/env bash
# scikit-learn 1.9.1, numpy 2.4.6, Python 3.11; seen on 2026-11-30.
# One expects: log_loss of the same probabilities is the same whatever type of numbers holds them, but for rounding, and
#   lower precision does not make a detector better.
# What happens: probabilities are clipped by the epsilon of their type, so that an image that is wrong with certainty
#   costs 36.0 in float64, 15.9 in float32 and 6.9 in float16; and the sigmoid of float32 is exactly 1 from a logit of 17
#   on. For 2,000 images and a detector that is too sure of itself, the network's scores (float32) give 2.60, the same
#   numbers read back from CSV or JSON give 3.61, and rounded to float16 they give 1.54; the logits say 3.23. A better
#   detector whose scores come from a file looks worse than this one in memory. (Since 1.2; scikit-learn issue 24315.)
# What to do: compute it from logits: mean(logaddexp(0, logit) - label * logit). Where there are none, clip all scores
#   by one number that is reported beside the loss, in float64.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'PYTHON'
import io

import numpy as np
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

generator = np.random.default_rng(0)
labels = generator.integers(0, 2, 2000)
evidence = generator.normal(size=2000) + 1.2 * labels - 0.6


def scored(logits):
    """The scores of a network in float32."""
    return expit(logits.astype(np.float32))


def read_back(scores):
    """Written with as many digits as tell each float32 from its neighbours, and read as CSV and JSON are."""
    read = np.loadtxt(io.StringIO("\n".join(map(repr, scores.tolist()))))
    assert np.array_equal(read, scores), "not the same numbers"
    return read


def right(logits):
    return np.mean(np.logaddexp(0, logits) - labels * logits)


sure, less_sure = 20 * evidence, 18 * evidence
scores = scored(sure)
kinds = {
    "float16": scores.astype(np.float16),
    "float32": scores,
    "float32, read back": read_back(scores),
    "float64, from the start": expit(sure),
}
losses = {name: log_loss(labels, found) for name, found in kinds.items()}
for name, found in kinds.items():
    others = [metric(labels, found) for metric in (brier_score_loss, roc_auc_score, average_precision_score)]
    print(f"{name}: log loss {losses[name]:.2f}; Brier score, AUROC, AP", *(f"{other:.4f}" for other in others))
less_sure_read = log_loss(labels, read_back(scored(less_sure)))
print(f"from the logits: {right(sure):.2f}")
print(f"a less sure detector, float32, read back: {less_sure_read:.2f}; from the logits: {right(less_sure):.2f}")
for kind, cost in ((np.float64, 36.0), (np.float32, 15.9), (np.float16, 6.9)):
    found = log_loss([0], np.array([1], kind), labels=[0, 1])
    print(f"one image, certain and wrong, {np.dtype(kind)}: {found:.1f}")
    assert abs(found - cost) < 0.1, f"changed: {kind}"

assert losses["float16"] + 0.5 < losses["float32"] < losses["float32, read back"] - 0.5, "changed: the order"
assert abs(losses["float64, from the start"] - right(sure)) < 0.05, "changed: float64"
assert right(less_sure) < right(sure) and losses["float32"] < less_sure_read, "changed: which one is better"
for metric in (brier_score_loss, roc_auc_score, average_precision_score):
    found = [metric(labels, kinds[name]) for name in ("float32", "float32, read back")]
    assert abs(found[0] - found[1]) < 1e-6, f"changed: {metric.__name__} depends on the type"
PYTHON
echo "as found: the same scores, another log loss"
