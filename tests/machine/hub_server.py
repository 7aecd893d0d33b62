"""A simulated Hugging Face hub on loopback, with only the parts that ``hf://`` needs. It has one data set: the files of
a folder."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.machine.loopback import listening

__all__ = ["Hub", "serving_hub"]

REPOSITORY = "me/set"
_BOUNDS = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Hub:
    """The simulated hub's data set, and counts of the requests for it."""

    root: Path
    counts: Counter[str] = field(default_factory=Counter)
    """The number of ``parts`` of files that were sent, the number of their ``bytes``, and the number of ``unknown``
    requests."""

    def entries(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        below = self.root / folder
        paths = sorted(below.rglob("*") if recursive else below.glob("*"))
        return [self.entry(str(path.relative_to(self.root))) for path in paths]

    def entry(self, name: str) -> dict[str, Any]:
        path = self.root / name
        if path.is_dir():
            return {"type": "directory", "oid": _digest(name.encode()), "size": 0, "path": name}
        return {"type": "file", "oid": _digest(path.read_bytes()), "size": path.stat().st_size, "path": name}


def _digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the acknowledgement of its head
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the server from logging requests."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        api, files = f"/api/datasets/{REPOSITORY}", f"/datasets/{REPOSITORY}/resolve/main/"
        if path in (api, f"{api}/revision/main"):
            self._json({"id": REPOSITORY, "sha": "1" * 40, "private": False, "siblings": []})
        elif path.startswith(f"{api}/tree/main"):
            folder = path.removeprefix(f"{api}/tree/main").strip("/")
            recursive = parse_qs(url.query).get("recursive", ["false"])[0].lower() in ("true", "1")
            found = (self.hub.root / folder).is_dir()
            self._json(self.hub.entries(folder, recursive) if found else {"error": "no entry"}, 200 if found else 404)
        elif path.startswith(files) and (self.hub.root / path.removeprefix(files)).is_file():
            self._part((self.hub.root / path.removeprefix(files)).read_bytes())
        else:
            self._missing()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if urlsplit(self.path).path != f"/api/datasets/{REPOSITORY}/paths-info/main":
            self._missing()
            return
        names = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
        self._json([self.hub.entry(name) for name in names if (self.hub.root / name).exists()])

    def _part(self, data: bytes) -> None:
        bounds = _BOUNDS.fullmatch(self.headers.get("Range", ""))
        part = data[int(bounds[1]) : int(bounds[2]) + 1] if bounds else data
        self.hub.counts.update(parts=1, bytes=len(part))
        self._answer(part, 206 if bounds else 200, "application/octet-stream")

    def _missing(self) -> None:
        self.hub.counts["unknown"] += 1
        self._json({"error": f"{self.command} {self.path}"}, 404)

    def _json(self, document: object, status: int = 200) -> None:
        self._answer(json.dumps(document).encode(), status, "application/json")

    def _answer(self, data: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving_hub(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Hub]]:
    """Serves the files below ``root`` as a data set on the hub. Yields (the data set's ``hf://`` address, the hub)."""
    import huggingface_hub
    import huggingface_hub.constants

    hub = Hub(root)
    with listening(type("Handler", (_Handler,), {"hub": hub})) as address:
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        huggingface_hub.HfFileSystem.clear_instance_cache()
        try:
            yield f"hf://datasets/{REPOSITORY}", hub
        finally:
            huggingface_hub.HfFileSystem.clear_instance_cache()
