"""Sets up a run's processes, devices and precision, and handles the two ways in which its processes end early.

On a signal from the cluster or the keyboard, the run finishes its current step, saves a checkpoint and stops. If one
process dies or hangs, the others must end too, since every step sums the gradients from all processes. They notice at
the next exchange: at once if the connection breaks, or after ``process_timeout_s`` if the process hangs.
"""

import logging
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    parse_flag_from_env,
)

from glass.config.run_config import RunConfig
from glass.model.precision import ACCELERATE_NAMES, resolve_precision
from shards.cores import usable_cores
from shards.errors import InputError

__all__ = ["StopSignal", "any_process", "end_at_once", "environment", "lost_process", "make_accelerator", "run_device"]

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
HEARD = b"\nstopping after this step, with a checkpoint; press Ctrl-C again to stop at once, without a checkpoint\n"
_SIGNS = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "connection refused",
    "timed out waiting",
    "wait timeout",
    "socket timeout",
    "nccl",
    "gloo",
    "tcpstore",
)
"""Substrings in torch.distributed error messages that mean another process is gone."""


def run_device() -> torch.device:
    """The GPU, or the CPU if there is no GPU or the launcher sets ``use_cpu``."""
    cuda = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    return torch.device("cuda" if cuda else "cpu")


def make_accelerator(config: RunConfig, output: Path) -> tuple[Accelerator, str]:
    """Returns (accelerator, precision) for the run in the folder ``output``.

    Raises ``InputError`` if the device does not support the configured precision, or if Accelerate does not see all
    processes that were started.
    """
    cuda = run_device().type == "cuda"
    precision, reason = resolve_precision(config.precision, run_device())
    # Accelerate refuses another precision in the same process, but a search may try several.
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != ACCELERATE_NAMES[precision]:
        AcceleratorState._reset_state()
    accelerator = Accelerator(
        # Without this, Accelerate does not see the other processes of a run on CPUs, and each would train a separate
        # model.
        cpu=not cuda,
        # The preset decides, not an Accelerate config file.
        mixed_precision=ACCELERATE_NAMES[precision],
        # Accelerate would divide the loss by a number from its config file.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",  # ``prepared_model`` compiles the backbones
        step_scheduler_with_optimizer=False,  # once per epoch, not once per step and process
        project_dir=str(output),
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=timedelta(seconds=config.process_timeout_s)),
        ],
    )
    _require_all_processes(accelerator)
    if not cuda:
        _set_cpu_threads(config)
    _log_setup(config, accelerator, precision, reason)
    return accelerator, precision


def environment(accelerator: Accelerator, precision: str) -> dict[str, Any]:
    """Returns the device, precision, number of processes and communication backend, for the run's record."""
    device = accelerator.device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": precision,
        "world_size": accelerator.num_processes,
        "backend": accelerator.state.backend if accelerator.num_processes > 1 else None,
    }


def any_process(accelerator: Accelerator, wish: bool) -> bool:
    """Whether ``wish`` is true on any process; all processes get the same result."""
    flag = torch.tensor(float(wish), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum").item())


def _require_all_processes(accelerator: Accelerator) -> None:
    """Raises ``InputError`` if Accelerate does not see exactly the processes that were started.

    Without this check, each process would train a separate model, all in one folder.
    """
    started = os.environ.get("WORLD_SIZE", "1")
    if started != str(accelerator.num_processes):
        raise InputError(
            f"WORLD_SIZE is {started}, but Accelerate found {accelerator.num_processes} processes: start them with "
            "torchrun or accelerate launch, or unset WORLD_SIZE"
        )


def _set_cpu_threads(config: RunConfig) -> None:
    """Sets torch's thread count to ``config.cpu_threads`` or, if that is None and a launcher started the process, to
    the process's share of the cores.

    ``accelerate launch`` and ``torchrun`` set OMP_NUM_THREADS to 1 if the user has not set it, which would leave the
    other cores idle. Any other value was set by the user and is respected. Without a launcher, torch's own choice is
    kept.
    """
    if config.cpu_threads is not None:
        torch.set_num_threads(config.cpu_threads)
    elif os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return  # set by a person: launchers set 1
    elif {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & set(os.environ):
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(usable_cores() // local_processes, 1))


def _log_setup(config: RunConfig, accelerator: Accelerator, precision: str, reason: str) -> None:
    def count(number: int, word: str) -> str:
        return f"{number} {word}" + ("" if number == 1 else "es" if word == "process" else "s")

    processes = accelerator.num_processes
    if accelerator.device.type == "cpu":
        device = f"cpu with {count(torch.get_num_threads(), 'thread')}"
    else:
        device = torch.cuda.get_device_name(accelerator.device)
    backend = f" over {accelerator.state.backend}" if processes > 1 else ""
    logger.info(
        "%s on %s: %s (%s), %s%s",
        config.preset or config.model.kind,
        device,
        precision,
        reason,
        count(processes, "process"),
        backend,
    )
    micro, steps = config.loader.global_batch_size, config.grad_accum_steps
    logger.info(
        "batch %d = %s of %d, %d per process", micro * steps, count(steps, "micro-step"), micro, micro // processes
    )


class StopSignal:
    """Context manager: the first SIGTERM, SIGUSR1 or SIGINT only sets :attr:`received`; the same signal again has its
    usual effect.

    The three signals are handled independently: clusters may warn a job with one and end it with another, which must
    not interrupt the checkpoint written in response to the first. Enter the context in the main thread, and only around
    code that checks :attr:`received`.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the first signal received, or None."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        # A script's background jobs ignore SIGINT, and must keep ignoring it.
        heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number).name
        signal.signal(number, self._before[number])
        if number == signal.SIGINT and os.environ.get("RANK", "0") == "0":
            with suppress(OSError, ValueError, AttributeError):
                # Not through Python's buffers: the signal may have interrupted a write to them.
                os.write(sys.stderr.fileno(), HEARD)


def lost_process(error: BaseException, timeout_s: float) -> str | None:
    """Returns a message for the user if ``error`` means that another process was lost, else None."""
    if not isinstance(error, RuntimeError):  # all torch.distributed errors are
        return None
    text = " ".join(str(error).split())
    if not any(sign in text.lower() for sign in _SIGNS):
        return None
    return (
        f"another process of this run ended, or did not respond within process_timeout_s={timeout_s:g} seconds: check "
        f"its log, then run the same command again to continue from the last checkpoint ({text[:160]})"
    )


def end_at_once(message: str, code: int) -> NoReturn:
    """Prints ``message`` and exits at once, without cleanup, because threads still wait for the lost process."""
    rank = os.environ.get("RANK", "0")
    sys.stdout.flush()
    sys.stderr.write(f"error: process {rank}: {message}\n")
    sys.stderr.flush()
    os._exit(code)
