"""Recognises the URLs of stores, and removes secrets from URLs before they are printed, logged, put into an exception
or written to a file.

A URL may contain a password before the ``@``, or, in its query, a signature that grants access to a store. Libraries
quote whole URLs in their exception messages, including URLs to which a request was redirected. Those messages are
therefore passed through :func:`without_secrets` too.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SafeFormatter", "as_url", "safe_text", "safe_words", "shown_url", "without_secrets"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]*|\b(?:https?|s3a?|gs|gcs|hf):/[^\s'\"<>]+")
"""Matches a URL, also one that was turned into a ``Path`` and has lost a slash after its scheme."""
_QUERY = re.compile(r"\?[\w.~%\-]+=[^\s'\")\]>]*")
"""Matches the query of a URL without scheme and host, as in the requests that HTTP libraries log."""

_STORES = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "hf", "memory"})
"""Schemes whose paths may contain an ``@``. For all other schemes, such as those of databases, a password may contain
any character. So everything before the last ``@`` is treated as user and password."""

_STORE_URL = re.compile(r"^(s3|s3a|gs|gcs|http|https|hf|memory):/+(?=[^/])")

_LEAST_SECRET = 4
"""A text leaks a secret if it contains this many consecutive characters of the secret."""


def as_url(location: str | Path) -> str | None:
    """Returns ``location`` as a URL if it has a protocol that can be read, or ``None`` if it is a path.

    If a URL was turned into a ``Path``, for example on a command line, it has lost one of the two slashes after the
    scheme. That slash is restored.
    """
    text = str(location)
    found = _STORE_URL.match(text)
    return f"{found[1]}://{text[found.end() :].rstrip('/')}" if found else None


def shown_url(url: str) -> str:
    """Returns ``url`` without its user, password, parameters and fragment."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    rest = re.split(r"[?#]", rest, maxsplit=1)[0] if _has_parameters(scheme, rest) else rest
    host, slash, path = rest.partition("/")
    if scheme.lower() not in _STORES and host:
        host, slash, path = rest.rpartition("@")[2].partition("/")
    host = host.rpartition("@")[2]
    if not _is_port(host):  # a password with a slash, cut off before the @
        behind = f"{host}{slash}{path}".rpartition("@")
        return f"{scheme}://{behind[2]}" if behind[1] else f"{scheme}://…"
    return f"{scheme}://{host}{slash}{path}"


def _has_parameters(scheme: str, rest: str) -> bool:
    """Whether a question mark in ``rest`` begins parameters. In a local path, it may be part of a file name."""
    return not (scheme.lower() == "journal" and rest.startswith("/"))


def _is_port(host: str) -> bool:
    """Whether ``host`` has no colon, or only a port after its colon."""
    if host.startswith("["):  # IPv6
        host = host.partition("]")[2]
    port = host.partition(":")[2]
    return not port or (port.isdecimal() and len(port) <= 5)


def without_secrets(text: str) -> str:
    """Returns ``text`` with :func:`shown_url` applied to every URL in it.

    Also removes the query from URLs that lack a scheme and a host.
    """
    return _QUERY.sub("?…", _URL.sub(_shown_match, text))


def _shown_match(found: "re.Match[str]") -> str:
    url = found[0]
    end = len(url.rstrip(".,;:)]"))
    scheme, _, rest = url[:end].partition(":/")
    return shown_url(f"{scheme}://{rest.removeprefix('/')}") + url[end:]


def safe_text(error: BaseException, url: str = "") -> str:
    """Returns the first line of an error message, without secrets. ``url`` is the URL that was being accessed.

    Returns the error's type name instead if there is no message, or if the line quotes part of a secret in ``url``.
    """
    lines = str(error).strip().splitlines() or [""]
    text = lines[0].replace(url, shown_url(url)) if url else lines[0]
    text = without_secrets(text).strip()[:200]
    if not text or any(part in text for part in _secret_parts(url)):
        return type(error).__name__
    return text


def safe_words(error: BaseException, url: str = "") -> str:
    """Returns the error's type name and, unless it is the same, :func:`safe_text`."""
    kind, text = type(error).__name__, safe_text(error, url)
    return kind if text == kind else f"{kind}: {text}"


class SafeFormatter(logging.Formatter):
    """Formatter that removes secrets from log lines and tracebacks, whichever library logged them."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _secret_parts(url: str) -> Iterator[str]:
    """Yields every substring, ``_LEAST_SECRET`` characters long, of the password and the query values in ``url``.

    Substrings are needed because a parser that fails on part of a password quotes only that part.
    """
    _, _, rest = url.partition("://")
    before, at, behind = rest.rpartition("@")
    password = before.partition(":")[2] if at else ""
    query = (behind if at else rest).partition("?")[2]
    for secret in (password, *(pair.partition("=")[2] for pair in query.split("&"))):
        size = min(len(secret), _LEAST_SECRET)
        if size > 1:
            yield from (secret[k : k + size] for k in range(len(secret) - size + 1))
