#!/usr/bin/env bash
# On the machine with the GPU: joins and checks the kit beside this file, unpacks it, and starts the measurement.
#   bash run.sh [arguments of python -m bench gpu]        PYTHON=… names another interpreter than python3
# The result, gpu.json, lies beside this file and grows row by row.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here"
python="${PYTHON:-python3}"
sha256sum --quiet --check SHA256SUMS || { echo "error: a part of the kit is damaged: bring it here again" >&2; exit 2; }
if [ ! -e kit/unpacked ]; then
  mkdir -p kit
  cat kit.tar* | tar -x -C kit
  "$python" kit/source/scripts/kit/wheels.py unpack kit/wheels kit/site
  touch kit/unpacked
fi
export PYTHONPATH="$here/kit/source:$here/kit/site" GLASS_GPU_TEST_SHARDS="$here/kit/demo"
cd kit/source
exec "$python" -m bench gpu --data "$here/kit/photographs" --out "$here/gpu.json" "$@"
