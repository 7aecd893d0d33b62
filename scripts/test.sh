#!/usr/bin/env bash
# Every check, on a machine with nothing but Python: bash scripts/test.sh [--slow]
#   default  lint, format, types, the default tier of tests (GPU tests too where there is a GPU)
#   --slow   adds what takes longer: several processes, kills, fuzzing, soak, and variants of what the default tier tests
set -euo pipefail
cd "$(dirname "$0")/.."

slow=0
for argument in "$@"; do
  case "$argument" in
    --slow) slow=1 ;;
    *) echo "error: unknown argument $argument (the only one is --slow)" >&2; exit 2 ;;
  esac
done

source scripts/venv.sh "[dev]"

echo "== ruff"; ruff check .; ruff format --check .
echo "== mypy"; mypy & types=$!
# Meanwhile the other core compiles the kernels, which a fresh clone lacks. What fails here fails again below, and is shown.
python -m pytest -q tests/test_loaders_splice.py tests/test_identity.py -k "grey or audits" >/dev/null || true
wait "$types"
# Files in the order of tests/conftest.py: one worker compiles the kernels of a fresh clone, the other runs what needs none.
echo "== tests"; python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu" --durations=10
if python -c "import torch, sys; sys.exit(not torch.cuda.is_available())"; then
  echo "== GPU tests"; python -m pytest -q -m gpu
else
  echo "== GPU tests skipped: no CUDA device here"
fi
if [ "$slow" = 1 ]; then
  echo "== slow tests"; python -m pytest -q -m slow --durations=10 --timeout=1800
fi
