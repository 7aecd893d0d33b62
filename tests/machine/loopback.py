"""Web servers on loopback, each of them for one test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["counting", "listening", "send_without_end"]


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yields the address of a server whose requests ``handler`` handles, each in a daemon thread."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of clients that hang up
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def counting(status: int) -> Iterator[tuple[str, list[str]]]:
    """Yields the address of a server that responds with ``status`` and an empty body, and the list of the paths
    requested so far."""
    asked: list[str] = []

    class Counts(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with listening(Counts) as address:
        yield address, asked


def send_without_end(handler: BaseHTTPRequestHandler) -> None:
    """Sends zeros until the client disconnects. The class of ``handler`` counts the bytes in its attribute ``sent``."""
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(bytes(1 << 16))
            type(handler).sent += 1 << 16  # type: ignore[attr-defined]
    except OSError:
        return
