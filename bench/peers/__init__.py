"""The same job on other loading libraries, set up as their documentation advises."""

from bench.task import MethodInfo

__all__ = ["PEERS"]

PEERS: dict[str, MethodInfo] = {}
