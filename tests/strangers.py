"""What strangers serve: changed descriptions and manifests, and a server whose claims need not be true."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.manifest.dataset import ShardDataset


def edit_info(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "dataset.json"
    fields = json.loads(path.read_text())
    edit(fields)
    path.write_text(json.dumps(fields))


def edit_rows(folder: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rewrites the manifest, and makes the description accept it."""
    table = ShardDataset.open(folder).table
    rows = table.to_pylist()
    edit(rows)
    changed = pa.Table.from_pylist(rows, schema=table.schema).combine_chunks()
    with pa.ipc.new_file(folder / "new.arrow", changed.schema) as writer:
        writer.write_table(changed)
    (folder / "new.arrow").rename(folder / "samples.arrow")
    edit_info(folder, lambda info: info.update(manifest_sha256=""))


class Answers(BaseHTTPRequestHandler):
    """A server that answers everything alike; what it says of itself need not be true."""

    protocol_version = "HTTP/1.1"
    page = b""
    claimed: int | None = None
    asked: list[str]
    sent = 0

    def log_message(self, format: str, *arguments: object) -> None: ...

    def do_HEAD(self) -> None:
        self._head(200)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.headers.get("Range") and self.claimed is not None:
            self._head(206)
        else:
            self._head(200)
        if self.page:
            self.wfile.write(self.page)
            return
        self.close_connection = True
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
                type(self).sent += 1 << 16
        except OSError:
            return

    def _head(self, status: int) -> None:
        self.send_response(status)
        length = self.claimed if self.claimed is not None else len(self.page) or None
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
        self.end_headers()


@contextmanager
def answering(**what: object) -> Iterator[tuple[str, type[Answers]]]:
    handler = type("H", (Answers,), {"asked": [], **what})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler
        finally:
            server.shutdown()
            thread.join()
