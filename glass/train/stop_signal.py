"""SIGTERM, SIGUSR1 and Ctrl-C as a wish to stop soon: clusters send signals some time before they
kill, and who presses Ctrl-C does not want to lose the epoch."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopSignal"]

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
HEARD = b"\nstopping after this step, with a checkpoint; Ctrl-C once more ends at once, without\n"


class StopSignal:
    """While entered, the first signal of each kind only sets :attr:`received`; the second of a kind
    acts as it always did.

    By kind, because clusters warn with one and end with another: the second must not cut off the
    checkpoint that the first asked for. Enter it in the main thread, and only around code that
    looks at :attr:`received`.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the first signal that came, or None."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        # Of jobs in the background of a script SIGINT is ignored, and stays so.
        heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number).name
        signal.signal(number, self._before[number])
        if number == signal.SIGINT and os.environ.get("RANK", "0") == "0":
            with suppress(OSError, ValueError, AttributeError):
                # Past Python's buffers, in whose middle the signal may have come.
                os.write(sys.stderr.fileno(), HEARD)
