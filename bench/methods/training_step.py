"""The measured process of ``glass bench memory``: finds the memory use of a preset's training step, then times further
steps."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from bench.harness.task import Method, Task
from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.memory.process_peak import ProcessPeak
from glass.presets import load_preset
from glass.train.counted_step import COUNTED_BY_SHAPES, Step, without_numbers

__all__ = ["TrainingStep", "step_config"]


def step_config(options: dict[str, str], num_crops: int, threads: int) -> RunConfig:
    """Returns the settings to measure: those of ``options["preset"]`` with the given batch size, crop count, chunk
    size, precision and thread count, and with the changes in ``options["set"]``."""
    config = apply_overrides(
        load_preset(options["preset"]),
        [
            "model.pretrained=false",  # weight values do not affect memory
            f"loader.num_crops={num_crops}",
            f"loader.global_batch_size={options['batch_size']}",
            f"model.crop_chunk={options['crop_chunk']}",
            f"precision={options['precision']}",
            f"cpu_threads={threads}",
            *filter(None, options.get("set", "").split("\n")),
        ],
    )
    return replace(config, grad_accum_steps=1).untracked()


class TrainingStep(Method):
    """The method that the harness runs: it finds the memory use of a step during warm-up, and each pass is one training
    step."""

    def __init__(self, task: Task) -> None:
        self.config = step_config(task.options, task.num_crops, task.threads)
        self.by_shapes = task.options["count"] == "shapes"
        self._fake = FakeTensorMode()
        with self._mode():
            self.step = Step(self.config)
        self.figures: dict[str, Any] = {}

    def warm_up(self) -> float:
        """Finds the memory use of one step. Returns the seconds that the step took."""
        start = time.perf_counter()
        if self.by_shapes:
            with self._mode():
                self.figures = self.step.count_by_storages()
        elif self.step.device.type == "cuda":
            self.step.take()  # the first step chooses kernels and makes workspaces
            start = time.perf_counter()
            self.figures = self.step.count_by_allocator()
        else:
            self.figures = self.step.count_by_storages(ProcessPeak())
        return time.perf_counter() - start

    def _mode(self) -> AbstractContextManager[None]:
        """Context manager: if memory is to be computed from shapes, tensors created inside have shapes and storage
        sizes but no values."""
        return without_numbers(self._fake) if self.by_shapes else nullcontext()

    def run(self) -> int:
        """Runs the ``passes`` training steps of a turn. Returns the number of images processed."""
        for _ in range(self.passes):
            self.step.take()
        return self.passes * self.config.loader.global_batch_size

    def report(self) -> dict[str, Any]:
        """Returns all memory figures by name, in bytes, and also how they were obtained, the device, the precision and
        the image sizes."""
        return self.step.described(self.figures, COUNTED_BY_SHAPES if self.by_shapes else None)
