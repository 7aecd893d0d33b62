#!/usr/bin/env bash
# Packs what a rented GPU machine lacks, so that none of its minutes is lost: this commit, wheels, shards, and run.sh.
#   bash scripts/gpu_kit.sh OUT [--python 3.12] [--piece-mb N] [--no-dali] [--photos DIR] [--wheels DIR] [--demo N]
# OUT (a new folder) then holds kit.tar, or pieces of it of N MB, their checksums, and run.sh, which is all to run there.
#   --photos DIR   JPEGs to measure on (default: wallpapers of Debian, fetched by apt-get), at most 64
#   --wheels DIR   wheels that lie here already, in place of fetching them
#   --demo N       demo images (default 64)
# To be run in this project's environment (source .venv/bin/activate).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 2; }
out="" version=3.12 piece_mb="" dali="" photos="" wheels="" demo=64
while [ $# -gt 0 ]; do
  case "$1" in
    --no-dali) dali="--no-dali"; shift ;;
    --python | --piece-mb | --photos | --wheels | --demo)
      [ $# -gt 1 ] || fail "$1 needs a value"
      case "$1" in
        --python) version="$2" ;;
        --piece-mb) piece_mb="$2" ;;
        --photos) photos="$(realpath "$2")" ;;
        --wheels) wheels="$(realpath "$2")" ;;
        --demo) demo="$2" ;;
      esac
      shift 2 ;;
    -*) fail "unknown argument $1" ;;
    *) [ -z "$out" ] || fail "one OUT, not '$out' and '$1'"; out="$1"; shift ;;
  esac
done
[ -n "$out" ] || fail "give OUT, a new folder for the kit"
[ ! -e "$out" ] || fail "$out exists: give a new folder"
case "$version" in 3.1[1-9]) ;; *) fail "--python must be 3.11 or newer, not '$version'" ;; esac
case "$piece_mb" in *[!0-9]* | 0*) fail "--piece-mb must be a whole number, not '$piece_mb'" ;; esac
case "$demo" in '' | *[!0-9]*) fail "--demo must be a whole number, not '$demo'" ;; esac
[ -z "$photos" ] || [ -d "$photos" ] || fail "--photos $photos is no folder"
[ -z "$wheels" ] || [ -d "$wheels" ] || fail "--wheels $wheels is no folder"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
kit="$work/kit"
mkdir -p "$kit/source" "$kit/wheels"

echo "== this commit"
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo "warning: changes that are not committed are left out" >&2
git archive HEAD | tar -x -C "$kit/source"
git rev-parse HEAD >"$kit/COMMIT"

echo "== wheels for Python $version"
if [ -n "$wheels" ]; then
  cp "$wheels"/*.whl "$kit/wheels/"
else
  python scripts/kit/missing.py $dali >"$work/wanted.txt"
  python -m pip download --quiet --python-version "$version" --only-binary=:all: \
    --dest "$kit/wheels" --requirement "$work/wanted.txt"
fi
python scripts/kit/wheels.py note "$kit/wheels" "$version"

echo "== photographs"
if [ -z "$photos" ]; then
  photos="$work/photos"
  (cd "$work" && apt-get download --quiet plasma-workspace-wallpapers mate-backgrounds ukui-wallpapers \
    lomiri-wallpapers-16.04 lomiri-wallpapers-20.04)
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$photos"; done
fi
python -m scripts.kit.photographs "$photos" "$work/chosen"
python -m scripts.build_shards "$work/chosen/images.csv" "$kit/photographs" --split 0.5,0.25,0.25 --samples-per-shard 16

echo "== demo images"
python -m scripts.make_demo "$work/demo" --images "$demo"
python -m scripts.build_shards "$work/demo/images.csv" "$kit/demo" --global-size 64

echo "== packing"
mkdir -p "$out"
cp scripts/kit/run.sh "$out/run.sh"
if [ -n "$piece_mb" ]; then
  tar -c -C "$kit" . | split --bytes="${piece_mb}MB" --numeric-suffixes --suffix-length=3 - "$out/kit.tar."
else
  tar -c -C "$kit" -f "$out/kit.tar" .
fi
(cd "$out" && sha256sum run.sh kit.tar* >SHA256SUMS)
du -sh "$out"
echo "there: bash run.sh"
