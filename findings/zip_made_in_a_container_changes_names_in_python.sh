#!/usr/bin/env bash
# Info-ZIP zip 3.0-13 and unzip 6.0-28 of Debian 12, Python 3.11; seen on 2026-11-29. Needs apt-get download.
# One expects: with LANG=C.UTF-8 everything is UTF-8, so a zip made by `zip -r` gives the names back that it got.
# What happens: zip marks names as UTF-8 only where the locale called en_US.UTF-8 is installed, whatever LANG says. In a
#   container, where it mostly is not, it stores the same bytes without the mark. unzip does not mind; Python's zipfile,
#   shutil.unpack_archive and all that is built on them read such names as code page 437, without a warning: other
#   files, other folders, and a list of files or labels that lies beside them matches nothing.
# What to do: make a tar, or the zip with Python's own zipfile or shutil; zip -UN=UTF8 does not help. Read such a zip with
#   zipfile.ZipFile(path, metadata_encoding="utf-8") (from Python 3.11 on), which leaves marked names as they are.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/source/größe" "$folder/no_locales" "$folder/unzip" "$folder/debian"
(cd "$folder/debian" && apt-get download --quiet zip=3.0-13 unzip=6.0-28 2>/dev/null && for deb in *.deb; do dpkg -x "$deb" .; done)
export PATH="$folder/debian/usr/bin:$PATH"
echo "an image" >"$folder/source/größe/猫.jpg"
export LANG=C.UTF-8 LC_ALL=C.UTF-8
cd "$folder/source"
zip -v | sed -n 2p
LOCPATH="$folder/no_locales" zip -qr "$folder/plain.zip" größe # as in a container without en_US.UTF-8
LOCPATH="$folder/no_locales" zip -UN=UTF8 -qr "$folder/forced.zip" größe
unzip -q "$folder/plain.zip" -d "$folder/unzip"
python3 - "$folder" <<'PYTHON'
import os
import shutil
import sys
import zipfile

folder, name = sys.argv[1], "größe/猫.jpg"
assert os.path.exists(f"{folder}/unzip/{name}"), "changed: unzip"
read = zipfile.ZipFile(f"{folder}/plain.zip").namelist()
print(f"zipfile: {read}")
assert name not in read, "changed: zip marks its names, or zipfile guesses"
shutil.unpack_archive(f"{folder}/plain.zip", f"{folder}/python")
assert not os.path.exists(f"{folder}/python/{name}"), "changed: shutil.unpack_archive"
told = zipfile.ZipFile(f"{folder}/plain.zip", metadata_encoding="utf-8").namelist()
forced = zipfile.ZipFile(f"{folder}/forced.zip").namelist()
print(f"zipfile with metadata_encoding: {told}; zip -UN=UTF8: {forced}")
assert name in told, "changed: metadata_encoding"
assert name not in forced, "changed: zip -UN=UTF8"
shutil.make_archive(f"{folder}/by_python", "zip", f"{folder}/source")
assert name in zipfile.ZipFile(f"{folder}/by_python.zip").namelist(), "changed: shutil.make_archive"
PYTHON
echo "as found: without the locale en_US.UTF-8, zip leaves the mark of UTF-8 out"
