"""``python -m bench doctor``: is this machine set up to train fast, and what is wrong if not?

Question: which part of the machine or the installation is slow, missing or wrong?
Method: short checks, each with a sentence; none takes more than seconds. Where there is a GPU: its
driver, memory, precision, fused attention, decoding by nvJPEG, transfers. Until now that half has
been run only on fakes, in its tests.

    python -m bench doctor [--folder DIR]
"""

import argparse
import os
import re
import subprocess
import time
import warnings
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil

from bench import doctor_decoders
from bench.doctor_decoders import ABSENT, GOOD, SLOW, WRONG, Answer, Check, seconds
from bench.harness.arguments import bench_parser, check_output
from bench.harness.environment import QUIET_CORES, busy_cores, environment
from bench.harness.schemas import print_result
from shards.cli.command import printable
from shards.errors import InputError

__all__ = ["CPU_CHECKS", "GPU_CHECKS", "main"]

BENCH = "doctor"
FILE_BYTES = TRANSFER_BYTES = 256 << 20
MIN_CACHE_GB_S, MIN_DISK_MB_S, MIN_TRANSFER_GB_S = 1.0, 150.0, 5.0
"""Below these the answer is "slow": a page cache and a SATA disk of ten years ago; a PCIe 3 slot of
4 lanes, or memory that is not pinned."""
UNTRIED = "the GPU checks have not been run on a machine with a GPU before: doubt them too"
DRIVER_FILE = Path("/proc/driver/nvidia/version")
ASK_DRIVER = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 1 where something is wrong."""
    options = _parse(argv)
    rows = [_row(name, check, options) for name, check in CPU_CHECKS.items()]
    if _has_gpu():
        rows += [_row(name, check, options) for name, check in GPU_CHECKS.items()]
        gpu_half = f"run; {UNTRIED}"
    else:
        gpu_half = f"not run, for want of a GPU: {', '.join(GPU_CHECKS)}"
    found = environment(sorted(os.sched_getaffinity(0)))
    for row in rows:
        print(printable(f"{row['verdict']:>6}  {row['check']}: {row['words']}"))
    print(f"GPU half: {gpu_half}")
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
    missing = [name for name in ("torch", "timm", "accelerate", "simplejpeg") if name not in found]
    if missing:
        return WRONG, f"{', '.join(missing)} missing: pip install -e ."
    return GOOD, ", ".join(f"{name} {version}" for name, version in found.items())


def _cores(_: argparse.Namespace) -> Answer:
    cores, busy = len(os.sched_getaffinity(0)), busy_cores()
    words = f"{cores} for this process, {busy:.1f} kept busy by other programs"
    return (SLOW, f"{words}, so every measurement will be off") if busy > QUIET_CORES else (GOOD, words)


def _memory(_: argparse.Namespace) -> Answer:
    memory = psutil.virtual_memory()
    words = f"{memory.available / 2**30:.1f} GiB available of {memory.total / 2**30:.1f}"
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
        f"{options.folder}: cache {cached:.1f} GB/s, disk reads {disk:.0f} MB/s (after asking the"
        f" system to forget the file), writes {written:.0f} MB/s"
    )
    if cached < MIN_CACHE_GB_S or disk < MIN_DISK_MB_S:
        return SLOW, f"{words}: shards larger than memory will wait for this disk"
    return GOOD, words


def _matrix_products(_: argparse.Namespace) -> Answer:
    import torch

    a, threads = torch.randn(1024, 1024), torch.get_num_threads()
    rate = 2 * 1024**3 / 1e9 / seconds(lambda: a @ a, at_least_s=0.5)
    return (GOOD if rate > 20 * threads else SLOW), f"{rate:.0f} GFLOP/s in float32 with {threads} threads"


def _has_gpu() -> bool:
    """Whether torch finds a GPU; a torch that cannot be imported finds none."""
    try:
        import torch

        return bool(torch.cuda.is_available())
    except Exception:  # whatever a broken installation raises; check_presence reports it
        return False


def driver_version() -> str | None:
    """The version of NVIDIA's driver, from the kernel or else ``nvidia-smi``; None where neither knows one."""
    try:
        text = DRIVER_FILE.read_text(encoding="ascii", errors="replace")
    except OSError:  # missing in some containers, and under Windows
        try:
            text = subprocess.run(ASK_DRIVER, capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return found[0] if found else None


def check_presence(_: argparse.Namespace) -> Answer:
    """Which GPUs there are, or why there is none: no driver, no device, or a torch without CUDA."""
    import torch

    driver = driver_version()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        return GOOD, (
            f"{', '.join(names)}; {free / 2**30:.0f} of {total / 2**30:.0f} GiB free;"
            f" driver {driver or 'of unknown version'}"
        )
    if driver is None:
        return ABSENT, "no NVIDIA driver was found: training and decoding run on the CPU"
    if torch.version.cuda is None:
        return SLOW, f"driver {driver} is there, but this torch is built without CUDA: reinstall it"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return ABSENT, f"driver {driver} is there, CUDA_VISIBLE_DEVICES={hidden!r} shows no device"
    return SLOW, f"driver {driver} is there, but no device can be used: {_why_torch_fails()}"


def _why_torch_fails() -> str:
    """Torch's own reason; it distinguishes a missing device from a driver that is too old."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.init()
    except Exception as error:  # its message is the answer
        return (str(error).splitlines() or [type(error).__name__])[0]
    return "torch gives no reason"


def _driver(_: argparse.Namespace) -> Answer:
    import torch

    torch.ones(1, device="cuda").sum().item()
    return GOOD, f"computes, with CUDA {torch.version.cuda} and driver {driver_version() or 'of unknown version'}"


def _gpu_precision(_: argparse.Namespace) -> Answer:
    from glass.model.precision import resolve_precision

    precision, reason = resolve_precision("auto", "cuda")
    return (GOOD if precision == "bf16" else SLOW), f"{precision} ({reason})"


def _attention(_: argparse.Namespace) -> Answer:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(8, 12, 197, 64, device="cuda", dtype=torch.float16)
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
    except RuntimeError:
        return SLOW, "no flash attention on this GPU: ViTs will take more time and memory"
    return GOOD, "flash attention works"


def _transfer(_: argparse.Namespace) -> Answer:
    import torch

    host = torch.empty(TRANSFER_BYTES, dtype=torch.uint8, pin_memory=True)

    def transfer() -> None:
        host.cuda(non_blocking=True)
        torch.cuda.synchronize()

    transfer()  # allocates
    rate = TRANSFER_BYTES / 1e9 / seconds(transfer)
    return (GOOD if rate > MIN_TRANSFER_GB_S else SLOW), f"{rate:.1f} GB/s from pinned memory"


GPU_CHECKS: dict[str, Check] = {
    "CUDA": _driver,
    "precision": _gpu_precision,
    "fused attention": _attention,
    "GPU decoding": doctor_decoders.check_gpu_decoding,
    "transfers": _transfer,
}
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


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "Checks this machine and reports what is slow or wrong.")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where shards will lie")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the document here")
    options = parser.parse_args(argv)
    check_output(options)
    if not options.folder.is_dir():
        raise InputError(f"--folder {options.folder} is no folder: give one that exists")
    if not os.access(options.folder, os.W_OK):
        raise InputError(f"--folder {options.folder} cannot be written to: give another")
    return options
