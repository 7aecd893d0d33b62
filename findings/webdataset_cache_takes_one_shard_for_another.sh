#!/usr/bin/env bash
# webdataset 1.0.2, Python 3.11, curl; seen on 2026-11-29.
# One expects: WebDataset(urls, cache_dir=…) downloads each tar once, and reads what it read without a cache.
# What happens: the cache knows a tar by the last part of its URL. real/000000.tar and fake/000000.tar, or train/ and
#   val/, are one file: the first is read twice, the second never. __url__ still names the second, so a label from the
#   folder's name calls real images fake, and a validation measures training images. The argument url_to_name, made for
#   this, is not passed on. Nor does the cache ask whether a tar has changed: a mended one is never seen. (Issue 471.)
# What to do: a cache_dir of its own for each folder of tars, or names that differ; and empty it when tars are rewritten.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet webdataset==1.0.2
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import hashlib
import os
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import webdataset as wds

folder = sys.argv[1]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def write(name, keys):
    os.makedirs(os.path.dirname(f"{folder}/tars/{name}"), exist_ok=True)
    with wds.TarWriter(f"{folder}/tars/{name}") as tar:
        for key in keys:
            tar.write({"__key__": key, "txt": key})


def read(urls, cache=None, **arguments):
    if cache is not None:
        cache = f"{folder}/{cache}"
        os.makedirs(cache, exist_ok=True)
    samples = wds.WebDataset(urls, shardshuffle=False, cache_dir=cache, **arguments).decode()
    return [(sample["__url__"].split("/")[-2], sample["txt"]) for sample in samples]


for name in ("real", "fake"):
    write(f"{name}/000000.tar", [f"{name}{number}" for number in range(3)])
server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=f"{folder}/tars"))
threading.Thread(target=server.serve_forever, daemon=True).start()
real, fake = (f"http://127.0.0.1:{server.server_port}/{name}/000000.tar" for name in ("real", "fake"))

right = [(name, f"{name}{number}") for name in ("real", "fake") for number in range(3)]
assert read([real, fake]) == right, "without a cache"
cached = read([real, fake], "cache")
print("without a cache (folder of __url__, text in the sample):", right)
print("with cache_dir:", cached)
wrong = [(name, f"real{number}") for name in ("real", "fake") for number in range(3)]
assert cached == wrong, "changed: the second tar"


def by_hash(url):
    return hashlib.sha256(url.encode()).hexdigest()


assert read([real, fake], "cache by hash", url_to_name=by_hash) == wrong, "changed: url_to_name"
assert read([real], "cache of real") + read([fake], "cache of fake") == right, "changed: a cache for each"

write("real/000000.tar", ["mended"])
print("after real/000000.tar was written anew:", read([real], "cache of real"))
assert read([real]) == [("real", "mended")], "without a cache, written anew"
assert read([real], "cache of real") == right[:3], "changed: a tar written anew"
server.shutdown()
PYTHON
echo "as found: the cache takes one shard for another, and an old one for a new one"
