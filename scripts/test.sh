#!/usr/bin/env bash
# Every check, on a machine with nothing but Python: bash scripts/test.sh [--slow] [--lowest]
#   default   lint, format, types, the default tier of tests (GPU tests too where there is a GPU)
#   --slow    adds what takes longer: several processes, kills, fuzzing, soak, and variants of what the default tier tests
#   --lowest  tests alone, with the lowest version of each dependency that pyproject.toml allows, in .venv-lowest
set -euo pipefail
cd "$(dirname "$0")/.."

slow=0
lowest=0
for argument in "$@"; do
  case "$argument" in
    --slow) slow=1 ;;
    --lowest) lowest=1 ;;
    *) echo "error: unknown argument $argument (there are --slow and --lowest)" >&2; exit 2 ;;
  esac
done

extras="[dev]"
[ "$slow" = 0 ] || extras="[dev,dev-slow]"
if [ "$lowest" = 1 ]; then
  GLASS_VENV=.venv-lowest
  mkdir -p "$GLASS_VENV"
  export PIP_CONSTRAINT="$PWD/$GLASS_VENV/lowest.txt"
  sed -n '/^dependencies = \[/,/^\]/s/^ *"\([^";]*\)>=\([^";]*\).*/\1==\2/p' pyproject.toml >"$PIP_CONSTRAINT"
fi
source scripts/venv.sh "$extras"
unset PYTHONDONTWRITEBYTECODE  # else each of some hundred processes compiles all modules that it imports

# One folder for all temporary files, also for those that killed processes leave. It stays if anything fails. Unless TMPDIR
# is set, that of the default tier is in memory, because on a disk the tests take 7 % longer: if 4 GB are free there and
# programs may run.
memory=/dev/shm
free="$(df --output=avail "$memory" 2>/dev/null | tail -1 || true)"
if [ "$slow" = 0 ] && [ -z "${TMPDIR:-}" ] && [ "${free:-0}" -gt 4000000 ] && ! grep -q " $memory .*noexec" /proc/mounts
then export TMPDIR="$memory"; fi
TMPDIR="$(mktemp -d -t glass-tests-XXXXXX)"
export TMPDIR
passed=0
beside=() # processes that run beside this one
clean_up() {
  [ "${#beside[@]}" = 0 ] || kill "${beside[@]}" 2>/dev/null || true
  if [ "$passed" = 1 ]; then rm -rf "$TMPDIR" || true; else echo "temporary files of the tests are in $TMPDIR" >&2; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

began=$SECONDS
if [ "$lowest" = 0 ]; then mypy; fi >"$TMPDIR/mypy" & mypy=$!
beside+=("$mypy")

# Compiled once for a clone, as the install is made once: Numba keeps kernels beside their sources until a source changes,
# here and in every later run of anything. What fails here fails again below, and is shown there.
kernels=shards/jpeg/__pycache__/compiled
if [ ! "$kernels" -nt "$stamp" ] || [ -n "$(find shards/jpeg shards/images glass/auditing -name '*.py' -newer "$kernels")" ]; then
  echo "== compiling kernels (about a minute, once)"
  # The first file takes most of the time. The others stand so that its kernel is there when the last one needs it.
  python -m pytest -q tests/loaders/test_splice.py -k grey >/dev/null & splice=$!
  beside+=("$splice")
  compiled=1
  python -m pytest -q tests/project/test_output_schemas.py tests/shards/images/test_identity.py tests/loaders/test_golden.py \
    -k "texture or audits or data_set_fits" >/dev/null || compiled=0
  wait "$splice" || compiled=0
  [ "$compiled" = 0 ] || touch "$kernels"
fi

if [ "$lowest" = 0 ]; then echo "== ruff"; ruff check .; ruff format --check .; fi
# Two processes share the folders out: models and commands take as long as all else. pytest-xdist, which hands out single
# tests, took 12 s more of processor time for that.
tier=(-q -m "not slow and not gpu" --durations=10)
failed=0
python -m pytest "${tier[@]}" tests/glass tests/scripts >"$TMPDIR/models" 2>&1 & models=$!
beside+=("$models")
echo "== tests of data and benches"
python -m pytest "${tier[@]}" tests --ignore=tests/glass --ignore=tests/scripts || failed=$?
wait "$models" || failed=$?
echo "== tests of models and commands"; cat "$TMPDIR/models"
wait "$mypy" || failed=$?
if [ "$lowest" = 0 ]; then echo "== mypy"; cat "$TMPDIR/mypy"; fi
beside=()
[ "$failed" = 0 ] || exit "$failed"
echo "== $((SECONDS - began)) s"
if python -c "import torch, sys; sys.exit(not torch.cuda.is_available())"; then
  echo "== GPU tests"; python -m pytest -q -m gpu
else
  echo "== GPU tests skipped: no CUDA device here"
fi
if [ "$slow" = 1 ]; then
  echo "== slow tests"; python -m pytest -q -m slow --durations=10 --timeout=1800
fi
passed=1
