"""What a check of ``bench doctor`` answers with."""

import argparse
from collections.abc import Callable

__all__ = ["ABSENT", "GOOD", "SLOW", "WRONG", "Answer", "Check"]

GOOD, SLOW, WRONG, ABSENT = "good", "slow", "wrong", "absent"

Answer = tuple[str, str]
"""(one of the four verdicts, a sentence for people)."""
Check = Callable[[argparse.Namespace], Answer]
"""Takes the command's options; may raise, which is an answer too: wrong."""
