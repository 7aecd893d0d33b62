"""``python -m bench doctor``: is this machine set up to train fast, and what is wrong if not?

Question: which part of the machine or the installation is slow, missing or wrong?
Method: short checks, each with a sentence; none takes more than seconds. Where there is a GPU: its
driver, memory, precision, fused attention, and whether DALI decodes there as it does on the CPU.
The GPU half has not been run on a machine with one yet: take its words with that in mind.

    python -m bench doctor [--folder DIR]
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from bench.arguments import bench_parser
from bench.environment import environment
from bench.schemas import print_result
from shards.command import InputError, printable

__all__ = ["CPU_CHECKS", "GPU_CHECKS", "Answer", "main"]

BENCH = "doctor"
GOOD, SLOW, WRONG, ABSENT = "good", "slow", "wrong", "absent"
FILE_BYTES = 256 << 20
MIN_CACHE_GB_S, MIN_DISK_MB_S, MIN_CPU_DECODE_MP_S = 1.0, 150.0, 60.0
"""Below these the answer is "slow": a page cache, a SATA disk and a core of ten years ago."""
MAX_DECODER_DIFFERENCE = 0
"""DALI and libjpeg-turbo are one decoder on a CPU; nvJPEG rounds otherwise, by this many levels."""
MAX_NVJPEG_DIFFERENCE = 4

Answer = tuple[str, str]
"""(good | slow | wrong | absent, a sentence for people)."""


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 1 where something is wrong."""
    options = _parse(argv)
    rows = [_row(name, check, options) for name, check in CPU_CHECKS.items()]
    if _has_gpu():
        rows += [_row(name, check, options) for name, check in GPU_CHECKS.items()]
    document = {"bench": BENCH, "rows": rows,
                "environment": environment(sorted(os.sched_getaffinity(0)))}  # fmt: skip
    for row in rows:
        print(printable(f"{row['verdict']:>6}  {row['check']}: {row['words']}"))
    if _has_gpu():
        print("The GPU checks have not been tried on a machine with a GPU before: doubt them too.")
    print_result(document, options.output, BENCH)
    return 1 if any(row["verdict"] == WRONG for row in rows) else 0


def _row(
    name: str, check: Callable[[argparse.Namespace], Answer], options: argparse.Namespace
) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        verdict, words = check(options)
    except Exception as error:  # what is broken is what is asked for: say it and go on
        verdict, words = WRONG, f"{type(error).__name__}: {error}".splitlines()[0]
    return {"check": name, "verdict": verdict, "words": words,
            "time_s": round(time.perf_counter() - start, 3)}  # fmt: skip


def _cores(_: argparse.Namespace) -> Answer:
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    words = f"{cores} for this process, load {load:.1f}"
    if load > 0.5 * cores:
        return SLOW, f"{words}: other programs compute here, so every measurement will be off"
    return GOOD, words


def _memory(_: argparse.Namespace) -> Answer:
    import psutil

    memory = psutil.virtual_memory()
    words = f"{memory.available / 2**30:.1f} GiB available of {memory.total / 2**30:.1f}"
    return (GOOD if memory.available > 4 << 30 else SLOW), words


def _libraries(_: argparse.Namespace) -> Answer:
    from glass.versions import installed_versions

    found = installed_versions()
    missing = [name for name in ("torch", "timm", "accelerate", "simplejpeg") if name not in found]
    if missing:
        return WRONG, f"{', '.join(missing)} missing: pip install -e ."
    return GOOD, ", ".join(f"{name} {version}" for name, version in found.items())


