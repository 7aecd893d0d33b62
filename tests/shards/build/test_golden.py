"""All bytes that a build and an index write are pinned: a change of code must not change data.

Sources and expectations do not depend on versions of libraries. The images are bitmaps generated here and two JPEGs
that are stored below, without chroma subsampling, which every libjpeg-turbo decodes to the same pixels. Rejected images
are rejected for reasons of this project's code. Tars, sidecars and indexes are compared whole; Parquet and Arrow files,
whose encoding is pyarrow's, by their rows; ``dataset.json`` without the versions, and without the digest that depends
on pyarrow.
"""

import base64
import hashlib
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.adopt.adopt import index_tars
from shards.adopt.settings import IndexSettings
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares

PLAIN_JPEG = """
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAoHBwgHBgoICAgLCgoLDhgQDg0NDh0VFhEYIx8lJCIfIiEmKzcvJik0KSEiMEExNDk7Pj4+JS5ESUM8
    SDc9Pjv/2wBDAQoLCw4NDhwQEBw7KCIoOzs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozv/wAARCAAYACgD
    AREAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKB
    kaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZ
    mqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQF
    BgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5
    OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX
    2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDyuGzzjisk+YiFU0IbHPatFR5jrhWNCHTs9q0WD5uh2QrmhDpmf4atZZzdDrhiS9Fp
    iqAWwB70qmWUqceao1Feeh208S3sc9bWeccVw4d8x+dxqmtbWOccV72Ho8x0RrF9IEiIXbub0FVisdQwcvZ25p9l09X0+5/K510puWpahtppMc7R
    6LxXkvEY7Ev4uVdo6fjv97PQhUii7Fp8ceN+B7VzywuGw1vbSSv03f3LW3nsdsK7exgWlnnHFZYF81j87VU1VtzFGNo+Zule5jMY8HQXs/jlovLu
    /lp9/WxvSqcz1LVrp4xkjAFeTg8KkuaWiR6Crl6KBmO2MYX1xyaynjqtaTp4XSPfq/8AJduvW62O2nNLWRdhski4K5b0FcrWGwj5JLmn2X6vp+et
    7HdCs5H/2Q==
"""
JPEG_WITH_RESTARTS = """
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ
    YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAoABgD
    AREAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKB
    kaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZ
    mqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQF
    BgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5
    OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX
    2Nna4uPk5ebn6Onq8vP09fb3+Pn6/90ABAAE/9oADAMBAAIRAxEAPwDjIrf2r0k7msahcitfarVO50Rql2Kz9qtYW50RrDILf2rnou54CqH/0M9Y
    hGASuSegr1sTi4YSCbV29l+epNOfMSxwPIfm6eleJOdbFO9R6dun3f0zthUUdiS2t844r0sI7nziqE0cHmPuxx2rx5VXiqzqPbp6dP67nZCpyqx/
    /9G8kIjA4yx6CnVrwwsF1k9l+r8vz/LKE+YbHBiFjjtis5VeTCTlbpb79P1Pn4VPeRat7cKu4jgVhhXGlTdSeyOpVLuxZgt8ku/1NctH3nKvWdur
    /r8EvkdUanRH/9KtL4tt1iT7NZyyZPzeYwTHpjGa0q5dU+qpOSV2l37vy7I8ihlE3J880vTX/IbL4su2KLbWkEakchyXP6Y/yKuvltNU4UXJ3bu7
    aaLutev5HpUMopK7nJv00/zGP4i1iWbEc6xLxlEjXA/ME/rTq4Cg5Rw0VdLfV69u239ao9Kjl2FjHVX+b/Q//9k=
"""

