"""What a store may do wrong, and how a request reacts. No test waits, because the clock is simulated."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.errors import InputError
from shards.files.patience import Clock
from shards.store.folder import RemoteFolder, RemoteUnavailable
from shards.store.retry import retry_after_s
from shards.store.settings import RemoteSettings
from tests.machine.loopback import listening, send_without_end

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")

SETTINGS = RemoteSettings(timeout_s=5.0)
LATIN_1 = bytes(range(256)).decode("latin-1")
"""All characters that can occur in an HTTP header, as a client receives them."""


class Time(Clock):
    """A clock that advances only while somebody sleeps."""

    def __init__(self, seed: int = 0) -> None:
        self.pauses: list[float] = []
        super().__init__(lambda: sum(self.pauses), self.pauses.append, random.Random(seed))


class Answers(BaseHTTPRequestHandler):
    """A server whose response is one of the methods below, chosen by ``kind``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    kind = ""
    sent = 0
    asked: list[str]

    def log_message(self, format: str, *arguments: object) -> None: ...

    def do_GET(self) -> None:
        self.asked.append(self.path)
        getattr(self, self.kind)()

    def head(self, status: int, length: int | None = 0, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def comes_back_in_7(self) -> None:
        if len(self.asked) < 3:
            self.head(503, Retry_After="7")
        else:
            self.head(200, 2)
            self.wfile.write(b"ok")

    def comes_back_tomorrow(self) -> None:
        self.head(429, Retry_After="86400")

    def comes_back_in_the_year_9999(self) -> None:
        self.head(503, Retry_After="Fri, 31 Dec 9999 23:59:59 -1200")

    def comes_back_at_no_time(self) -> None:
        self.head(503, Retry_After="Fri, 31 Dec 99999999999999999999 23:59:59 +99999999")

    def signed_and_refused(self) -> None:
        if "Signature" in self.path:
            self.head(403)
        else:
            self.head(302, Location="/signed/a?X-Amz-Signature=0123abcd&X-Amz-Credential=AKIA")

    def endless(self) -> None:
        self.head(200, None, Connection="close")
        send_without_end(self)

    def odd_page(self) -> None:
        page = (
            b'<A id="x" HREF="a%20b.jpg">a</A> <a href="/set/c&amp;d.jpg">c</a> <a href="../">u</a>'
            b"<a href='sub/'>s</a> <a href='sub/deep.jpg'>d</a> <a href='?C=N;O=D'>sort</a>"
            b'<a href="http://elsewhere/set/x.jpg">x</a> <a href="/etc/y.jpg">y</a> <a href="">'
            b'<a href="../../out.jpg">o</a> <a href="./e.jpg#top">e</a> <a href="//other/f">f</a>'
        )
        self.head(200, len(page), Content_Type="text/html")
        self.wfile.write(page)

    def trickle(self) -> None:
        self.head(200, 100)
        self.wfile.write(bytes(10))
        self.wfile.flush()
        type(self).hold.wait(30)

    hold: threading.Event


@contextmanager
def answering(kind: str) -> Iterator[tuple[str, type[Answers]]]:
    handler = type("H", (Answers,), {"kind": kind, "asked": [], "hold": threading.Event()})
    with listening(handler) as address:
        try:
            yield address, handler
        finally:
            handler.hold.set()


def nobody() -> str:
    """Returns an address at which no server listens."""
    return "http://127.0.0.1:9/set"


def give_up(clock: Time) -> str:
    with pytest.raises(RemoteUnavailable) as caught:
        RemoteFolder(nobody(), SETTINGS, clock).read("dataset.json", 1000)
    return str(caught.value)


def test_a_store_that_is_away_is_waited_for_about_a_minute() -> None:
    clock = Time()
    assert "in 10 attempts and" in give_up(clock)
    assert len(clock.pauses) == 9
    assert 35 < sum(clock.pauses) < 75
    assert max(clock.pauses) <= 30


def test_no_two_processes_come_back_at_the_same_time() -> None:
    first, second = Time(1), Time(2)
    give_up(first)
    give_up(second)
    assert all(a != b for a, b in zip(first.pauses[:8], second.pauses[:8], strict=True))


def test_a_store_that_says_when_to_come_back_is_taken_at_its_word() -> None:
    clock = Time()
    with answering("comes_back_in_7") as (url, _):
        assert RemoteFolder(url, SETTINGS, clock).read("a", 1000) == b"ok"
    assert [round(pause) for pause in clock.pauses] == [7, 7]


def test_but_only_within_the_longest_pause() -> None:
    clock, limits = Time(), RemoteSettings(attempts=3, longest_pause_s=11)
    with answering("comes_back_tomorrow") as (url, _), pytest.raises(RemoteUnavailable):
        RemoteFolder(url, limits, clock).read("a", 1000)
    assert clock.pauses == [11, 11]


@pytest.mark.parametrize(("kind", "pauses"), [("comes_back_in_the_year_9999", [11, 11]), ("comes_back_at_no_time", [])])
def test_a_date_beyond_all_dates_is_no_error(kind: str, pauses: list[float]) -> None:
    """A ``Retry-After`` date in the year 9999 gives the longest pause, and an invalid one is ignored. Converting such a
    date to another time zone used to raise ``OverflowError``."""
    clock, limits = Time(), RemoteSettings(attempts=3, longest_pause_s=11)
    with answering(kind) as (url, _), pytest.raises(RemoteUnavailable, match="3 attempts"):
        RemoteFolder(url, limits, clock).read("a", 1000)
    assert [pause for pause in clock.pauses if pause > 1] == pauses


OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.text(LATIN_1, max_size=60) | st.datetimes(timezones=OFFSETS).map(format_datetime))
@settings(max_examples=30)
def test_whatever_a_store_asks_for_is_a_pause(text: str) -> None:
    assert 0 <= retry_after_s(text) <= 86_400


