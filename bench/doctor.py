"""``glass bench doctor``: checks whether this machine is set up to train fast and, if not, what is wrong.

Question: which part of the machine or the installation is slow, missing or wrong?
Method: short checks, each of which takes a few seconds at most and reports one sentence. If there is a GPU, its driver,
memory, precision, fused attention, nvJPEG decoding and transfers are checked, too. So far, the GPU checks have only
been tested with fakes, never on a GPU.

    glass bench doctor [--folder DIR]
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil

from bench import doctor_decoders
from bench.doctor_decoders import GOOD, SLOW, WRONG, Answer, Check, seconds
from bench.doctor_gpu import GPU_CHECKS, check_presence, has_gpu
from bench.harness.arguments import bench_parser, check_output
from bench.harness.environment import QUIET_CORES, busy_cores, environment
from bench.harness.schemas import print_result
from shards.cli.command import CommandParser, printable
from shards.errors import InputError

__all__ = ["CPU_CHECKS", "main"]

BENCH = "doctor"
FILE_BYTES = 256 << 20
MIN_CACHE_GB_S, MIN_DISK_MB_S = 1.0, 150.0
"""Minimum read speeds: from the page cache in GB/s, and from the disk in MB/s (about the speed of a ten-year-old SATA
disk). Anything below is reported as "slow"."""
UNTRIED = "these checks have never been run on a machine with a GPU, so the checks themselves may be wrong"


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if something is wrong."""
    options = _parse(argv)
    rows = [_row(name, check, options) for name, check in CPU_CHECKS.items()]
    if has_gpu():
        rows += [_row(name, check, options) for name, check in GPU_CHECKS.items()]
        gpu_half = f"run; {UNTRIED}"
    else:
        gpu_half = f"not run, because there is no GPU: {', '.join(GPU_CHECKS)}"
    found = environment(sorted(os.sched_getaffinity(0)))
    for row in rows:
        print(printable(f"{row['verdict']:>6}  {row['check']}: {row['words']}"))
    print(f"GPU checks: {gpu_half}")
    document = {"bench": BENCH, "rows": rows, "gpu_half": gpu_half, "environment": found}
    print_result(document, options.output, BENCH)
    return 1 if any(row["verdict"] == WRONG for row in rows) else 0


def _row(name: str, check: Check, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        verdict, words = check(options)
    except Exception as error:  # a broken part is an answer: report it and go on
        verdict, words = WRONG, f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return {"check": name, "verdict": verdict, "words": words, "time_s": round(time.perf_counter() - start, 3)}


def _libraries(_: argparse.Namespace) -> Answer:
    from glass.config.versions import installed_versions

    found = installed_versions()
    missing = [name for name in ("torch", "timm", "accelerate") if name not in found]
    if missing:
        return WRONG, f"{', '.join(missing)} missing: pip install -e ."
    return GOOD, ", ".join(f"{name} {version}" for name, version in found.items())


def _cores(_: argparse.Namespace) -> Answer:
    cores, busy = len(os.sched_getaffinity(0)), busy_cores()
    words = f"{cores} for this process, of which other programs keep {busy:.1f} busy"
    return (SLOW, f"{words}, so every measurement will be unreliable") if busy > QUIET_CORES else (GOOD, words)


def _memory(_: argparse.Namespace) -> Answer:
    memory = psutil.virtual_memory()
    words = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB available"
    return (GOOD if memory.available > 4 << 30 else SLOW), words


def _disk(options: argparse.Namespace) -> Answer:
    with NamedTemporaryFile(dir=options.folder) as file:
        block = os.urandom(1 << 20)

        def write() -> None:
            for _ in range(FILE_BYTES >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

        def read() -> None:
            with Path(file.name).open("rb", buffering=0) as again:
                while again.read(1 << 22):
                    pass

        written, cached = FILE_BYTES / 1e6 / seconds(write), FILE_BYTES / 1e9 / seconds(read)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        disk = FILE_BYTES / 1e6 / seconds(read)
    words = (
        f"{options.folder}: cache {cached:.1f} GB/s, disk reads {disk:.0f} MB/s (after asking the system to drop the "
        f"file from its cache), writes {written:.0f} MB/s"
    )
    if cached < MIN_CACHE_GB_S or disk < MIN_DISK_MB_S:
        return SLOW, f"{words}: training on shards larger than memory will wait for this disk"
    return GOOD, words


def _matrix_products(_: argparse.Namespace) -> Answer:
    import torch

    a, threads = torch.randn(1024, 1024), torch.get_num_threads()
    rate = 2 * 1024**3 / 1e9 / seconds(lambda: a @ a, at_least_s=0.5)
    return (GOOD if rate > 20 * threads else SLOW), f"{rate:.0f} GFLOP/s in float32 with {threads} threads"


CPU_CHECKS: dict[str, Check] = {
    "libraries": _libraries,
    "cores": _cores,
    "memory": _memory,
    "JPEG decoding": doctor_decoders.check_cpu_decoding,
    "DALI": doctor_decoders.check_dali,
    "disk and page cache": _disk,
    "matrix products": _matrix_products,
    "GPU": check_presence,
}


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Checks this machine and reports what is slow or wrong.")
    parser.add_argument("--folder", type=Path, default=Path("."), help="folder on the disk that will hold the shards")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the JSON document to this folder")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    check_output(options)
    if not options.folder.is_dir():
        raise InputError(f"--folder {options.folder} is not a folder: give an existing folder")
    if not os.access(options.folder, os.W_OK):
        raise InputError(f"--folder {options.folder} cannot be written to: give another folder")
    return options
