"""SIGTERM and SIGUSR1 as a wish to stop soon: clusters send them some time before they kill."""

import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopSignal"]

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopSignal:
    """While entered, the first signal only sets :attr:`received`; the second acts as it always did.

    Enter it in the main thread, and only around code that looks at :attr:`received`.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the signal that came, or None."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
