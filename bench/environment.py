"""What a number was measured on: processor, versions, commit, date."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["environment", "warn_if_busy"]

QUIET_LOAD = 0.5

LIBRARIES = (
    "torch", "torchvision", "nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13", "simplejpeg", "numba",
    "numpy", "pillow", "pyarrow", "webdataset", "spdl", "litdata", "mosaicml-streaming",
)  # fmt: skip


def environment(cores: list[int]) -> dict[str, Any]:
    """Plain values for the JSON document; ``cores`` are those that were measured on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_name(),
        "cpus_available": len(os.sched_getaffinity(0)),
        "cores_used": cores,
        "load_average_1m": round(os.getloadavg()[0], 2),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libjpeg_turbo": _libjpeg_turbo(),
        "versions": _versions(),
    }


def warn_if_busy(found: dict[str, Any]) -> None:
    """Says on standard error that other programs computed when the environment was recorded."""
    load = found["load_average_1m"]
    if load > QUIET_LOAD:
        print(f"this machine is busy (load {load}): numbers will be off", file=sys.stderr)


def _commit() -> str:
    root = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # not a checkout


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _libjpeg_turbo() -> str:
    from PIL import features

    return str(features.version_feature("libjpeg_turbo") or "Pillow without libjpeg-turbo")


def _versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
