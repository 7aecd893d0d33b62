#!/usr/bin/env bash
# From a fresh machine to a report: bash scripts/quickstart.sh [SEED]
# Installs into .venv, makes demo images, packs them into shards, trains GLASS and the resize-only
# baseline with the same budget, tests both, and writes runs/quickstart/report.{html,json}.
# Run again, it continues where it stopped. SEED (default 0) seeds images, split and training.
set -euo pipefail
cd "$(dirname "$0")/.."

seed="${1:-0}"
case "$seed" in '' | *[!0-9]*) echo "error: SEED must be a whole number, not '$seed'" >&2; exit 2 ;; esac
name=quickstart
[ "$seed" = 0 ] || name="quickstart-$seed"
images="data/$name-images" shards="data/$name-shards" runs="runs/$name"

source scripts/venv.sh ""
say() { printf '\n== %s\n' "$*"; }
started=$SECONDS

say "1/5 demo images: real, and the same scenes through simulated generators ($images)"
[ -e "$images/images.csv" ] || python -m scripts.make_demo "$images" --seed "$seed"

say "2/5 shards ($shards)"
python -m scripts.build_shards "$images/images.csv" "$shards" --global-size 64 --split-seed "$seed"

for model in glass single_view; do
  say "3/5 training $model ($runs/$model)"
  accelerate launch --quiet --config_file accelerate_config.yaml train.py \
    --data "$shards" --preset "${model}_tiny" --output "$runs/$model" --seed "$seed"
done

for model in glass single_view; do
  say "4/5 testing $model"
  python -m scripts.evaluate "$runs/$model" --data "$shards" --split test
done

say "5/5 report"
python -m scripts.report "$runs" --data "$shards" --split test \
  --run "glass=$runs/glass" --run "single_view=$runs/single_view"
printf '\nDone in %d min %d s after the install. Open %s\n' \
  $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) "$runs/report.html"
