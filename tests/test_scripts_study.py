"""The study's commands: what they refuse, and what they do when they are run again."""

from pathlib import Path

import pytest
import torch

from scripts import crop_study, final_runs, study, tune
from shards.command import InputError

COMMANDS = {
    "tune": (tune, ["--preset", "glass_tiny"]),
    "final_runs": (final_runs, ["--preset", "glass_tiny"]),
    "crop_study": (crop_study, ["--preset", "glass_tiny"]),
    "study": (study, []),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_launcher_of_several_processes_is_refused(synthetic_shards, tmp_path, monkeypatch, name):
    monkeypatch.setenv("WORLD_SIZE", "2")
    module, words = COMMANDS[name]
    out = tmp_path / "out"
    with pytest.raises(InputError, match=rf"scripts.{name} is one process and WORLD_SIZE says 2"):
        module.main(["--data", str(synthetic_shards), "--output", str(out), *words])
    assert not out.exists()


@pytest.mark.parametrize(("number", "count", "visible", "gpu"), [
    (1, 2, None, "1"), (3, 2, None, "1"), (1, 1, None, None), (1, 0, "", None),
    (1, 2, "4,5", "5"), (2, 2, "4, 5", "4"), (1, 2, "GPU-a,GPU-b", "GPU-b"), (1, 1, "7", None),
    (2, 2, "0,1,-1,3", "0"),  # CUDA sees those in front of the first that is none
])  # fmt: skip
def test_workers_share_the_gpus_that_are_visible(number, count, visible, gpu):
    assert tune.gpu_of_worker(number, count, visible) == gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_gpu_that_is_not_there_is_told(synthetic_shards, tmp_path: Path, name):
    module, words = COMMANDS[name]
    arguments = ["--data", str(synthetic_shards), "--output", str(tmp_path), *words]
    with pytest.raises(InputError, match="no CUDA device is here"):
        module.main([*arguments, "--device", "cuda"])
