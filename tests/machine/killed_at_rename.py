"""Kills a process after it has written a file under a temporary name and before it renames the file."""

import os
import signal
from collections.abc import Callable
from typing import Any

__all__ = ["die_at_rename", "killed_at_rename"]


def killed_at_rename(act: Callable[[], object], which: int = 1) -> None:
    """Runs ``act`` in a child process that is killed by SIGKILL at its ``which``-th rename. Asserts that the process
    was killed."""
    child = os.fork()
    if child == 0:
        try:
            die_at_rename(which)
            act()
        finally:
            os._exit(0)  # it was not killed, which the parent notices
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "no such rename"
    assert os.WTERMSIG(status) == signal.SIGKILL


def die_at_rename(which: int) -> None:
    """Makes this process kill itself with SIGKILL at its ``which``-th rename from now on."""
    replace, done = os.replace, 0

    def dying(*arguments: Any, **named: Any) -> None:
        nonlocal done
        done += 1
        if done == which:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments, **named)

    os.replace = dying
