#!/usr/bin/env bash
# fsspec 2026.9.0, Python 3.11; seen on 2026-11-30.
# One expects: fs.get(fs.glob("set/*/*.png"), "here/") brings the same files as fs.get("set/*/*.png", "here/"), and
#   fs.get(["set/real", "set/fake"], "here/", recursive=True) brings two folders, as `cp -r` does.
# What happens: a pattern, or one folder, keeps the folders below it. A list keeps only the names of files (since issue
#   1234 of filesystem_spec), even of files found inside the folders it lists: real/000.png and fake/000.png both
#   become here/000.png, the later one replaces the earlier, and there is no message. Of 10 images 5 remain, all of one
#   class. put() and copy() do the same. It is code that the stores share, those of S3 and the Hugging Face Hub
#   included.
# What to do: pass the pattern or the folder itself, or a list of targets as long as that of sources; count the files.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fsspec==2026.9.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import fsspec

NUM_IMAGES = 5
store = fsspec.filesystem("memory")
local = fsspec.filesystem("file", auto_mkdir=True)
for label in ("fake", "real"):
    for number in range(NUM_IMAGES):
        store.pipe(f"/set/{label}/{number:03}.png", label.encode())
files = store.glob("/set/*/*.png")
assert len(files) == 2 * NUM_IMAGES
folders = ["/set/real", "/set/fake"]


def get(number, sources, target=None, **options):
    """The contents of what is there afterwards."""
    here = f"{sys.argv[1]}/{number}/"
    store.get(sources, target(here) if target else here, **options)
    return [local.cat(path).decode() for path in local.find(here)]


ways = {
    "a pattern": get(0, "/set/*/*.png"),
    "the folder above": get(1, "/set/", recursive=True),
    "a list, and one of targets": get(2, files, lambda here: [here + path[len("/set/") :] for path in files]),
    "a list of the same files": get(3, files),
    "a list of patterns": get(4, [f"{folder}/*.png" for folder in folders]),
    "a list of folders": get(5, folders, recursive=True),
}
store.put(local.find(f"{sys.argv[1]}/0/"), "/put/")
store.copy(files, "/copy/")
for method in ("put", "copy"):
    ways[f"a list, {method}()"] = [store.cat(path).decode() for path in store.find(f"/{method}")]
for number, (way, labels) in enumerate(ways.items()):
    print(f"{way}: {labels.count('real')} real and {labels.count('fake')} fake images")
    expected = 2 * NUM_IMAGES if number < 3 else NUM_IMAGES
    assert len(labels) == expected, f"changed: {way}"
    assert len(set(labels)) == (2 if number < 3 else 1), f"changed: {way}"
PYTHON
echo "as found: half of the images are gone"