BUILT = {
    "dataset.json": "66aed9505bfed4c7",
    "rejected.parquet": "12ddab0ef7e1ae04",
    "samples.arrow": "781c7e7855afb8fc",
    "test-000004.idx": "cbddf574dccf0486",
    "test-000004.parquet": "79a7a4147a4e3f8d",
    "test-000004.tar": "919835e3400302f4",
    "train-000000.idx": "9e67b969fc7aad1d",
    "train-000000.parquet": "02ba7f765bfe7079",
    "train-000000.tar": "9a73c067e53257de",
    "train-000001.idx": "ad971cd57b48e855",
    "train-000001.parquet": "d598a1793e0c515f",
    "train-000001.tar": "ddee9ccdb5bd3835",
    "valid-000002.idx": "db8a0365e39a9ce4",
    "valid-000002.parquet": "52239396e8e9104e",
    "valid-000002.tar": "18d37bc57aa3f432",
    "valid-000003.idx": "8b152cf48e178d25",
    "valid-000003.parquet": "bf7bce9246613ec6",
    "valid-000003.tar": "1eaf9b1c8fd41886",
}
INDEXED = {
    "a.sidecar": "71cd9a263068824b",
    "a.sidecar.parquet": "a8b48c454e6a2f8a",
    "b.sidecar": "4c087c007d83412e",
    "b.sidecar.parquet": "4644e9e4fe0a2851",
    "dataset.json": "47c47766f9780749",
    "rejected.parquet": "18a62de1b3f7f0eb",
    "samples.arrow": "124519f3fe755f69",
}


def bitmap(number: int) -> bytes:
    """Returns a BMP of 24 bits per pixel, with rows stored from bottom to top and padded to multiples of 4 bytes."""
    height, width = 12 + 4 * number, 33 - number
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 5 + number * 40, y * 7 + x, x * y + number * 90], -1).astype(np.uint8)
    rows = [row.tobytes() + bytes(-3 * width % 4) for row in pixels[::-1]]
    body = b"".join(rows)
    head = struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(body), 2835, 2835, 0, 0) + body


@pytest.fixture
def sources() -> dict[str, bytes]:
    """File name below the source folder → contents."""
    jpegs = [base64.b64decode(text) for text in (PLAIN_JPEG, JPEG_WITH_RESTARTS)]
    return {
        "real/0.jpg": jpegs[0],
        "generated/gan/1.jpg": jpegs[1],
        "real/torn.jpg": jpegs[0][:800] + b"\xff\xd9",  # Pillow takes it, the walk through the scan does not
        "real/empty.bmp": b"",
        **{f"{('real', 'generated/flow')[n % 2]}/{n}.bmp": bitmap(n) for n in range(6)},
    }


def contents(folder: Path) -> dict[str, str]:
    """Returns file name → digest of the contents, for the files that a build or an index wrote."""
    return {
        path.name: hashlib.sha256(_plain(path)).hexdigest()[:16]
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    }


def _plain(path: Path) -> bytes:
    """Returns the bytes of a file, or, if a library encoded them, its contents in a form independent of the library's
    version."""
    if path.name == "dataset.json":
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document.pop("written_by")
        assert (
            document.pop("manifest_sha256") == hashlib.sha256((path.parent / "samples.arrow").read_bytes()).hexdigest()
        )
        return json.dumps(document, indent=1).encode()
    if path.suffix == ".arrow":
        return _rows(pa.ipc.open_file(path).read_all())
    if path.suffix == ".parquet":
        return _rows(pq.read_table(path))
    return path.read_bytes()


def _rows(table: pa.Table) -> bytes:
    metadata = sorted((table.schema.metadata or {}).items())
    return repr((table.schema.names, [str(t) for t in table.schema.types], metadata, table.to_pylist())).encode()


def test_a_build_writes_the_same_bytes_as_ever(sources, tmp_path):
    for name, data in sources.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    settings = BuildSettings(
        split_shares=parse_shares("0.5,0.25,0.25"), samples_per_shard=3, global_size=16, lossless="keep"
    )
    build_dataset(tmp_path / "images", tmp_path / "out", settings, progress=False)
    assert contents(tmp_path / "out") == BUILT


def test_an_index_writes_the_same_bytes_as_ever(sources, tmp_path):
    for part in ("a", "b"):
        with tarfile.open(tmp_path / f"{part}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, (name, data) in enumerate(sorted(sources.items())):
                if place % 2 == (part == "b"):
                    _add(tar, f"{place:03d}{Path(name).suffix}", data)
                    _add(tar, f"{place:03d}.cls", b"01"[name.startswith("gen") : name.startswith("gen") + 1])
    settings = IndexSettings(split="0.5,0.25,0.25", global_size=16)
    index_tars([tmp_path / "a.tar", tmp_path / "b.tar"], tmp_path / "out", settings, progress=False)
    assert contents(tmp_path / "out") == INDEXED


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), 1
    tar.addfile(info, io.BytesIO(data))
