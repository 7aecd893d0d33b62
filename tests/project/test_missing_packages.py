"""Without DALI, webdataset, simplejpeg, jpeglib, isal and optuna, shards that were built elsewhere can be trained on
and scored. A command that needs one of these packages says so."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from loaders import LoaderConfig, build_loader
from loaders.decode import choose
from loaders.decode.reference import ReferenceDecoder
from loaders.decode.torchvision_jpeg import TorchvisionDecoder
from shards.errors import InputError
from tests.machine import without_packages
from tests.machine.lean_machine import lean_python, needed_by
from tests.machine.without_packages import HIDDEN

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = frozenset({"nvidia-dali-cuda130", "webdataset", "simplejpeg", "jpeglib", "isal", "optuna"})
SENTENCES = {
    "dali": "loader.backend='dali' needs the package nvidia.dali",
    "build": "building shards needs the package webdataset",
    "tune": "a search over settings needs the package optuna",
}


def dependencies() -> list[str]:
    """Returns the project's dependencies as requirement strings."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def outcome(command: list[str | Path], *words: str | Path) -> dict:
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["loaded"] == []
    for name, (code, said) in found["steps"].items():
        assert code == (2 if name in SENTENCES else 0), (name, said)
        assert said.startswith(SENTENCES.get(name, ""))
    return found["steps"]


def check_log(steps: dict) -> None:
    logged = steps["train"][1]
    assert "isal is not installed: zlib computes" in logged
    assert (
        "simplejpeg is not installed, so torchvision's libjpeg-turbo decodes instead: the pixels are the same" in logged
    )


def test_only_their_own_modules_import_them():
    """Only the modules listed here import the optional packages when they are loaded; all others import them inside
    functions. A listed module is imported only where its decoder, the search, or the build's worker processes are used.
    Benches are exempt, because they compare libraries."""
    importing = set()
    for path in (
        path for package in ("shards", "loaders", "glass", "scripts") for path in (ROOT / package).rglob("*.py")
    ):
        text = path.read_text("utf-8")
        for node in ast.parse(text).body if any(hidden in text for hidden in HIDDEN) else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            if any(name == hidden or name.startswith(f"{hidden}.") for name in names for hidden in HIDDEN):
                importing.add(str(path.relative_to(ROOT)))
    search = {"search.py", "search_optuna.py", "search_store.py"}
    own = {"loaders/decode/turbo.py", "loaders/decode/dali.py", "shards/build/preloaded.py"}
    assert importing == own | {f"glass/studies/{name}" for name in search}


@pytest.mark.parametrize(("step", "package"), [("dali", "nvidia.dali"), ("build", "webdataset"), ("tune", "optuna")])
def test_what_needs_one_says_so(step, package, synthetic_shards, synthetic_images, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setitem(sys.modules, package, None)  # which makes importing it fail, as if it were not there
    command = without_packages.steps(str(synthetic_shards), str(synthetic_images), tmp_path)[step]
    with pytest.raises(InputError, match="^" + re.escape(SENTENCES[step])):
        command()


@pytest.mark.slow  # a process of its own, which trains
def test_what_works_without_them(synthetic_shards, synthetic_images, tmp_path):
    """Commands that do not need the packages work while every import of them is refused; the others fail with an error
    that names the package."""
    refusing = [sys.executable, "-m", "tests.machine.without_packages", "--refuse"]
    steps = outcome(refusing, synthetic_shards, synthetic_images, tmp_path)
    assert {"train", "evaluate", "predict", *SENTENCES} == steps.keys()
    check_log(steps)


@pytest.mark.slow
def test_what_works_in_an_environment_without_them(synthetic_shards, synthetic_images, tmp_path):
    """Commands that do not need the optional packages work in an environment that has only the project's other
    dependencies."""
    python = lean_python(tmp_path, needed_by(*dependencies(), without=DISTRIBUTIONS))
    for name in HIDDEN:
        probe = f"import importlib.util as u\ntry: print(u.find_spec({name!r}))\nexcept ImportError: print(None)"
        assert subprocess.run([python, "-c", probe], capture_output=True, text=True).stdout == "None\n"
    command = [python, "-m", "tests.machine.without_packages"]
    check_log(outcome(command, synthetic_shards, synthetic_images, tmp_path / "out"))


@pytest.mark.parametrize("exact", [True, False])
def test_without_simplejpeg_torchvision_decodes_where_its_pixels_are_equal(monkeypatch, caplog, exact):
    """Without simplejpeg, torchvision decodes if its pixels are equal; otherwise Pillow does. A log message says
    which."""
    choose._instead_of_simplejpeg.cache_clear()
    monkeypatch.setattr(choose, "is_installed", lambda name: False)
    if not exact:
        real = TorchvisionDecoder.decode

        def inexact(self, jobs, crops):
            failures = real(self, jobs, crops)
            crops[:, 0, 0] ^= 1
            return failures

        monkeypatch.setattr(TorchvisionDecoder, "decode", inexact)
    decoder = choose.choose_host_decoder("turbo")
    choose._instead_of_simplejpeg.cache_clear()
    assert type(decoder) is (TorchvisionDecoder if exact else ReferenceDecoder)
    assert ("the pixels are the same" if exact else "Pillow decodes instead: it is slower") in caplog.text


def test_nvjpeg_is_taken_on_a_gpu_without_dali(monkeypatch, caplog):
    """Without DALI, nvJPEG decodes on a GPU. This is logged once, and recorded with the model, because its pixels may
    differ."""
    on_gpu = LoaderConfig(device="cuda")
    choose._gpu_backend.cache_clear()
    monkeypatch.setattr(choose, "optional", lambda name: None)
    assert choose.inexact_decoder(on_gpu) == "nvJPEG of torchvision of unknown version"
    assert choose.inexact_decoder(LoaderConfig(device="cuda", backend="turbo")) is None
    assert choose.inexact_decoder(LoaderConfig()) is None
    assert caplog.text.count("torchvision's nvJPEG decodes instead") == 1
    choose._gpu_backend.cache_clear()


@pytest.mark.parametrize("split", ["train", "valid+test"])
def test_batches_of_torchvision_equal_those_of_libjpeg_turbo(synthetic_shards, split):
    """torchvision and libjpeg-turbo give equal batches when run through the whole loader, with spliced windows and with
    whole images. torchvision runs the code path for a GPU here, but on the CPU."""
    config = LoaderConfig(global_batch_size=4, crop_size=48, global_size=64, decode="window")
    batches = []
    for backend in ("nvjpeg", "turbo"):
        with build_loader(synthetic_shards, split, LoaderConfig(**(vars(config) | {"backend": backend}))) as loader:
            batches.append(list(loader))
            assert loader.stats()["windowed"] > 0
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one["local_crops"], other["local_crops"])
        assert np.array_equal(one["is_valid"], other["is_valid"])
