#!/usr/bin/env bash
# safetensors 0.8.0 and 0.7.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11; seen on 2026-11-29.
# One expects: safetensors.numpy saves an array, or refuses what is not contiguous, as safetensors.torch does.
# What happens: since 0.8.0 it writes the memory as it lies, under the shape of the array. A transposed, sliced or
#   Fortran-ordered array comes back scrambled; 0.7.0 saved all of them rightly. scikit-learn gives such arrays without
#   a transpose in sight: components_ of PCA, coef_ of a LogisticRegression of several classes. A linear probe that
#   names generators guesses after loading. No error, and shape, dtype and file size are right. (Issue 825.)
# What to do: np.ascontiguousarray around each array, and compare a loaded file once with what was saved.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat >"$folder/probe.py" <<'PYTHON'
import numpy as np
import safetensors
from safetensors.numpy import load, save
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

FRESH = safetensors.__version__ == "0.8.0"


def loaded(array):
    return load(save({"array": array}))["array"]


array = np.arange(12, dtype=np.float32).reshape(3, 4)
for name, case in (("transposed", array.T), ("sliced", array[:, ::2]), ("Fortran's order", np.asfortranarray(array))):
    found = loaded(case)
    print(f"{safetensors.__version__}, {name}: the same values {np.array_equal(found, case)}")
    assert found.shape == case.shape and np.array_equal(found, case) != FRESH, f"changed: {name}"
    assert np.array_equal(loaded(np.ascontiguousarray(case)), case), f"changed: ascontiguousarray, {name}"

random = np.random.default_rng(0)
NUM_GENERATORS, NUM_FEATURES = 5, 64
centres = random.normal(size=(NUM_GENERATORS, NUM_FEATURES))
labels = random.integers(0, NUM_GENERATORS, 4000)
features = (centres[labels] + random.normal(0, 2, (4000, NUM_FEATURES))).astype(np.float32)
basis = PCA(16).fit(features[:2000])
reduced = basis.transform(features)
probe = LogisticRegression(max_iter=1000).fit(reduced[:2000], labels[:2000])
assert not basis.components_.flags.c_contiguous and not probe.coef_.flags.c_contiguous, "changed: order of scikit-learn"


def accuracy(components, weights):
    scores = (features[2000:] - basis.mean_) @ components.T @ weights.T + probe.intercept_
    return (scores.argmax(1) == labels[2000:]).mean()


before = accuracy(basis.components_, probe.coef_)
after = accuracy(loaded(basis.components_), loaded(probe.coef_))
print(f"{safetensors.__version__}, a linear probe names {NUM_GENERATORS} generators: {before:.3f}, when loaded {after:.3f}")
assert before > 0.85 and (after < 0.4 if FRESH else after == before), "changed: the probe"
PYTHON
for version in 0.8.0 0.7.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "safetensors==$version" scikit-learn==1.9.1 numpy==2.4.6
  "$folder/$version/bin/python" "$folder/probe.py"
done
echo "as found: 0.8.0 scrambles what is not in C order"
