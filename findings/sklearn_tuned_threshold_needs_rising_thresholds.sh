#!/usr/bin/env bash
# scikit-learn 1.9.1, numpy 2.4.6, Python 3.11; seen on 2026-11-30.
# One expects: TunedThresholdClassifierCV(thresholds=[0.9, 0.7, 0.5, 0.3, 0.1]) tries the five and keeps the best one;
#   their order does not matter, and the thresholds that roc_curve returns can be passed as they are.
# What happens: after every threshold has been tried, its score is looked up with np.interp, which needs rising numbers
#   and says nothing if they are not. With the list above, the best of the five is 0.9 (balanced accuracy 0.79), but
#   best_threshold_ is 0.1, under which 95 % of the real images are called generated; best_score_ says 0.79 all the
#   same. With the falling thresholds of roc_curve it is infinite: no image is called generated. Neither gives a
#   warning; the documentation says nothing of an order. With cv="prefit" and with two folds alike.
# What to do: thresholds=np.sort(...). Compare best_score_ with the score of predict() on the same images.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'PYTHON'
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_curve
from sklearn.model_selection import TunedThresholdClassifierCV

generator = np.random.default_rng(0)
labels = generator.integers(0, 2, 1000)
evidence = (generator.normal(size=1000) + 1.5 * labels)[:, None]
# errors on generated images were given eight times the weight, so that 0.5 is far from the best threshold
detector = LogisticRegression(class_weight={0: 1, 1: 8}).fit(evidence, labels)
scores = detector.predict_proba(evidence)[:, 1]
rising = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
truth = {float(one): balanced_accuracy_score(labels, scores >= one) for one in rising}
print("balanced accuracy at", ", ".join(f"{one}: {found:.2f}" for one, found in truth.items()))


def tuned(thresholds, cv):
    """The threshold, the score it is said to have, the score it has, and how many real images it calls generated."""
    tuner = TunedThresholdClassifierCV(
        detector, scoring="balanced_accuracy", thresholds=thresholds, cv=cv, refit=cv != "prefit"
    ).fit(evidence, labels)
    verdicts = tuner.predict(evidence)
    return (
        tuner.best_threshold_,
        tuner.best_score_,
        balanced_accuracy_score(labels, verdicts),
        verdicts[labels == 0].mean(),
    )


of_roc = roc_curve(labels, scores)[2]
for cv in ("prefit", 2):
    for name, thresholds, threshold, said, real, alarms in (
        ("five, rising", rising, 0.9, 0.79, 0.79, 0.22),
        ("five, falling", rising[::-1], 0.1, 0.79, 0.52, 0.95),
        ("of roc_curve", of_roc, np.inf, 0.50, 0.50, 0.00),
        ("of roc_curve, sorted", np.sort(of_roc), 0.91, 0.80, 0.80, 0.19),
    ):
        found = tuned(thresholds, cv)
        print(
            f"cv={cv}, {name}: best threshold {found[0]:.2f}, said to be {found[1]:.2f}, is {found[2]:.2f};",
            f"{found[3]:.0%} of the real images are called generated",
        )
        assert found[0] == threshold or abs(found[0] - threshold) < 0.02, f"changed: the threshold, {name}"
        assert np.allclose(found[1:], (said, real, alarms), rtol=0, atol=0.03), f"changed: {name}"
assert max(truth, key=truth.get) == 0.9, "the best of the five"
PYTHON
echo "as found: the order of the thresholds chooses among them"
