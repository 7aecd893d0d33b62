"""Preloaded by a build's fork server, so that the modules that all workers need are imported only once."""

import webdataset  # noqa: F401 - imports torch, which takes seconds
from numba.core.registry import cpu_target

import shards.build.writer  # noqa: F401

# Numba's start-up, which each process would otherwise repeat before its first kernel, in 0.8 s.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