def test_the_signature_behind_a_redirect_is_not_shown() -> None:
    with answering("signed_and_refused") as (url, handler):
        with pytest.raises(RemoteUnavailable, match="was refused") as caught:
            RemoteFolder(url, SETTINGS, Time()).read("a", 1000)
        assert "Signature" in handler.asked[-1]
    assert f"{url}/signed/a" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("0123abcd", "AKIA"))


def test_a_description_without_end_is_not_read_to_its_end() -> None:
    with answering("endless") as (url, handler):
        with pytest.raises(InputError, match=r"dataset\.json cannot be read.*more than 1,000 bytes"):
            RemoteFolder(url, SETTINGS, Time()).read("dataset.json", most=1000)
        assert len(handler.asked) == 1


def test_asking_for_ranges_downloads_nothing_from_a_server_without() -> None:
    with answering("endless") as (url, handler):
        assert not RemoteFolder(url, SETTINGS, Time()).has_ranges("train-000000.tar")
    assert handler.sent < 64 << 20  # what the sockets took before they were closed


def test_a_body_that_stands_still_is_given_up(tmp_path: Path) -> None:
    limits = RemoteSettings(timeout_s=0.2, attempts=2)
    with answering("trickle") as (url, handler):
        with pytest.raises(RemoteUnavailable, match="2 attempts"):
            RemoteFolder(url, limits, Time()).stream("a.tar", tmp_path / "a", 100, 100)
        assert len(handler.asked) == 2


def test_of_a_page_of_links_counts_what_lies_right_in_the_folder() -> None:
    with answering("odd_page") as (url, _):
        found = RemoteFolder(f"{url}/set", SETTINGS, Time()).children()
    assert found == [("a b.jpg", False), ("c&d.jpg", False), ("sub", True)]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:9/a", "../../evil.internal/x"),
        ("http://127.0.0.1:9", "../evil.internal/x"),
        ("s3://bucket/a", "../../other/x"),
        ("s3://bucket", "../other/x"),
        ("s3://bucket/a", "/etc/x"),
        ("memory://a/b", "../../../x"),
    ],
)
def test_no_name_leads_out_of_host_or_bucket(url: str, name: str) -> None:
    if url.startswith("s3"):
        pytest.importorskip("s3fs", reason="the extra [remote] is not installed")
    folder = RemoteFolder(url, SETTINGS, Time())
    with pytest.raises(InputError, match="is not the name of a file in or beside"):
        folder.read(name, 1000)
    assert not folder.counts


def test_a_tar_may_lie_beside_the_folder_of_its_sidecar() -> None:
    with answering("comes_back_in_7") as (url, handler):
        RemoteFolder(f"{url}/sets/a", SETTINGS, Time()).read("../tars/my%20 #1.tar", 1000)
    assert handler.asked[-1] == "/sets/tars/my%2520%20%231.tar"
