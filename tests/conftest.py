"""Shared fixtures (images, shards built from them, training runs) and the settings under which all tests run."""

import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.manifest.dataset import ShardDataset
from tests.images.coded_images import draw_coded, encode, write_images, write_small_images

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
"""``OMP_NUM_THREADS`` and ``OMP_WAIT_POLICY`` must be set before anything imports torch. Test processes run in
parallel, and some test files spent two thirds of their time on threads that were busy-waiting for each other. Tests of
threads set these variables themselves."""

os.fsync = lambda fd: None
"""Makes syncing do nothing: tests need no protection against a power cut, and syncing took a fifth of the time of some
test files."""

hypothesis.settings.register_profile(
    "any machine",
    hypothesis.settings.default,  # in CI, one with the same examples each time
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")  # how long an example takes says how busy the machine is

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job; some tests send SIGINT
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """Switches garbage collection off while pytest imports the tests. Imports create no garbage, but collections would
    take up a quarter of the import time."""
    gc.disable()


collected: list[int] = []
"""Not empty once a full garbage collection has run since the last test began."""


def note_full_collection(phase: str, found: dict[str, int]) -> None:
    if phase == "stop" and found["generation"] == 2:
        collected.append(1)


def pytest_runtest_setup() -> None:
    """Freezes the objects that survived the last full collection, so that the next one examines only newer objects.

    A full collection, which every trial of ``glass tune`` requests, takes a quarter of a second if it examines
    everything that was imported. Objects are frozen between tests and not within them, because the code under test may
    collect garbage and then search for referrers, as Hypothesis does. Such a search does not find frozen objects.
    """
    if collected:
        collected.clear()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips GPU tests where there is no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch  # takes seconds, which a run without such tests need not spend

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def pytest_collection_finish() -> None:
    """Freezes all imported objects, so that garbage collections skip them, and switches collection on again."""
    gc.freeze()
    gc.callbacks.append(note_full_collection)
    gc.set_threshold(100_000, 20, 50)  # at 10,000 collections took 4 % of the time
    gc.enable()


@pytest.fixture(scope="session")
def coded_image() -> Callable[[int, int, int], np.ndarray]:
    """``coded_image(index, width, height)`` draws an image whose pixels encode ``index`` and their own coordinates."""
    return draw_coded


@pytest.fixture(scope="session")
def encode_image() -> Callable[..., bytes]:
    """``encode_image(pixels, "JPEG", quality=90)`` returns the bytes of an image file."""
    return encode


@pytest.fixture(scope="session")
def synthetic_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 images, ``real/`` and ``generated/gan_*``. The pixels of each image encode its index and their own
    coordinates.

    The index is also the file's name. Do not write into the folder.
    """
    root = tmp_path_factory.mktemp("images")
    write_images(root)
    return root


@pytest.fixture(scope="session")
def synthetic_shards(synthetic_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of ``synthetic_images``: splits train, valid and test, in about seven shards.

    Its global views have 64 × 64 pixels. Do not write into it; copy it first.
    """
    out = tmp_path_factory.mktemp("shards") / "data"
    shares = {"train": 0.5, "valid": 0.25, "test": 0.25}
    settings = BuildSettings(split_shares=shares, samples_per_shard=5, global_size=64)
    build_dataset(synthetic_images, out, settings, progress=False)
    return out


@pytest.fixture(scope="session")
def synthetic_dataset(synthetic_shards: Path) -> ShardDataset:
    """The data set ``synthetic_shards``, opened."""
    return ShardDataset.open(synthetic_shards)


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images of ``small_images`` in ``images`` and the data set that ``tests.images.small_builds``
    builds from them in ``out``. Do not write into it."""
    from tests.images.small_builds import build

    root = tmp_path_factory.mktemp("small")
    write_small_images(root / "images")
    build(root / "images", root / "out")
    return root


@pytest.fixture
def small_copy(small_set: Path, tmp_path: Path) -> Path:
    """A copy of ``small_set`` that a test may change. The same build in it finds nothing left to do."""
    return shutil.copytree(small_set, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def small_images(tmp_path: Path) -> Path:
    """A folder of 16 small JPEGs that a test may alter."""
    write_small_images(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sets the cache of remote shards to an empty folder and returns that folder. Requests use at most 4 connections
    and are tried only once."""
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GLASS_REMOTE_CONNECTIONS", "4")
    monkeypatch.setenv("GLASS_REMOTE_ATTEMPTS", "1")
    return tmp_path / "cache"


@pytest.fixture
def own_shards(synthetic_shards: Path, tmp_path: Path) -> Path:
    """A copy of ``synthetic_shards`` that a test may change."""
    return shutil.copytree(synthetic_shards, tmp_path / "far")


@pytest.fixture(scope="module")
def on_the_cpu() -> Iterator[None]:
    """Keeps training on the CPU even on a machine with a GPU, because tests compare its results exactly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield


@pytest.fixture(scope="session")
def unbroken(synthetic_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short, undisturbed run of ``train.py`` on the CPU. Do not write into it."""
    import train
    from tests.runs.short_runs import arguments

    run = tmp_path_factory.mktemp("runs") / "unbroken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        assert train.main(arguments(synthetic_shards, run)) == 0
    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Matplotlib draw nothing, for tests that do not check the plots themselves. They then take a tenth of the
    time."""
    monkeypatch.setattr("matplotlib.figure.Figure.draw", lambda figure, renderer: None)


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes benches measure the load by other programs for 0.01 s instead of 0.3 s."""
    monkeypatch.setattr("bench.harness.environment.LOOK_S", 0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """``small_disk(kilobytes)`` mounts a file system of this size and returns its folder. Where mounting is not
    permitted, it skips the test."""
    mounted = list[Path]()

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Remounts a ``small_disk`` with the mount ``options``, such as ``size=10m`` or ``ro``."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny preset with crops of 48 pixels and an untrained model. Do not write into it; copy it first."""
    import torch

    from glass.export.model_folder import save_model
    from glass.model.model import build_model
    from glass.presets import load_preset

    folder = tmp_path_factory.mktemp("untrained") / "run"
    torch.manual_seed(0)
    config = load_preset("glass_tiny")
    config = replace(config, loader=replace(config.loader, crop_size=48))
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    return folder


@pytest.fixture(scope="session")
def four_splits(synthetic_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with the splits train, valid, test and calibration, of six images each."""
    out = tmp_path_factory.mktemp("four") / "data"
    shares = {"train": 0.25, "valid": 0.25, "test": 0.25, "calibration": 0.25}
    build_dataset(synthetic_images, out, BuildSettings(split_shares=shares, global_size=64))
    return out


@pytest.fixture(scope="session")
def taught_run(untrained_run: Path, four_splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model has learnt the labels of two splits of ``four_splits``, calibration and test. An untrained
    model cannot be calibrated."""
    from tests.runs.knowing import teach_by_heart

    folder = tmp_path_factory.mktemp("taught") / "run"
    shutil.copytree(untrained_run, folder)
    teach_by_heart(folder, four_splits, "calibration+test", draws=8)
    return folder


@pytest.fixture(scope="module")
def run(untrained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``untrained_run`` that the tests of one module may write into."""
    return shutil.copytree(untrained_run, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def knowing(taught_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``taught_run`` that the tests of one module may write into."""
    return shutil.copytree(taught_run, tmp_path_factory.mktemp("knowing") / "run")


@pytest.fixture(scope="module")
def paths(synthetic_images: Path) -> list[str]:
    """The paths of three real images."""
    from glass.predict.source_paths import find_images

    return [source.name for source in find_images([str(synthetic_images / "real")]).sources[:3]]


@pytest.fixture(scope="module")
def write_run(synthetic_dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``write_run(name)`` writes a new run with made-up predictions and returns its folder; see
    ``tests.runs.made_up_runs``."""
    from tests.runs.made_up_runs import run_writer

    return run_writer(synthetic_dataset, tmp_path_factory)


@pytest.fixture(scope="module")
def runs(write_run: Callable[..., Path], synthetic_dataset: ShardDataset) -> list[Any]:
    """Two runs by ``write_run``, of a skilled and of a guessing model, as the ``RunData`` that a report reads."""
    from tests.runs.made_up_runs import skilled_and_guessing

    return skilled_and_guessing(write_run, synthetic_dataset)


@pytest.fixture(scope="session")
def files(synthetic_images: Path) -> list[Any]:
    """The images of ``synthetic_images``, as the sources that a ``Detector`` takes."""
    from glass.predict.source_paths import find_images

    return list(find_images([str(synthetic_images)]).sources)


@pytest.fixture(scope="session")
def spread_run(tmp_path_factory: pytest.TempPathFactory, files: list[Any]) -> Path:
    """A run whose untrained model gives each of ``files`` a different score. Do not write into it."""
    from tests.runs.spread_runs import make_run, spread_scores

    folder = make_run(tmp_path_factory.mktemp("spread"))
    spread_scores(folder, files)
    return folder


@pytest.fixture(scope="module")
def detector(spread_run: Path) -> Any:
    """The ``Detector`` that is loaded from ``spread_run``, on the CPU."""
    from glass.predict.detector import Detector

    return Detector.from_pretrained(spread_run, device="cpu")


@pytest.fixture(scope="module")
def verdicts(detector: Any, files: list[Any]) -> list[Any]:
    """The verdicts of ``detector`` on ``files``, computed without the stability check."""
    from tests.runs.spread_runs import QUICK

    return list(detector.predict_iter(files, QUICK))
