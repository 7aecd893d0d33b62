"""The model hub, asked once whether it is there: its client retries for four minutes before it
gives up, also where the weights are in the cache already."""

from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.constants
from huggingface_hub.utils import get_session

__all__ = ["cache_only_if_unreachable"]

PROBE_TIMEOUT_S = 10.0
"""Patience with a slow network; without a network the answer takes milliseconds."""


@contextmanager
def cache_only_if_unreachable() -> Iterator[None]:
    """While entered, and where the hub does not answer, its client looks into its cache alone."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(endpoint: str) -> bool:
    """Whether any HTTP answer comes, through the hub client's own proxies and certificates."""
    try:
        get_session().head(endpoint, timeout=PROBE_TIMEOUT_S)
    except Exception:  # of whichever HTTP library the client was built on
        return False
    return True
