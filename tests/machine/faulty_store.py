"""A web application in front of a store that breaks a share of the requests, in ways that are the same in every run."""

import hashlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["FaultyStore"]


class FaultyStore:
    """A WSGI application that breaks a share of the requests, uploads among them.

    Whether it breaks a request depends on the address and the number of attempts, so that every run breaks the same
    ones.
    """

    slow_s = 1.5

    def __init__(self, store: Any) -> None:
        self.store, self.share = store, 0.0
        self.kinds: tuple[str, ...] = ("unavailable", "short")
        self.broken: Counter[str] = Counter()
        self._tries: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method = environ["REQUEST_METHOD"]
        request = f"{method} {environ['PATH_INFO']} {environ.get('HTTP_RANGE', '')}"
        self._tries[request] += 1
        digest = hashlib.sha256(f"{request} {self._tries[request]}".encode()).digest()
        draw = int.from_bytes(digest[:4], "big") / 2**32
        if draw >= self.share:
            return self.store(environ, start_response)
        kind = self.kinds[digest[4] % len(self.kinds)]
        if method != "GET" and kind in ("short", "slow"):  # those are of bodies
            kind = "reset" if "reset" in self.kinds else "unavailable"
        self.broken[f"{method} {kind}"] += 1
        if kind == "reset" and digest[5] % 2:
            list(self.store(environ, lambda *_: lambda _: None))  # done, and nobody hears of it
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if kind == "unavailable":
            start_response("503 Slow Down", [("Content-Length", "0"), ("Retry-After", "0")])
            return []
        if kind == "reset":
            return self._reset(environ)
        start_response("206 Partial Content", [("Content-Length", "1000")])
        return [b"cut off"] if kind == "short" else self._slow()

    def _slow(self) -> Iterator[bytes]:
        """Yields a response body that stalls for longer than the timeout."""
        yield b"slow"
        time.sleep(self.slow_s)

    def _reset(self, environ: dict[str, Any]) -> list[bytes]:
        """Resets the connection, as a server that crashes does."""
        connection = environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        raise ConnectionResetError
