"""Time and chance as waiting needs them, which tests replace."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Clock"]


@dataclass
class Clock:
    """Time, and chance. Of a process; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: random.Random = field(default_factory=random.Random)
    """Not of host and process: in containers of one image both may be the same."""
