# Sourced by quickstart.sh and test.sh: a virtual environment in .venv with this project installed in it.
# Usage: source scripts/venv.sh EXTRAS        (EXTRAS: "" or "[dev]", as pip takes them); GLASS_VENV names another folder.

venv="${GLASS_VENV:-.venv}"
python=""
for candidate in python3.11 python3.12 python3.13 python3; do
  if command -v "$candidate" >/dev/null &&
    "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python="$candidate"
    break
  fi
done
if [ -z "$python" ]; then
  echo "error: Python 3.11 or newer with the venv module is needed (Debian: apt-get install python3-venv)" >&2
  exit 2
fi

# Installed once per state of pyproject.toml: a second run starts at once.
stamp="$venv/installed-$(printf '%s %s' "$1" "$(cat pyproject.toml)" | cksum | cut -d' ' -f1)"
if [ ! -e "$stamp" ]; then
  echo "== installing into $venv (about 7 GB with CUDA libraries; minutes the first time)"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --upgrade pip
  "$venv/bin/python" -m pip install --quiet --editable ".$1"
  touch "$stamp"
fi
export PATH="$PWD/$venv/bin:$PATH"
case "$venv" in /*) export PATH="$venv/bin:$PATH" ;; esac
