"""Retries failed requests after pauses, unless another attempt cannot help.

Pauses double, so that an overloaded store receives fewer requests. Each pause is multiplied by a random factor, so that
a thousand processes that failed together do not all retry at the same instant. If the store requests a pause
(``Retry-After``), that time is added. The sum is limited to the longest pause in the settings.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from shards.errors import trouble_of
from shards.files.patience import Clock
from shards.store.fsspec_store import TooLong
from shards.store.settings import RemoteSettings

__all__ = ["GaveUp", "retry", "retry_after_s"]

T = TypeVar("T")

_FIRST_PAUSE_S = 0.1
_STRETCH = (0.5, 1.5)
_FINAL = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    TooLong,
    NotImplementedError,
    TypeError,
    AttributeError,
)
_FINAL_STATUS = frozenset({400, 401, 403, 404, 405, 410, 416})
_LONGEST_DATE = 100
_LONGEST_S = 86_400.0
"""Upper limit, in seconds, on a pause requested by a server. The settings usually impose a lower one."""

_FINAL_NAMES = ("NoCredentialsError", "PartialCredentialsError")


class GaveUp(Exception):
    """No attempt succeeded. ``cause`` is the last attempt's error."""

    def __init__(self, cause: Exception, tries: int, seconds: float, is_final: bool) -> None:
        super().__init__(str(cause))
        self.cause, self.tries, self.seconds, self.is_final = cause, tries, seconds, is_final


def retry(request: Callable[[], T], settings: RemoteSettings, clock: Clock, on_try: Callable[[bool], object]) -> T:
    """Calls ``request`` until it succeeds, with pauses between attempts. Returns its result.

    ``on_try(again)`` is called before each attempt; ``again`` is true from the second attempt on. Raises ``GaveUp``
    after ``settings.attempts`` attempts, or at once if another attempt cannot help. If this machine is at fault (its
    disk is full, or it has no file descriptors left), raises the ``OSError`` or ``MemoryError`` itself.
    """
    started = clock.now()
    for attempt in range(1, settings.attempts + 1):
        on_try(attempt > 1)
        try:
            return request()
        except Exception as error:  # every library has its own exceptions
            if trouble_of(error) is not None:  # this machine's fault, not the store's
                raise
            is_final = not _may_pass(error)
            if is_final or attempt == settings.attempts:
                raise GaveUp(error, attempt, clock.now() - started, is_final) from error
            pause = _pause_s(error, attempt, settings, clock)
        clock.sleep(pause)
    raise AssertionError("attempts is at least 1")


def _pause_s(error: Exception, attempt: int, settings: RemoteSettings, clock: Clock) -> float:
    grown = _FIRST_PAUSE_S * 2 ** min(attempt - 1, 30) * clock.chance.uniform(*_STRETCH)
    return min(grown + _asked_for_s(error), settings.longest_pause_s)


def _may_pass(error: Exception) -> bool:
    """Whether the request that failed with ``error`` may succeed later."""
    if isinstance(error, RuntimeError) and str(error).startswith("cannot schedule new futures"):
        return False  # this process is ending
    status = getattr(error, "status", None)
    if isinstance(status, int) and status in _FINAL_STATUS:
        return False
    return not isinstance(error, _FINAL) and type(error).__name__ not in _FINAL_NAMES


def _asked_for_s(error: BaseException | None) -> float:
    """Returns the pause in seconds that the store requested in its response headers, or 0 if it requested none.

    An aiohttp error carries the headers itself. An s3fs error is caused by a botocore error, which carries them.
    """
    while error is not None:
        headers: Any = getattr(error, "headers", None)
        if headers is None and isinstance(answer := getattr(error, "response", None), dict):
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders")
        if headers is not None:
            named = {str(name).lower(): str(headers[name]) for name in headers}
            return retry_after_s(named.get("retry-after", "")[:_LONGEST_DATE])
        error = error.__cause__
    return 0.0


def retry_after_s(text: str) -> float:
    """Parses the value of a ``Retry-After`` header, a number or a date. Returns the requested pause in seconds.

    The result is at most ``_LONGEST_S``; it is 0 if ``text`` cannot be parsed.
    """
    if text.strip().isdecimal():
        return float(min(int(text.strip()[:9]), _LONGEST_S))
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    # Subtract rather than convert: the last days of the year 9999 do not exist in all time zones.
    return min(max((aware - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_S)
