"""Preloaded by a build's fork server, so that the modules that all workers need are imported only once."""

import signal
import sys

# Ctrl-C goes to all processes of a terminal. The build answers it; a fork server that is still importing would print a
# traceback.
signal.signal(signal.SIGINT, signal.SIG_IGN)

# Only WebDataset's readers use torch, and it does without torch if it cannot import it. The workers write, so they are
# spared an import of 4 s and 600 MB.
sys.modules["torch"] = None  # type: ignore[assignment]
import webdataset  # noqa: E402, F401

del sys.modules["torch"]

from numba.core.registry import cpu_target  # noqa: E402

import shards.build.writer  # noqa: E402, F401

# Numba's start-up, which each process would otherwise repeat before its first kernel, in 0.8 s.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
