#!/usr/bin/env bash
# confidenceinterval 1.0.5, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11; seen on 2026-11-30.
# One expects: its precision_score, recall_score and f1_score have scikit-learn's names and "interface" (its README), so
#   they return scikit-learn's numbers, with an interval; confidence_interval=0.99, as in the README, sets the level.
# What happens: they average as "micro" unless told otherwise, which is the accuracy. Where a tenth of the images are
#   generated, a detector with a precision of 0.36 gets 0.83, three times, with narrow intervals around it. The keyword
#   is confidence_level; confidence_interval, like any other, is swallowed, and the interval stays at 95 %. And
#   classification_report_with_ci(confidence_level=...) changes the intervals of F1 by class, and no other.
# What to do: ppv_score and tpr_score for precision and recall, f1_score(average="binary"); always confidence_level=;
#   leave the level of the report at 0.95.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile confidenceinterval==1.0.5 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import confidenceinterval
import numpy as np
from sklearn import metrics

generator = np.random.default_rng(0)
labels = (generator.random(2000) < 0.1).astype(int)
verdicts = (generator.normal(size=2000) + 2 * labels > 1).astype(int)
accuracy = metrics.accuracy_score(labels, verdicts)
print(f"accuracy {accuracy:.2f}")


def with_interval(name, **options):
    value, ends = getattr(confidenceinterval, name)(labels, verdicts, **options)
    return np.array([value, *ends], float)


def shown(found):
    return f"{found[0]:.2f} ({found[1]:.3f} to {found[2]:.3f})"


for name, other, options in (
    ("precision_score", "ppv_score", {}),
    ("recall_score", "tpr_score", {}),
    ("f1_score", "f1_score", {"average": "binary"}),
):
    expected = getattr(metrics, name)(labels, verdicts)
    found, right = with_interval(name), with_interval(other, **options)
    print(f"{name}: scikit-learn {expected:.2f}, here {shown(found)}; {other}{options or ''} {shown(right)}")
    assert abs(found[0] - accuracy) < 1e-6, f"changed: {name}"
    assert abs(right[0] - expected) < 1e-6 and not found[1] < expected < found[2], f"changed: {other}"

for name, options in (("tpr_score", {}), ("fpr_score", {}), ("f1_score", {"average": "binary"})):
    plain, as_in_readme, as_it_is = (
        with_interval(name, **options, **level)
        for level in ({}, {"confidence_interval": 0.99}, {"confidence_level": 0.99})
    )
    print(f"{name}: confidence_interval=0.99 {shown(as_in_readme)}; confidence_level=0.99 {shown(as_it_is)}")
    assert np.array_equal(plain, as_in_readme), f"changed: the keyword, {name}"
    assert np.diff(as_it_is[1:]) > 1.2 * np.diff(plain[1:]), f"changed: the level, {name}"

reports = [
    confidenceinterval.classification_report_with_ci(labels, verdicts, confidence_level=level) for level in (0.95, 0.5)
]
print(reports[1].to_string())
columns = ["Precision CI", "Recall CI", "F1-Score CI"]
changed = [[left != right for left, right in zip(*(report[column] for report in reports))] for column in columns]
assert changed == [[False] * 4, [False] * 4, [True, True, False, False]], "changed: the report"
PYTHON
echo "as found: three names for the accuracy, and a level that is not heard"
