"""The parts of ``bench gpu``, in order."""

from bench.gpu_parts.gpu_tests import TESTS
from bench.gpu_parts.loading import LOADER
from bench.gpu_parts.machine import MACHINE
from bench.gpu_parts.part import Part
from bench.gpu_parts.pixels import PIXELS
from bench.gpu_parts.training import COMPILE, MEMORY, TRAINING

__all__ = ["PARTS"]

PARTS: dict[str, Part] = {part.name: part for part in (MACHINE, TESTS, PIXELS, LOADER, TRAINING, MEMORY, COMPILE)}
