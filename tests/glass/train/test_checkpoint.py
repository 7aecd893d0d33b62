"""Checkpoints and the run's folder: they are written completely or not at all, are checked, and never belong to another
run."""

import json
import os
import resource
import shutil

import pytest
import torch

from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.train.checkpoint import CheckpointStore
from shards.errors import InputError
from tests.machine.killed_at_rename import killed_at_rename

MODEL = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
OPTIMIZER = {"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"lr": 1e-3}]}
TRAINING = {"progress": {"epoch": 1, "history": [{"valid_auroc": None}]}, "random": [(1, 2)]}


def save(store: CheckpointStore, step: int):
    return store.save(step, MODEL | {"step": torch.tensor(step)}, OPTIMIZER, TRAINING)


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in (3, 20, 100):
        save(store, step)
    return store


def names(store):
    return sorted(path.name for path in store.folder.iterdir())


def test_what_is_read_is_what_was_saved(store):
    model, optimizer, training = store.read(store.newest())
    assert model.pop("step") == 100
    assert all(torch.equal(model[name], tensor) for name, tensor in MODEL.items())
    assert optimizer["state"][0]["step"] == 4
    assert optimizer["param_groups"] == OPTIMIZER["param_groups"]
    assert training == TRAINING


def test_the_newest_two_stay(store):
    """Checkpoints are ordered by step, not by name or time."""
    assert names(store) == ["step-00000020", "step-00000100"]
    assert store.newest().name == "step-00000100"


def test_no_checkpoint_is_no_error(tmp_path):
    assert CheckpointStore(tmp_path / "none").newest() is None


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(folder):
    data = bytearray((folder / "optimizer.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "optimizer.pt").write_bytes(data)


def lose_a_file(folder):
    (folder / "training.pt").unlink()


def lose_the_index(folder):
    (folder / "checkpoint.json").unlink()


def spoil_the_index(folder):
    (folder / "checkpoint.json").write_text("[1, 2")


DAMAGES = [cut_short, flip_a_bit, lose_a_file, lose_the_index, spoil_the_index]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(store, damage, caplog):
    damage(store.newest())
    assert store.newest().name == "step-00000020"
    assert "step-00000100 is damaged" in caplog.text


def test_all_damaged_is_said_and_not_taken_for_a_new_run(store):
    for folder in store.folder.iterdir():
        cut_short(folder)
    with pytest.raises(InputError, match=r"every checkpoint in .* is damaged"):
        store.newest()


def test_a_checkpoint_of_another_version_is_refused(store):
    (store.newest() / "checkpoint.json").write_text('{"format_version": 2, "sha256": {}}')
    with pytest.raises(InputError, match="format_version 2"):
        store.newest()


def test_code_in_a_checkpoint_is_not_run(store, tmp_path):
    """Code in a checkpoint is not run even if the checkpoint's hash is right, because files may come from anywhere."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    store.save(200, MODEL, OPTIMIZER, {"progress": Evil()})
    with pytest.raises(InputError, match="step-00000200 cannot be read"):
        store.read(store.newest())
    assert not (tmp_path / "ran").exists()


def test_a_half_written_checkpoint_is_not_seen(store):
    """After a power cut, an incomplete checkpoint still has its temporary name. The next save deletes it."""
    shutil.copytree(store.newest(), store.folder / ".step-00000150.tmp")
    assert store.newest().name == "step-00000100"
    save(store, 150)
    assert names(store) == ["step-00000100", "step-00000150"]


def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(store):
    killed_at_rename(lambda: save(store, 150))
    assert ".step-00000150.tmp" in names(store)
    store.remove_unfinished()
    assert names(store) == ["step-00000020", "step-00000100"]


def test_a_kill_while_an_old_checkpoint_is_deleted_leaves_no_part_of_it(store, monkeypatch):
    """A part of a checkpoint under its final name would count as a damaged checkpoint."""

    def dies(folder, **_):
        if folder.exists():
            (folder / "training.pt").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr("glass.train.checkpoint.shutil.rmtree", dies)
    for step in (100, 150):  # once as the same step's, once as the oldest
        with pytest.raises(KeyboardInterrupt):
            save(store, step)
    monkeypatch.undo()
    store.remove_unfinished()
    assert names(store) == ["step-00000100", "step-00000150"]
    assert store.newest().name == "step-00000150"


@pytest.mark.parametrize("rename", [1, 2, 3])
def test_a_kill_while_a_step_is_saved_again_leaves_it_whole(store, rename):
    killed_at_rename(lambda: save(store, 100), rename)
    store.remove_unfinished()
    assert names(store) == ["step-00000020", "step-00000100"]
    assert store.newest().name == "step-00000100"


def test_after_a_fallback_two_good_ones_stay(store, caplog):
    """A damaged checkpoint is set aside for inspection and does not count as one of the two."""
    save(store, 120)
    flip_a_bit(store.newest())
    assert store.newest().name == "step-00000100"
    assert "damaged-step-00000120" in caplog.text
    save(store, 103)
    save(store, 106)
    assert names(store) == ["damaged-step-00000120", "step-00000103", "step-00000106"]
    save(store, 120)
    flip_a_bit(store.newest())
    assert store.newest().name == "step-00000106"
    assert names(store)[:2] == ["damaged-step-00000120", "damaged-step-00000120-2"]


def test_saving_the_same_step_again_replaces_it(store):
    flip_a_bit(store.newest())
    save(store, 100)
    assert store.newest().name == "step-00000100"


def test_a_full_disk_costs_no_older_checkpoint(store):
    """A limit on file sizes replaces the full disk. In both cases, the system refuses to write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(InputError, match=r"cannot be written .* give another --output"):
            save(store, 300)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(store) == ["step-00000020", "step-00000100"]
    assert store.newest().name == "step-00000100"


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        save(CheckpointStore(tmp_path / "checkpoints"), 1)
    assert (tmp_path / "checkpoints").read_text() == "mine"


DATA = {"name": "demo", "dataset_json_sha256": "a" * 64}


@pytest.fixture
def begun(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.begin(RunConfig(), DATA, {})
    save(CheckpointStore(folder.checkpoints), 1)
    return folder


def changed(**values):
    from glass.config.overrides import apply_overrides

    return apply_overrides(RunConfig(), [f"{key}={value}" for key, value in values.items()])


def test_the_same_run_may_go_on(begun):
    begun.begin(RunConfig(), DATA | {"name": "moved"}, {})
    assert not begun.is_finished(RunConfig(), DATA)
    begun.finish({"best": {"epoch": 2}})
    assert begun.is_finished(RunConfig(), DATA)


def test_settings_that_change_only_the_speed_may_change(begun):
    begun.begin(changed(**{"loader.num_threads": 7, "cpu_threads": 3}), DATA, {})


@pytest.mark.parametrize(
    ("key", "value"), [("epochs", 3), ("optim.lr_head", 0.5), ("loader.num_crops", 9), ("model.kind", "single_view")]
)
def test_another_runs_folder_is_refused_by_name(begun, key, value):
    for act in (begun.begin, lambda config, data, _: begun.is_finished(config, data)):
        with pytest.raises(InputError, match=rf"holds a run with {key}=.*, not '?{value}"):
            act(changed(**{key: value}), DATA, {})


def test_another_data_set_is_refused(begun):
    with pytest.raises(InputError, match=r"another data set \(demo, now else\)"):
        begun.begin(RunConfig(), {"name": "else", "dataset_json_sha256": "b" * 64}, {})
    with pytest.raises(InputError, match=r"another data set \(demo before it was built again\)"):
        begun.begin(RunConfig(), {"name": "demo", "dataset_json_sha256": "b" * 64}, {})


def test_a_run_that_failed_before_its_first_checkpoint_may_begin_anew(tmp_path):
    """After a wrong setting, the same folder can be used with the right one."""
    folder = RunFolder(tmp_path / "run")
    for config in (RunConfig(), changed(epochs=3)):
        with folder.locked():
            folder.begin(config, DATA, {})
    assert folder.record()["config"]["epochs"] == 3


def test_the_settings_of_a_run_that_goes_on_are_left_alone(tmp_path):
    """``run.toml`` is kept byte for byte. If it was deleted, it is written again."""
    folder = RunFolder(tmp_path / "run")
    begin(folder.path)
    settings = folder.path / "run.toml"
    written = settings.read_bytes()
    settings.write_bytes(written + b"# the one for the thesis\n")
    (folder.checkpoints / "step-00000001").mkdir(parents=True)
    with folder.locked():
        folder.begin(changed(max_bad_samples=0.5), DATA, {})
    assert settings.read_bytes() == written + b"# the one for the thesis\n"
    settings.unlink()
    begin(folder.path)
    assert settings.read_bytes() == written


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"), RunFolder(tmp_path).locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def begin(path):
    folder = RunFolder(path)
    with folder.locked():
        folder.begin(RunConfig(), DATA, {})


def test_a_run_killed_while_it_writes_its_first_record_can_begin_again(tmp_path):
    path = tmp_path / "run"
    killed_at_rename(lambda: begin(path))
    (left,) = path.glob(".run.json.*.tmp")
    (path / ".thesis.txt.17.tmp").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        begin(path)
    (path / ".thesis.txt.17.tmp").unlink()
    begin(path)
    assert not left.exists()
    assert sorted(entry.name for entry in path.iterdir()) == [".lock", "run.json", "run.toml"]


def test_what_kills_left_in_a_run_goes_and_nothing_of_others(begun):
    """The temporary files of an evaluation, which may still be running, do not belong to the training run."""
    begun.model.mkdir()
    left = ["metrics.jsonl", "bad_samples.jsonl", "run.json", "model/config.json"]
    others = [".predictions-test.parquet.3.tmp", "model/.calibration.json.3.tmp", "model/notes.tmp"]
    for name in left:
        path = begun.path / name
        path.with_name(f".{path.name}.12345.tmp").write_text("{")
    for name in others:
        (begun.path / name).write_text("mine")
    with begun.locked():
        pass
    found = {str(path.relative_to(begun.path)) for path in begun.path.rglob("*.tmp")}
    assert found == set(others)


def test_who_does_not_get_the_lock_deletes_nothing(begun):
    with begun.locked():
        (begun.path / ".metrics.jsonl.12345.tmp").write_text("{")
        with pytest.raises(InputError, match="another process"), RunFolder(begun.path).locked():
            pass
    assert (begun.path / ".metrics.jsonl.12345.tmp").exists()


def test_a_file_where_the_run_should_be(tmp_path):
    (tmp_path / "run").write_text("mine")
    for path in (tmp_path / "run", tmp_path / "run" / "deeper"):
        with pytest.raises(InputError, match="cannot be created"), RunFolder(path).locked():
            pass


def test_two_runs_in_one_folder_at_once(begun):
    with begun.locked(), pytest.raises(InputError, match="another process is training"), RunFolder(begun.path).locked():
        pass
    with begun.locked():  # and free again afterwards
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 2}'])
def test_a_damaged_record(begun, text):
    (begun.path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json is not the record of a run of this version \(.+\): give"):
        begun.record()


def test_metrics_are_one_line_per_epoch(begun):
    begun.write_metrics([{"epoch": 1}, {"epoch": 2}])
    begun.write_metrics([{"epoch": 1, "valid_auroc": None}])
    lines = (begun.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1, "valid_auroc": None}]
    assert not [name for name in os.listdir(begun.path) if name.endswith(".tmp")]
