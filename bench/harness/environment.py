"""The environment of a measurement: processor, versions, commit and date."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

__all__ = ["QUIET_CORES", "busy_cores", "environment", "warn_if_busy"]

QUIET_CORES = 0.5
"""Number of cores. If other programs keep more cores than this busy, measurements are considered unreliable."""
LOOK_S = 0.3

LIBRARIES = (
    "torch",
    "torchvision",
    "nvidia-dali-cuda130",
    "nvidia-nvimgcodec-cu13",
    "simplejpeg",
    "numba",
    "numpy",
    "pillow",
    "pyarrow",
    "webdataset",
    "spdl",
    "litdata",
    "mosaicml-streaming",
)


def environment(cores: list[int]) -> dict[str, Any]:
    """Describes the machine and software of a measurement as plain values for the JSON document. ``cores`` are the CPUs
    used by the measurement. Must be called while the bench itself is idle, because it also measures how busy other
    programs keep the machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_name(),
        "cpus_available": len(os.sched_getaffinity(0)),
        "cores_used": cores,
        "busy_cores": busy_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libjpeg_turbo": _libjpeg_turbo(),
        "versions": _versions(),
    }


def warn_if_busy(found: dict[str, Any]) -> None:
    """Warns on standard error if other programs kept the machine busy when the environment was recorded."""
    busy = found["busy_cores"]
    if busy > QUIET_CORES:
        words = f"other programs keep {busy} cores busy"
        print(f"this machine is busy ({words}): measurements will be unreliable", file=sys.stderr)


def busy_cores() -> float:
    """Mean number of cores that other programs keep busy, measured over 0.3 s during which this process sleeps. The
    load average would not do, because it still reflects the previous bench a minute after that bench has ended."""
    return round(sum(psutil.cpu_percent(LOOK_S, percpu=True)) / 100, 2)


def _commit() -> str:
    root = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
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
