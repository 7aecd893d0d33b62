#!/usr/bin/env bash
# MAPIE 1.6.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11; seen on 2026-11-30.
# One expects: a calibration error is the same in whatever order the images are; split_strategy="array split" makes bins
#   of equal numbers of images, as array_split does with sorted scores.
# What happens: the scores are split as they come, and each bin ends at the highest score of its part. In an ordinary
#   order every part has a score of nearly 1, so nearly all images fall into the first bin, where what is too high and
#   what is too low cancel. A detector that is much too sure of itself has a classwise error of 0.147 sorted by score
#   and of 0.009 as drawn, no more than a calibrated one; for one that is unsure in the middle and too sure at the ends,
#   the usual error and top_label_ece fall from 0.09 to 0.01, too. "uniform" and "quantile" do not depend on the order.
# What to do: sort the images by score before "array split", or use "uniform" or "quantile".
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile mapie==1.6.0 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from mapie.metrics.calibration import expected_calibration_error, top_label_ece
from scipy.special import expit, logit

generator = np.random.default_rng(0)
# of images that look like this one, so many are generated
truth = generator.random(4000)
labels = (generator.random(4000) < truth).astype(int)
too_sure = expit(3 * logit(truth))
detectors = {
    "calibrated": truth,
    "too sure": too_sure,
    "unsure in the middle": np.where(np.abs(truth - 0.5) < 0.3, 0.5 + 0.4 * (truth - 0.5), too_sure),
}


def errors(order, score, strategy):
    """Classwise, of the likelier class, and of the likelier class by class."""
    both = np.stack([1 - score, score], axis=1)[order]
    true = labels[order]
    right = (both.argmax(axis=1) == true).astype(int)
    ways = {"num_bins": 10, "split_strategy": strategy}
    return np.array(
        [
            expected_calibration_error(right, both, classwise=True, class_labels=true, **ways),
            expected_calibration_error(right, both, **ways),
            top_label_ece(true, both, **ways),
        ]
    )


found = {}
for name, score in detectors.items():
    orders = {
        "as drawn": np.arange(4000),
        "shuffled": generator.permutation(4000),
        "by score": np.argsort(score),
    }
    for strategy in ("uniform", "quantile", "array split"):
        for order, numbers in orders.items():
            found[name, strategy, order] = errors(numbers, score, strategy)
        if strategy == "array split":
            for order in orders:
                classwise, likelier, top = found[name, strategy, order]
                print(
                    f"{name}, array split, {order}: classwise {classwise:.3f},",
                    f"likelier class {likelier:.3f}, top label {top:.3f}",
                )
        else:
            print(f"{name}, {strategy}, any order:", *(f"{one:.3f}" for one in found[name, strategy, "as drawn"]))
            for order in orders:
                one = found[name, strategy, order]
                assert np.allclose(one, found[name, strategy, "as drawn"]), f"changed: {strategy} depends on the order"

for order in ("as drawn", "shuffled"):
    assert found["too sure", "array split", order][0] < 0.02, f"changed: too sure, {order}"
    assert found["unsure in the middle", "array split", order].max() < 0.02, f"changed: unsure, {order}"
assert np.allclose(found["too sure", "array split", "by score"], 0.147, atol=0.005), "changed: too sure"
assert np.allclose(found["unsure in the middle", "array split", "by score"], 0.092, atol=0.005), "changed: unsure"
assert found["calibrated", "array split", "as drawn"].max() < 0.02, "changed: calibrated"
PYTHON
echo "as found: the order of the images chooses the calibration error"
