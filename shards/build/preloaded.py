"""What all workers of a build have in common: the fork server imports it once, and they start from there."""

import webdataset  # noqa: F401 - imports torch, which takes seconds
from numba.core.registry import cpu_target

import shards.build.writer  # noqa: F401

# What Numba does in each process before its first kernel, in 0.8 s.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
