"""When a request is made again, and when that cannot help.

The pauses double, so that a store in trouble is left alone, and each is stretched by chance, so
that the thousand processes that saw the same fault do not come back in the same instant. A store
that asks for a pause (``Retry-After``) gets it, within the longest pause.
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
"""The longest pause that a store may ask for; the settings then allow less."""

_FINAL_NAMES = ("NoCredentialsError", "PartialCredentialsError")


class GaveUp(Exception):
    """No try succeeded; ``cause`` is what the last one raised."""

    def __init__(self, cause: Exception, tries: int, seconds: float, is_final: bool) -> None:
        super().__init__(str(cause))
        self.cause, self.tries, self.seconds, self.is_final = cause, tries, seconds, is_final


def retry(request: Callable[[], T], settings: RemoteSettings, clock: Clock, on_try: Callable[[bool], object]) -> T:
    """Calls ``request`` until it succeeds. ``on_try(again)`` is called before each attempt; ``again`` is true from the
    second on.

    Raises ``GaveUp`` after ``settings.attempts`` attempts, or at once if another attempt cannot help; ``OSError`` or
    ``MemoryError`` if the trouble is this machine's: its disk is full, or it has no file descriptors left.
    """
    started = clock.now()
    for attempt in range(1, settings.attempts + 1):
        on_try(attempt > 1)
        try:
            return request()
        except Exception as error:  # every library has exceptions of its own
            if trouble_of(error) is not None:  # of this machine, not of the store
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
    """Whether the same request may succeed later."""
    if isinstance(error, RuntimeError) and str(error).startswith("cannot schedule new futures"):
        return False  # this process is ending
    status = getattr(error, "status", None)
    if isinstance(status, int) and status in _FINAL_STATUS:
        return False
    return not isinstance(error, _FINAL) and type(error).__name__ not in _FINAL_NAMES


def _asked_for_s(error: BaseException | None) -> float:
    """Seconds that the store asked for, 0 if it did not: in the answer's head, which aiohttp
    keeps with the error and botocore with the error behind s3fs's."""
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
    """The seconds that the header ``Retry-After`` asks for, as a number or as a date: at most ``_LONGEST_S``, and 0
    if ``text`` cannot be parsed."""
    if text.strip().isdecimal():
        return float(min(int(text.strip()[:9]), _LONGEST_S))
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    # A difference, and no conversion: the last days of the year 9999 have no time in other zones.
    return min(max((aware - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_S)
