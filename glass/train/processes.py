"""The processes, devices and precision that a run uses, chosen in one place and said in the log."""

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    parse_flag_from_env,
)

from glass.config.run_config import RunConfig
from glass.model.precision import ACCELERATE_NAMES, resolve_precision
from shards.errors import InputError

__all__ = ["environment", "make_accelerator", "run_device"]

logger = logging.getLogger(__name__)


def run_device() -> torch.device:
    """The GPU, unless there is none or the launcher was told ``use_cpu``."""
    cuda = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    return torch.device("cuda" if cuda else "cpu")


def make_accelerator(config: RunConfig, output: Path) -> tuple[Accelerator, str]:
    """(accelerator, precision) of a run into the folder ``output``.

    Raises ``InputError`` where the device cannot compute in the precision that was asked for.
    """
    cuda = run_device().type == "cuda"
    precision, reason = resolve_precision(config.precision, run_device())
    accelerator = Accelerator(
        # Without this Accelerate does not see the other processes of a run on CPUs: each would
        # train a model of its own.
        cpu=not cuda,
        # Ours, whatever a config file of Accelerate says: the preset decides.
        mixed_precision=ACCELERATE_NAMES[precision],
        # Ours too: Accelerate would divide the loss by a number from its config file.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",  # ``prepared_model`` compiles the backbones
        step_scheduler_with_optimizer=False,  # once per epoch, not once per step and process
        log_with="tensorboard" if config.tensorboard else None,
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
    """What a run runs on, for its record."""
    device = accelerator.device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": precision,
        "world_size": accelerator.num_processes,
        "backend": accelerator.state.backend if accelerator.num_processes > 1 else None,
    }


def _require_all_processes(accelerator: Accelerator) -> None:
    """Processes that do not know of each other would each train a model, in one folder."""
    started = os.environ.get("WORLD_SIZE", "1")
    if started != str(accelerator.num_processes):
        raise InputError(
            f"WORLD_SIZE says {started} processes and Accelerate found {accelerator.num_processes}:"
            " start them with torchrun or accelerate launch, or unset WORLD_SIZE"
        )


def _set_cpu_threads(config: RunConfig) -> None:
    """``config.cpu_threads``, or under a launcher this process's share of the cores.

    ``accelerate launch`` and ``torchrun`` set OMP_NUM_THREADS to 1 where a person has not set it,
    which leaves the other cores idle; started without them, torch's own choice is right.
    """
    if config.cpu_threads is not None:
        torch.set_num_threads(config.cpu_threads)
    elif os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return  # a person's, as launchers know 1 alone
    elif {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & set(os.environ):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max((cores or 1) // local_processes, 1))


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
