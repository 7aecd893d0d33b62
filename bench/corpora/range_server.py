"""A web server on loopback that simulates the latency and the failures of real object stores.

Used by ``glass bench remote`` and by the tests of remote shards. The server handles range requests, counts the bytes
that it sends, and can make a fraction of the requests fail. Whether a request fails depends only on a hash of the
request and its attempt number, so the same requests fail in every run.
"""

import hashlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["FAULTS", "Server", "serving"]

FAULTS = ("reset", "unavailable", "short", "slow")


@dataclass
class Server:
    """Settings and counters shared by the handlers of all requests."""

    root: Path
    url: str = ""
    fault_share: float = 0.0
    """Share of the requests that fail. A failed request succeeds if it is repeated often enough."""
    faults: tuple[str, ...] = ("reset", "unavailable", "short")
    ranges: bool = True
    slow_s: float = 2.0
    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    """Bandwidth of the whole server in bytes per second; 0 means no limit."""
    damage: str = ""
    """Name of a file that is served with one flipped bit in every response."""
    dead: tuple[str, ...] = ()
    """Paths of files, relative to ``root``. Requests for them are always answered with status 503."""
    counts: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    free_at: float = 0.0

    def fault(self, request: str) -> str:
        """Picks the fault for this attempt at the request: one of ``faults``, or "" for none."""
        with self.lock:
            self.tries[request] += 1
            text = f"{request} {self.tries[request]}"
        draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if not self.faults or draw % 10_000 >= self.fault_share * 10_000:
            return ""
        return self.faults[draw // 10_000 % len(self.faults)]

    def count(self, name: str, amount: int = 1) -> None:
        with self.lock:
            self.counts[name] += amount

    def throttle(self, num_bytes: int) -> None:
        """Sleeps for the latency plus the time needed to send ``num_bytes`` at the bandwidth shared by all requests."""
        wait = self.latency_s
        if self.bytes_per_s:
            with self.lock:
                now = time.monotonic()
                self.free_at = max(self.free_at, now) + num_bytes / self.bytes_per_s
                wait += self.free_at - now
        if wait:
            time.sleep(wait)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: Server

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        state, path = self.state, self.state.root / self.path.lstrip("/")
        state.count("requests")
        if ".." in path.parts or not path.is_file():
            self._plain(404)
            return
        data = path.read_bytes() if path.stat().st_size < 1 << 16 else None
        size = path.stat().st_size
        start, stop, status = self._bounds(size)
        if self.path.lstrip("/") in state.dead:
            self._plain(503)
            return
        fault = state.fault(f"{self.path} {start}-{stop}") if body else ""
        if fault:
            state.count(f"fault_{fault}")
        if fault == "unavailable":
            self._plain(503)
            return
        if fault == "slow":
            time.sleep(state.slow_s)
        if fault == "reset":
            self._reset()
            return
        if data is None:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(stop - start)
        else:
            data = data[start:stop]
        if state.damage and state.damage == path.name:
            data = bytes([data[0] ^ 1]) + data[1:]
        self.send_response(status)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Type", "application/octet-stream")
        if state.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if not body:
            return
        state.throttle(len(data))
        if fault == "short":
            data = data[: len(data) // 2]
            self.close_connection = True
        self.wfile.write(data)
        state.count("bytes", len(data))

    def _bounds(self, size: int) -> tuple[int, int, int]:
        wanted = self.headers.get("Range", "")
        if not self.state.ranges or not wanted.startswith("bytes="):
            return 0, size, 200
        first, _, last = wanted[6:].partition("-")
        return int(first), min(int(last) + 1 if last else size, size), 206

    def _plain(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _reset(self) -> None:
        """Resets the connection, as if the server's machine had crashed."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.state.count("broken_connections")

    def finish(self) -> None:
        try:
            super().finish()
        except (ConnectionError, ValueError, OSError):
            self.state.count("broken_connections")


@contextmanager
def serving(root: Path, **settings: object) -> Iterator[Server]:
    """Context manager: serves the files under ``root`` on a free port of 127.0.0.1. ``settings`` are fields of
    :class:`Server`."""
    state = Server(root, **settings)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
