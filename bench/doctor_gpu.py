"""Checks of ``glass bench doctor``: which GPU is there, and does it compute, decode and transfer data correctly?"""

import argparse
import os
import re
import subprocess
import warnings
from pathlib import Path

from bench.doctor_decoders import ABSENT, GOOD, SLOW, Answer, Check, check_gpu_decoding, seconds

__all__ = ["GPU_CHECKS", "check_presence", "driver_version", "has_gpu"]

TRANSFER_BYTES = 256 << 20
MIN_TRANSFER_GB_S = 5.0
"""Minimum transfer speed in GB/s. Anything below is reported as "slow". Typical causes are a PCIe 3 slot with 4 lanes,
or memory that is not pinned."""
DRIVER_FILE = Path("/proc/driver/nvidia/version")
ASK_DRIVER = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]


def has_gpu() -> bool:
    """Whether torch finds a GPU; False if torch cannot be imported."""
    try:
        import torch

        return bool(torch.cuda.is_available())
    except Exception:  # whatever a broken installation raises; check_presence reports it
        return False


def driver_version() -> str | None:
    """The NVIDIA driver version, read from the kernel or else from ``nvidia-smi``; None if both fail."""
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
    """Reports which GPUs there are, or why there is none: no driver, no device, or a torch built without CUDA."""
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
        return SLOW, f"driver {driver} is installed, but this torch was built without CUDA: install a torch with CUDA"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return ABSENT, f"driver {driver} is installed, but CUDA_VISIBLE_DEVICES={hidden!r} shows no device"
    return SLOW, f"driver {driver} is installed, but no device can be used: {_why_torch_fails()}"


def _why_torch_fails() -> str:
    """Returns torch's own explanation of why it finds no GPU, which shows whether a device is missing or the driver is
    too old."""
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
        return SLOW, "no flash attention on this GPU: ViTs will need more time and memory"
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
    "GPU decoding": check_gpu_decoding,
    "transfers": _transfer,
}
