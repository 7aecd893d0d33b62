"""Mistakes of a user of ``train.py``: each gets one sentence."""

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext

import pytest

import train
from glass.config.run_config import config_to_dict
from glass.train.run import train as train_run
from shards.errors import InputError
from tests.runs.short_runs import ROOT, arguments, settings

pytestmark = pytest.mark.usefixtures("on_the_cpu")


class TestMistakes:
    """Each mistake is reported with exit code 2 and one sentence, before anything slow happens."""

    def refused(self, words: str, *command: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            train.main(list(command))
        assert "\n" not in str(caught.value)

    def test_nothing_given(self):
        self.refused(r"--data is missing: run glass build SRC OUT, then")

    def test_no_preset_or_output(self, synthetic_shards):
        data = ["--data", str(synthetic_shards)]
        self.refused("give --preset, one of glass_convnext_tiny, ", *data)
        self.refused("give --output", *data, "--preset", "glass_tiny")

    def test_unknown_preset_and_setting(self, synthetic_shards, tmp_path):
        command = ["--data", str(synthetic_shards), "--output", str(tmp_path / "run")]
        self.refused("no preset called 'glas'", *command, "--preset", "glas")
        self.refused("no such setting", *arguments(synthetic_shards, tmp_path / "run", "lr=1"))
        assert not (tmp_path / "run").exists()

    def test_no_data_set(self, tmp_path):
        self.refused("nowhere", *arguments(tmp_path / "nowhere", tmp_path / "run"))

    def test_checkpoints_every_zero_steps(self, synthetic_shards, tmp_path):
        command = arguments(synthetic_shards, tmp_path / "run")
        self.refused("--checkpoint-every 0", *command, "--checkpoint-every", "0")

    def test_views_of_another_size_than_the_shards_hold(self, synthetic_shards, tmp_path):
        """After this mistake, the same folder can be used with the right setting."""
        command = ["--data", str(synthetic_shards), "--preset", "single_view_tiny", "--output", str(tmp_path / "run")]
        command += ["--set", "epochs=1", "--set", "loader.global_batch_size=12", "--set", "cpu_threads=1"]
        self.refused(
            r"global_size=96.*64 pixels: train with --set loader\.global_size=64",
            *command,
            "--set",
            "loader.global_size=96",
        )
        assert not (tmp_path / "run").exists()
        assert train.main(command) == 0

    def test_views_that_a_backbone_does_not_take(self, synthetic_shards, tmp_path):
        """The mistake is reported before a folder is made or weights are fetched."""
        wrong = ["loader.crop_size=40", "model.pretrained=true"]
        self.refused(
            r"crop_size=40 does not fit test_vit.*: 32 and 48 would fit",
            *arguments(synthetic_shards, tmp_path / "run", *wrong),
        )
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("preset", "setting", "accept"),
        [("single_view_tiny", "global", "the backbone accepts"), ("glass_tiny", "local", "both backbones accept")],
    )
    def test_weights_that_are_missing(self, preset, setting, accept, synthetic_shards, tmp_path, monkeypatch):
        """The mistake is reported before a folder is made."""
        said = []
        monkeypatch.setattr("glass.train.run.report_if_slow", lambda what: said.append(what) or nullcontext())
        command = ["--data", str(synthetic_shards), "--preset", preset, "--output", str(tmp_path / "run")]
        weights = tmp_path / "none.pt"
        self.refused(f"{weights} does not exist", *command, "--set", f"model.{setting}_weights={weights}")
        assert not (tmp_path / "run").exists()
        assert said == [f"checking whether {accept} the views"]

    def test_a_split_that_is_not_there(self, synthetic_shards, tmp_path):
        self.refused("calibration", *arguments(synthetic_shards, tmp_path / "run", "valid_split=calibration"))

    def test_a_folder_of_other_files(self, synthetic_shards, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        self.refused("give a new folder as --output$", *arguments(synthetic_shards, tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    @pytest.mark.slow  # a process of its own, which shows that the user does not wait for torch
    @pytest.mark.parametrize("in_the_way", ["a folder of other files", "a file"])
    def test_a_folder_of_other_files_before_torch_is_loaded(self, synthetic_shards, tmp_path, in_the_way):
        (tmp_path / "thesis.txt").write_text("mine")
        output = tmp_path / "thesis.txt" if in_the_way == "a file" else tmp_path
        code = (
            "import sys, train\n"
            "from shards.errors import InputError\n"
            "try: train.main(sys.argv[1:])\n"
            "except InputError as error: print(error)\n"
            "print('torch' in sys.modules)\n"
        )
        command = [sys.executable, "-c", code, *arguments(synthetic_shards, output)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        sentence, loaded = done.stdout.splitlines()
        assert sentence.startswith(str(output))
        assert sentence.endswith("give a new folder as --output")
        assert loaded == "False"
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    def test_the_folder_of_another_run(self, unbroken, synthetic_shards):
        self.refused(
            "holds a run with model.dropout=0.2, not 0.1", *arguments(synthetic_shards, unbroken, "model.dropout=0.1")
        )

    def test_a_checkpoint_of_another_model(self, unbroken, synthetic_shards, tmp_path):
        """The checkpoints were copied into the run's folder by hand. The message names the tensor that does not fit."""
        config = settings("model.attention_dim=32")
        record = json.loads((unbroken / "run.json").read_text()) | {"config": config_to_dict(config), "finished": None}
        (tmp_path / "run.json").write_text(json.dumps(record))
        shutil.copytree(unbroken / "checkpoints", tmp_path / "checkpoints")
        with pytest.raises(InputError, match=r"another model: attention_pool\.score\.0\.weight"):
            train_run(synthetic_shards, config, tmp_path)
