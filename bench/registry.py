"""The registry of benches: maps each name to the module whose ``main`` runs the bench, and to what it measures."""

from dataclasses import dataclass

__all__ = ["BENCHES", "Bench"]


@dataclass(frozen=True)
class Bench:
    """A bench that ``glass bench NAME`` runs."""

    module: str
    """A module with ``main(argv: list[str] | None) -> int``. It is imported only when the bench is run."""
    about: str


BENCHES = {
    "decode": Bench("bench.decode", "decoding images into crops: our loader and alternatives"),
    "loader": Bench("bench.loader", "the loader on existing shards: backends, decode modes, threads"),
    "remote": Bench("bench.remote", "reading shards from a store: in byte ranges and as whole shards"),
    "soak": Bench("bench.soak", "loader and training under injected faults: memory, file handles, rates"),
    "build": Bench("bench.build", "time to build a sample and its entry points, against one full decode"),
    "memory": Bench("bench.memory", "memory and time of a training step, with and without chunks of crops"),
    "train": Bench(
        "bench.train", "where the time of a training step goes, and how close it comes to the loader's rate"
    ),
    "spectrum": Bench("bench.spectrum", "a baseline for detectors: classification by power spectrum alone"),
    "scale": Bench("bench.scale", "opening, shuffling and resuming data sets of 10³ to 10⁷ samples"),
    "doctor": Bench("bench.doctor", "checks this machine, and reports what is slow or wrong"),
    "gpu": Bench("bench.gpu.command", "all GPU measurements, in one command of a few minutes"),
    "all": Bench("bench.all", "runs several benches in turn, and keeps their results as lines of a file"),
    "report": Bench("bench.report", "compares results of machines and commits side by side"),
}
