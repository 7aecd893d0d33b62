"""What a run of several processes says when one of them is gone, and how it ends.

The others notice at the next exchange: at once where the connection breaks, after
``process_timeout_s`` where the process only stands still. They cannot go on without it, because
every step needs the sum over all; the checkpoint of the last epoch, or of ``--checkpoint-every``,
is where the next run begins.
"""

import os
import sys
from typing import NoReturn

__all__ = ["end_at_once", "lost_process"]

_SIGNS = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "connection refused",
    "timed out waiting",
    "wait timeout",
    "socket timeout",
    "nccl",
    "gloo",
    "tcpstore",
)


def lost_process(error: BaseException, timeout_s: float) -> str | None:
    """The sentence for a person where ``error`` means that another process was lost, else
    ``None``."""
    if not isinstance(error, RuntimeError):  # all errors of torch.distributed are
        return None
    text = " ".join(str(error).split())
    if not any(sign in text.lower() for sign in _SIGNS):
        return None
    return (
        "another process of this run ended, or did not answer for process_timeout_s="
        f"{timeout_s:g} seconds: look into its log, then run the same command again, it goes on "
        f"from the last checkpoint ({text[:160]})"
    )


def end_at_once(message: str, code: int) -> NoReturn:
    """Says ``message`` and ends the process, without waiting for threads that wait for the one
    that is gone."""
    rank = os.environ.get("RANK", "0")
    sys.stdout.flush()
    sys.stderr.write(f"error: process {rank}: {message}\n")
    sys.stderr.flush()
    os._exit(code)
