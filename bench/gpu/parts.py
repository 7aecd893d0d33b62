"""The parts of ``glass bench gpu``, in order."""

from bench.gpu.gpu_tests import TESTS
from bench.gpu.loading import LOADER
from bench.gpu.machine import MACHINE
from bench.gpu.part import Part
from bench.gpu.pixels import PIXELS
from bench.gpu.training import COMPILE, MEMORY, TRAINING

__all__ = ["PARTS"]

PARTS: dict[str, Part] = {part.name: part for part in (MACHINE, TESTS, PIXELS, LOADER, TRAINING, MEMORY, COMPILE)}
