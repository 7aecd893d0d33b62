"""Passwords and signatures in addresses are never shown, whoever wrote the text."""

import logging
import sys

import pytest

from shards.cli.command import CommandParser, run_command
from shards.cli.shown_url import SafeFormatter, safe_text, safe_words, shown_url, without_secrets
from shards.errors import InputError

SHOWN = {
    "https://b.s3.amazonaws.com/k/x.tar?X-Amz-Signature=hunter2": "https://b.s3.amazonaws.com/k/x.tar",
    "http://me:hunter2@h:8080/a/b#c": "http://h:8080/a/b",
    "http://h/@me/b": "http://h/@me/b",
    "http://[::1]:80/x?sig=hunter2": "http://[::1]:80/x",
    "postgresql+psycopg2://me:hunter2@h:5432/db?sslpassword=hunter2": "postgresql+psycopg2://h:5432/db",
    "postgresql://me:hun/ter2@h/db": "postgresql://h/db",
    "postgresql://me:hunter2@x@h/db": "postgresql://h/db",
    "postgresql://me:hunt?er2@h/db": "postgresql://…",
    "mysql://me:hunter2": "mysql://…",
    "s3://key:hunter2@bucket/x": "s3://bucket/x",
    "hf://datasets/me/set@main/x": "hf://datasets/me/set@main/x",
    "sqlite:////home/me/a@b/study.db": "sqlite:////home/me/a@b/study.db",
    "journal:///runs/what?.log": "journal:///runs/what?.log",
    "a/plain/path?": "a/plain/path?",
}


@pytest.mark.parametrize("url", SHOWN)
def test_what_is_shown_of_an_address(url: str) -> None:
    assert shown_url(url) == SHOWN[url]
    assert shown_url(shown_url(url)) == shown_url(url)
    text = f"cannot open '{url}', see ({url})."
    assert "hunter2" not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "403, message='Forbidden', url='https://b.amazonaws.com/x?X-Amz-Signature=hunter2'",
        "Max retries exceeded with url: /path?X-Amz-Signature=hunter2&b=c (Caused by x)",
        'Failed to connect to proxy URL: "http://me:hunter2@proxy:3128"',
        "InvalidURL: http://me:hunter2@host:x/y",
        "https:/me:hunter2@host/x.tar does not exist",
    ],
)
def test_texts_of_libraries(text: str) -> None:
    assert "hunter2" not in without_secrets(text)
    assert "hunter2" not in safe_words(OSError(text))


def test_other_texts_stay_as_they_are() -> None:
    for text in ("give sqlite:///FILE, journal:///FILE or a database", "what? a=b", "x?.png, 1:2", "/a/b:/c", "C:/x@y"):
        assert without_secrets(text) == text
    assert safe_words(ValueError("")) == "ValueError"
    assert safe_words(ValueError("no\nmore")) == "ValueError: no"


def test_a_parser_that_quotes_a_part_of_the_password() -> None:
    error = ValueError("invalid literal for int() with base 10: 'w0rd@host'")
    assert safe_text(error, "postgresql://me:pass:w0rd@host/db") == "ValueError"


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://me:hunter2@host/db",
        "postgresql://me:hunter2@host:port/db",
        "postgresql+nosuch://me:hunter2@host/db?sslpassword=hunter2",
        "journal:///nosuchfolder/me:hunter2@host/x",
    ],
)
def test_the_storage_of_a_search(url: str) -> None:
    from glass.studies.search_store import open_storage

    with pytest.raises(InputError, match=r"--storage \w+.*cannot be opened") as caught:
        open_storage(url)
    assert url.startswith("journal") or "hunter2" not in str(caught.value)


def fails(error: Exception) -> int:
    raise error


@pytest.mark.parametrize(("kind", "code"), [(InputError, 2), (ValueError, 1)])
def test_no_command_prints_one(kind: type[Exception], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Passwords are removed even from the traceback of an error in our own code."""
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: fails(kind("no postgresql://me:hunter2@host/db")))
    assert ended.value.code == code
    found = capsys.readouterr().err
    assert "postgresql://host/db" in found
    assert "hunter2" not in found
    assert ("Traceback" in found) == (code == 1)


def test_no_usage_error_quotes_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        CommandParser(prog="x").parse_args(["postgresql://me:hunter2@host/db"])
    found = capsys.readouterr().err
    assert "postgresql://host/db" in found
    assert "hunter2" not in found


def test_no_log_line_holds_one() -> None:
    try:
        raise OSError("http://me:hunter2@host/x")
    except OSError:
        record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "at %s", ("s3://k:hunter2@b/x",), sys.exc_info())
    text = SafeFormatter("%(message)s").format(record)
    assert text.startswith("at s3://b/x\nTraceback")
    assert "hunter2" not in text
