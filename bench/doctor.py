"""``python -m bench doctor``: is this machine set up to train fast, and what is wrong if not?

Question: which part of the machine or the installation is slow, missing or wrong?
Method: short checks, each with a sentence; none takes more than seconds. Where there is a GPU: its
driver, memory, precision, fused attention, and whether DALI decodes there as it does on the CPU.
The GPU half has not been run on a machine with one yet, only on fakes in its tests: take its words
with that in mind.

    python -m bench doctor [--folder DIR]
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from bench.doctor_checks.answers import GOOD, SLOW, WRONG, Answer, Check
from bench.doctor_checks.decoding import check_cpu_decoding, check_dali
from bench.doctor_checks.gpu import GPU_CHECKS, check_presence, has_gpu
from bench.harness.arguments import bench_parser, check_output
from bench.harness.environment import QUIET_CORES, busy_cores, environment
from bench.harness.schemas import print_result
from shards.cli.command import printable
from shards.errors import InputError

__all__ = ["CPU_CHECKS", "main"]

BENCH = "doctor"
FILE_BYTES = 256 << 20
MIN_CACHE_GB_S, MIN_DISK_MB_S = 1.0, 150.0
"""Below these the answer is "slow": a page cache and a SATA disk of ten years ago."""
UNTRIED = "the GPU checks have not been run on a machine with a GPU before: doubt them too"


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 1 where something is wrong."""
    options = _parse(argv)
    rows = [_row(name, check, options) for name, check in CPU_CHECKS.items()]
    if has_gpu():
        rows += [_row(name, check, options) for name, check in GPU_CHECKS.items()]
        gpu_half = f"run; {UNTRIED}"
    else:
        gpu_half = f"not run, for want of a GPU: {', '.join(GPU_CHECKS)}"
    document = {
        "bench": BENCH,
        "rows": rows,
        "gpu_half": gpu_half,
        "environment": environment(sorted(os.sched_getaffinity(0))),
    }
    for row in rows:
        print(printable(f"{row['verdict']:>6}  {row['check']}: {row['words']}"))
    print(f"GPU half: {gpu_half}")
    print_result(document, options.output, BENCH)
    return 1 if any(row["verdict"] == WRONG for row in rows) else 0


def _row(name: str, check: Check, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        verdict, words = check(options)
    except Exception as error:  # what is broken is what is asked for: say it and go on
        verdict, words = WRONG, f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return {"check": name, "verdict": verdict, "words": words, "time_s": round(time.perf_counter() - start, 3)}


def _cores(_: argparse.Namespace) -> Answer:
    cores, busy = len(os.sched_getaffinity(0)), busy_cores()
    words = f"{cores} for this process, {busy:.1f} kept busy by other programs"
    if busy > QUIET_CORES:
        return SLOW, f"{words}, so every measurement will be off"
    return GOOD, words


def _memory(_: argparse.Namespace) -> Answer:
    import psutil

    memory = psutil.virtual_memory()
    words = f"{memory.available / 2**30:.1f} GiB available of {memory.total / 2**30:.1f}"
    return (GOOD if memory.available > 4 << 30 else SLOW), words


def _libraries(_: argparse.Namespace) -> Answer:
    from glass.config.versions import installed_versions

    found = installed_versions()
    missing = [name for name in ("torch", "timm", "accelerate", "simplejpeg") if name not in found]
    if missing:
        return WRONG, f"{', '.join(missing)} missing: pip install -e ."
    return GOOD, ", ".join(f"{name} {version}" for name, version in found.items())


def _page_cache(options: argparse.Namespace) -> Answer:
    with NamedTemporaryFile(dir=options.folder) as file:
        block = os.urandom(1 << 20)
        start = time.perf_counter()
        for _ in range(FILE_BYTES >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = FILE_BYTES / 1e6 / (time.perf_counter() - start)
        cached = FILE_BYTES / 1e9 / _read_s(file.name)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        disk = FILE_BYTES / 1e6 / _read_s(file.name)
    words = (
        f"{options.folder}: cache {cached:.1f} GB/s, disk reads {disk:.0f} MB/s (after asking the"
        f" system to forget the file), writes {written:.0f} MB/s"
    )
    if cached < MIN_CACHE_GB_S or disk < MIN_DISK_MB_S:
        return SLOW, f"{words}: shards larger than memory will wait for this disk"
    return GOOD, words


def _read_s(name: str) -> float:
    start = time.perf_counter()
    with Path(name).open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass
    return time.perf_counter() - start


def _model_step(options: argparse.Namespace) -> Answer:
    import torch

    a = torch.randn(1024, 1024)
    start, products = time.perf_counter(), 0
    while products < 3 or time.perf_counter() - start < 0.5:
        a, products = (a @ a) * 1e-3, products + 1
    rate = products * 2 * 1024**3 / (time.perf_counter() - start) / 1e9
    words = f"{rate:.0f} GFLOP/s in float32 with {torch.get_num_threads()} threads"
    return (GOOD if rate > 20 * torch.get_num_threads() else SLOW), words


CPU_CHECKS: dict[str, Check] = {
    "libraries": _libraries,
    "cores": _cores,
    "memory": _memory,
    "JPEG decoding": check_cpu_decoding,
    "DALI": check_dali,
    "disk and page cache": _page_cache,
    "matrix products": _model_step,
    "GPU": check_presence,
}


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "Checks this machine and says in words what is slow or wrong.")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where shards will lie")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the document here")
    options = parser.parse_args(argv)
    check_output(options)
    if not options.folder.is_dir():
        raise InputError(f"--folder {options.folder} is no folder: give one that exists")
    if not os.access(options.folder, os.W_OK):
        raise InputError(f"--folder {options.folder} cannot be written to: give another")
    return options
