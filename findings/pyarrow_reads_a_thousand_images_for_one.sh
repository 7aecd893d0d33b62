#!/usr/bin/env bash
# pyarrow 26.0.1, Python 3.11; seen on 2026-11-29.
# One expects: ParquetFile.iter_batches(batch_size=8) on a column of images holds about eight of them, and groups of rows
#   bound what is held.
# What happens: (1) by default (pre_buffer) all that was read stays until the iterator ends: the file. (2) Without, it is
#   pages that are held, three times over, and pyarrow ends a page only after 1,024 values, however long they are:
#   data_page_size (1 MiB) and dictionary_pagesize_limit are looked at no earlier. A file of one group, as write_table
#   makes it, costs the memory of three thousand images to read the first.
# What to do: read with ParquetFile(…, pre_buffer=False, buffer_size=1 << 20). Write images with write_batch_size=4 and
#   use_dictionary=False for their column: pages of a few images, and the size of groups does not matter any more.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

NUM_IMAGES, NUM_BYTES = 3200, 50_000
READ = """
import sys
import pyarrow as pa, pyarrow.parquet as pq
options = {"pre_buffer": False, "buffer_size": 1 << 20} if sys.argv[2] == "in pieces" else {}
for batch in pq.ParquetFile(sys.argv[1], **options).iter_batches(8, columns=["image"], use_threads=False):
    pass
print(pa.default_memory_pool().max_memory() / 1e6)
"""
folder = sys.argv[1]
images = pa.table({"image": pa.array([os.urandom(NUM_BYTES) for _ in range(NUM_IMAGES)])})
forms = {
    "as write_table does": {},
    "groups of 100 rows": {"row_group_size": 100},
    "small pages": {"use_dictionary": False, "write_batch_size": 4},
}
found = {}
for form, options in forms.items():
    path = f"{folder}/{form}.parquet"
    pq.write_table(images, path, **options)
    for way in ("by default", "in pieces"):
        run = subprocess.run([sys.executable, "-c", READ, path, way], check=True, capture_output=True, text=True)
        found[form, way] = float(run.stdout)
        print(f"{form}, read {way}: {found[form, way]:,.0f} MB of a file of {NUM_IMAGES * NUM_BYTES / 1e6:,.0f} MB")
whole, page = NUM_IMAGES * NUM_BYTES / 1e6, 1024 * NUM_BYTES / 1e6
assert min(found[form, "by default"] for form in forms) > 0.95 * whole, "changed: not all is kept by default"
assert found["as write_table does", "in pieces"] > 2.5 * page, "changed: a page of 1,024 images costs less"
assert found["groups of 100 rows", "in pieces"] < 0.5 * page, "changed: groups cost more"
assert found["small pages", "in pieces"] < 20, "changed: small pages cost more"
PYTHON
echo "as found: memory is that of the file, or of three pages of 1,024 images"
