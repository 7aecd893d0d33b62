"""Reports the versions and the topology of the machine on which the other parts are measured."""

import argparse
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bench.gpu.part import Answer, Cell, Part, Setting, done

__all__ = ["MACHINE"]

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numba", "pyarrow", "pillow", "numpy", "msgspec")
OPTIONAL = ("nvidia-dali-cuda130", "simplejpeg", "isal", "jpeglib", "webdataset", "optuna")
CHECKS = ("CUDA", "precision", "fused attention", "transfers")
TOPOLOGY = ["nvidia-smi", "topo", "-m"]


def _cells(setting: Setting) -> list[Cell]:
    cells = [Cell("versions", _versions), Cell("topology", partial(_topology, setting))]
    if setting.on_gpu:
        cells += [Cell(name, partial(_check, name)) for name in CHECKS]
    return cells


def _versions(_: float) -> Answer:
    from importlib import metadata

    found: dict[str, str | None] = {}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    missing = [name for name, version in found.items() if version is None]
    return (
        found,
        f"torch {found['torch']}, torchvision {found['torchvision']}; not installed: {', '.join(missing) or 'nothing'}",
    )


def _topology(setting: Setting, _: float) -> Answer:
    import torch

    from bench.doctor_gpu import check_presence, driver_version

    figures: dict[str, Any] = {"cores": setting.threads, "cuda": torch.version.cuda, "driver": driver_version()}
    if setting.on_gpu:
        found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        figures["gpus"] = [
            {
                "name": one.name,
                "memory_bytes": one.total_memory,
                "capability": f"{one.major}.{one.minor}",
                "multiprocessors": one.multi_processor_count,
            }
            for one in found
        ]
        figures["topology"] = _matrix()
    return figures, f"{setting.threads} cores; {check_presence(argparse.Namespace())[1]}"


def _matrix() -> str | None:
    try:
        return subprocess.run(TOPOLOGY, capture_output=True, text=True, timeout=20, check=True, env=os.environ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _check(name: str, _: float) -> Answer:
    from bench.doctor_gpu import GPU_CHECKS

    verdict, words = GPU_CHECKS[name](argparse.Namespace())
    return {"verdict": verdict}, words


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    slow = [f"{row['cell']}: {row['words']}" for row in rows if row["figures"].get("verdict", "good") != "good"]
    topology = [row["words"] for row in done(rows) if row["cell"] == "topology"]
    return "; ".join([*topology, *slow]) or "the machine was not checked"


MACHINE = Part("machine", 0.03, _cells, _verdict)
