"""How an address is shown to people: in what is printed, logged, raised or written to a file.

An address may hold a password before its ``@``, and a signature after its ``?`` that opens a store
to whoever reads it. Libraries put whole addresses into the texts of their exceptions, also those
that a redirect led to, so such a text goes through :func:`without_secrets` too.
"""

import logging
import re
from collections.abc import Iterator

__all__ = ["SafeFormatter", "safe_text", "safe_words", "shown_url", "without_secrets"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]*")
_QUERY = re.compile(r"\?[\w.~%\-]+=[^\s'\")\]>]*")
"""Parameters of an address without scheme and host, as HTTP libraries name what was asked for."""

_STORES = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "hf", "memory"})
"""Their paths may hold an ``@``; an address of a database has one only after its password, which
may hold anything."""

_LEAST_SECRET = 4
"""Letters of a password by which a text is taken to quote it."""


def shown_url(url: str) -> str:
    """``url`` without user, password, parameters and fragment."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    rest = re.split(r"[?#]", rest, maxsplit=1)[0] if _has_parameters(scheme, rest) else rest
    host, slash, path = rest.partition("/")
    if scheme.lower() not in _STORES and host:
        host, slash, path = rest.rpartition("@")[2].partition("/")
    host = host.rpartition("@")[2]
    if not _is_port(host):  # a password with a slash in it, whose address was cut off before its @
        behind = f"{host}{slash}{path}".rpartition("@")
        return f"{scheme}://{behind[2]}" if behind[1] else f"{scheme}://…"
    return f"{scheme}://{host}{slash}{path}"


def _has_parameters(scheme: str, rest: str) -> bool:
    """Whether a question mark ends the path: in the name of a local file it may be a letter."""
    return not (scheme.lower() == "journal" and rest.startswith("/"))


def _is_port(host: str) -> bool:
    """Whether what follows the colon of ``host``, if there is one, is a port."""
    if host.startswith("["):  # IPv6
        host = host.partition("]")[2]
    port = host.partition(":")[2]
    return not port or (port.isdecimal() and len(port) <= 5)


def without_secrets(text: str) -> str:
    """``text`` with every URL in it shown as by :func:`shown_url`, and without the query parameters of addresses
    that lack scheme and host."""
    return _QUERY.sub("?…", _URL.sub(_shown_match, text))


def _shown_match(found: "re.Match[str]") -> str:
    url = found[0]
    end = len(url.rstrip(".,;:)]"))
    return shown_url(url[:end]) + url[end:]


def safe_text(error: BaseException, url: str = "") -> str:
    """The message of a library's error about ``url``: its first line, without secrets; or the error's type
    alone, if there is no message or it quotes a part of the password."""
    lines = str(error).strip().splitlines() or [""]
    text = lines[0].replace(url, shown_url(url)) if url else lines[0]
    text = without_secrets(text).strip()[:200]
    if not text or any(part in text for part in _secret_parts(url)):
        return type(error).__name__
    return text


def safe_words(error: BaseException, url: str = "") -> str:
    """:func:`safe_text` after the name of the error's type."""
    kind, text = type(error).__name__, safe_text(error, url)
    return kind if text == kind else f"{kind}: {text}"


class SafeFormatter(logging.Formatter):
    """Formatter of log lines, traces included: without secrets, whoever wrote them."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _secret_parts(url: str) -> Iterator[str]:
    """Runs of letters of the password and of the parameters of ``url``: a parser that fails at a
    part of a password quotes that part alone."""
    _, _, rest = url.partition("://")
    before, at, behind = rest.rpartition("@")
    password = before.partition(":")[2] if at else ""
    query = (behind if at else rest).partition("?")[2]
    for secret in (password, *(pair.partition("=")[2] for pair in query.split("&"))):
        size = min(len(secret), _LEAST_SECRET)
        if size > 1:
            yield from (secret[k : k + size] for k in range(len(secret) - size + 1))
