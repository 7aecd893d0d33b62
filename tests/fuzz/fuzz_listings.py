"""Fuzzes the pages in which a web server lists its folders, and the headers of its responses."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from shards.errors import InputError
from shards.files.file_names import is_file_name
from shards.sources.files import StoredFiles
from shards.store.folder import RemoteFolder
from shards.store.http_store import HttpStore, _described
from shards.store.retry import retry_after_s
from shards.store.settings import RemoteSettings
from tests.fuzz.fuzz_harness import mutated, run_main

__all__ = ["ListingTarget"]

URL = "http://127.0.0.1:9/set"
WORDS = (
    b'<a href="',
    b"<a href='",
    b'">',
    b"../",
    b"%2e%2e/",
    b"%2f",
    b"%00",
    b"%ff",
    b"/",
    b"//",
    b"///",
    b"/set/",
    b"http://127.0.0.1:9/set/",
    b"http://[",
    b"&#47;",
    b"&lt;",
    b"&#0;",
    b"?",
    b"#",
    b"x/",
    b"javascript:",
    b"\\",
    b"\n",
    "é".encode(),
    b"a" * 300,
)
PAGE = (
    b"<html><h1>Index of /set/</h1><hr><pre><a href='../'>../</a>\n"
    b'<a href="real/">real/</a> 01-Nov-2026\n<a href="a%20b.jpg">a b.jpg</a> 12K\n'
    b'<a href="/set/real/c&amp;d.jpg">c&d.jpg</a>\n<a href="?C=M;O=A">Last modified</a></pre>'
)
HEADS = (b"12345", b"Fri, 31 Dec 9999 23:59:59 -1200", b"120", b"0")


class ListingTarget:
    """Replaces every page of a web server with a mutated one."""

    def __init__(self, folder: Path) -> None:
        settings = RemoteSettings(cache_folder=folder, attempts=1)
        self._files = StoredFiles(URL, settings)
        store = self._files.remote._store
        assert isinstance(store, HttpStore)
        self._store = store
        store._body = self._page  # type: ignore[method-assign]
        self._pages: list[bytes] = []
        self._asked: list[str] = []

    async def _page(self, path: str, bounds: object, most: int) -> bytes:
        self._asked.append(path)
        return self._pages[min(len(self._asked), len(self._pages)) - 1]

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        self._pages = [mutated(rng, PAGE, WORDS) for _ in range(int(rng.integers(1, 4)))]
        self._pages.append(b"")  # without it, most listings lead too deep
        self._asked = []
        remote: RemoteFolder = self._files.remote
        try:
            children = remote.children()
            assert all(is_file_name(name) for name, _ in children), children
            counts["names"] += len(children)
            self._asked = []
            for name, stamp in self._files.walk("real"):
                assert all(is_file_name(part) for part in name.split("/")), name
                assert self._store.path(name).startswith(f"{URL}/real/"), name
                assert stamp is None
                counts["files"] += 1
        except InputError:
            counts["refused"] += 1
        assert all(path.startswith(f"{URL}/") for path in self._asked), self._asked
        self._head(rng, counts)

    def _head(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        text = mutated(rng, HEADS[int(rng.integers(len(HEADS)))]).decode("latin-1")
        headers: dict[str, Any] = {"Content-Length": text, "ETag": text}
        size = _described(headers).size
        assert size is None or 0 <= size < 1 << 63
        counts["lengths" if size is not None else "no lengths"] += 1
        assert 0 <= retry_after_s(text) <= 86_400


if __name__ == "__main__":
    sys.exit(run_main(ListingTarget, __doc__ or ""))