def _image() -> tuple[bytes, Any]:
    """A built-in test JPEG (smooth colours and fine texture, 4:2:0) and Pillow's pixels of it."""
    import io

    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:768, 0:1024]
    pixels = np.stack([x // 4, y // 3, (x * 7 + y * 13) % 256], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=2)
    data = buffer.getvalue()
    return data, np.asarray(Image.open(io.BytesIO(data)))


def _cpu_decode(_: argparse.Namespace) -> Answer:
    import numpy as np
    import simplejpeg

    data, expected = _image()
    pixels = simplejpeg.decode_jpeg(data)
    if not np.array_equal(pixels, expected):
        return WRONG, "libjpeg-turbo and Pillow decode a JPEG to different pixels: reinstall both"
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < 0.5:
        simplejpeg.decode_jpeg(data)
        rounds += 1
    rate = rounds * expected.shape[0] * expected.shape[1] / 1e6 / (time.perf_counter() - start)
    words = f"equal to Pillow's, {rate:.0f} megapixels/s on a core"
    if rate < MIN_CPU_DECODE_MP_S:
        return SLOW, f"{words}: under {MIN_CPU_DECODE_MP_S:.0f}, this core is slow or busy"
    return GOOD, words


def _dali(_: argparse.Namespace) -> Answer:
    try:
        import nvidia.dali  # noqa: F401
    except ImportError:
        return ABSENT, "no DALI here (Linux only): decoding by libjpeg-turbo, which needs no GPU"
    data, expected = _image()
    difference = _dali_difference(data, expected, "cpu")
    if difference > MAX_DECODER_DIFFERENCE:
        return WRONG, f"DALI on the CPU differs from Pillow by up to {difference} grey levels"
    return GOOD, "decodes on the CPU to the same pixels as Pillow"


def _dali_difference(data: bytes, expected: Any, device: str) -> int:
    """The largest difference in grey levels between DALI's pixels and ``expected``."""
    import numpy as np
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=1, num_threads=1, device_id=0 if device == "gpu" else None)
    def pipeline() -> Any:
        encoded = fn.external_source(lambda: [np.frombuffer(data, np.uint8)], dtype=types.UINT8)
        return fn.decoders.image(encoded, device="mixed" if device == "gpu" else "cpu")

    built = pipeline()
    built.build()
    (output,) = built.run()
    pixels = np.asarray((output.as_cpu() if device == "gpu" else output).at(0))
    return int(np.abs(pixels.astype(int) - expected.astype(int)).max())


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

    start = time.perf_counter()
    a = torch.randn(1024, 1024)
    for _ in range(10):
        a = (a @ a) * 1e-3
    rate = 10 * 2 * 1024**3 / (time.perf_counter() - start) / 1e9
    words = f"{rate:.0f} GFLOP/s in float32 with {torch.get_num_threads()} threads"
    return (GOOD if rate > 20 * torch.get_num_threads() else SLOW), words


def _gpu_presence(_: argparse.Namespace) -> Answer:
    import torch

    if not torch.cuda.is_available():
        reason = "this torch is built without CUDA" if torch.version.cuda is None else (
            "no device or no driver: training and decoding run on the CPU"
        )  # fmt: skip
        return ABSENT, reason
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    free, total = torch.cuda.mem_get_info()
    return GOOD, f"{', '.join(names)}; {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"


def _gpu_driver(_: argparse.Namespace) -> Answer:
    import torch

    torch.ones(1, device="cuda").sum().item()
    return GOOD, f"computes, with CUDA {torch.version.cuda}"


def _gpu_precision(_: argparse.Namespace) -> Answer:
    from glass.precision import resolve_precision

    precision, reason = resolve_precision("auto", "cuda")
    return (GOOD if precision == "bf16" else SLOW), f"{precision} ({reason})"


def _gpu_attention(_: argparse.Namespace) -> Answer:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(8, 12, 197, 64, device="cuda", dtype=torch.float16)
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
    except RuntimeError:
        return SLOW, "no flash attention on this GPU: ViTs will take more time and memory"
    return GOOD, "flash attention works"


def _gpu_decode(_: argparse.Namespace) -> Answer:
    data, expected = _image()
    difference = _dali_difference(data, expected, "gpu")
    words = f"nvJPEG differs from libjpeg-turbo by up to {difference} grey levels"
    if difference > MAX_NVJPEG_DIFFERENCE:
        return WRONG, f"{words}, more than rounding: train and predict with the same decoder"
    return GOOD, words


def _gpu_transfer(_: argparse.Namespace) -> Answer:
    import torch

    host = torch.empty(256 << 20, dtype=torch.uint8, pin_memory=True)
    host.cuda()
    torch.cuda.synchronize()
    start = time.perf_counter()
    host.cuda(non_blocking=True)
    torch.cuda.synchronize()
    rate = host.numel() / 1e9 / (time.perf_counter() - start)
    return (GOOD if rate > 5 else SLOW), f"{rate:.1f} GB/s from pinned memory"


CPU_CHECKS: dict[str, Callable[[argparse.Namespace], Answer]] = {
    "libraries": _libraries, "cores": _cores, "memory": _memory, "JPEG decoding": _cpu_decode,
    "DALI": _dali, "disk and page cache": _page_cache, "matrix products": _model_step,
    "GPU": _gpu_presence,
}  # fmt: skip
GPU_CHECKS: dict[str, Callable[[argparse.Namespace], Answer]] = {
    "CUDA": _gpu_driver, "precision": _gpu_precision, "fused attention": _gpu_attention,
    "GPU decoding": _gpu_decode, "transfers": _gpu_transfer,
}  # fmt: skip


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "Checks this machine and says in words what is slow or wrong.")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where shards will lie")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the document here")
    options = parser.parse_args(argv)
    if not os.access(options.folder, os.W_OK):
        raise InputError(f"--folder {options.folder} cannot be written to: give another")
    return options
