"""Data from untrusted sources: tampered descriptions and manifests, and a server whose responses may claim false
lengths."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa

from loaders import LoaderConfig
from shards.manifest.dataset import ShardDataset
from tests.machine.loopback import listening, send_without_end

CONFIG = LoaderConfig(
    global_batch_size=4,
    num_crops=2,
    crop_size=48,
    global_size=64,
    decode="window",
    backend="turbo",
    seed=5,
    shuffle=False,
)


def edit_info(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "dataset.json"
    fields = json.loads(path.read_text())
    edit(fields)
    path.write_text(json.dumps(fields))


def edit_rows(folder: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Applies ``edit`` to the manifest's rows, writes the manifest again, and makes ``dataset.json`` accept it."""
    table = ShardDataset.open(folder).table
    rows = table.to_pylist()
    edit(rows)
    changed = pa.Table.from_pylist(rows, schema=table.schema).combine_chunks()
    with pa.ipc.new_file(folder / "new.arrow", changed.schema) as writer:
        writer.write_table(changed)
    (folder / "new.arrow").rename(folder / "samples.arrow")
    edit_info(folder, lambda info: info.update(manifest_sha256=""))


class Answers(BaseHTTPRequestHandler):
    """A server that gives every request the same response. The response may claim a false length."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
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
        send_without_end(self)

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
    with listening(handler) as address:
        yield address, handler
