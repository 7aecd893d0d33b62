"""The images from which a run has learnt, and the file that records them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glass.config.learnt_ids import LEARNT_FILE, LearntIds, overlap, read_learnt_ids
from glass.config.overrides import apply_overrides
from glass.export.card_file import read_model_card
from glass.export.model_folder import save_model
from glass.model.model import build_model
from glass.presets import load_preset
from glass.report.sentences import learnt_sentence
from glass.share.bundle import bundle_files, write_bundle
from glass.train.run import train
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

TINY = ["epochs=1", "cpu_threads=1", "loader.global_batch_size=12", "tensorboard=false"]


def ids_of(dataset: ShardDataset, split: str) -> np.ndarray:
    return dataset.column("content_id")[dataset.split_rows(split)]


def test_a_run_remembers_what_it_trained_on_and_what_chose_its_epoch(
    synthetic_dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    config = apply_overrides(load_preset("single_view_tiny"), TINY)
    assert train(synthetic_dataset, config, tmp_path)
    sha256 = read_model_card(tmp_path / "model")["weights_sha256"]
    learnt = read_learnt_ids(tmp_path / "model", sha256)
    assert learnt is not None
    assert learnt.is_comparable
    for split, use in (("train", 2), ("valid", 1), ("test", 0)):
        assert (learnt.uses(ids_of(synthetic_dataset, split)) == use).all()
    # A run of before, and one that goes on, of which the file is gone, know it again.
    (tmp_path / LEARNT_FILE).unlink()
    assert read_learnt_ids(tmp_path / "model", sha256) is None
    assert train(synthetic_dataset, config, tmp_path)
    again = read_learnt_ids(tmp_path / "model", sha256)
    assert again is not None
    assert again.content_id.tolist() == learnt.content_id.tolist()


def test_parts_that_a_study_made_are_known_too(synthetic_dataset: ShardDataset) -> None:
    """Studies make their own splits: final runs learn from train and valid together. The ids of images in such splits
    are recorded, too."""
    rows = synthetic_dataset.split_rows("train+valid")
    parts = synthetic_dataset.with_splits({"learnt": rows[2:], "held": rows[:2]})
    learnt = LearntIds.of_splits(parts, "learnt", "held")
    ids = synthetic_dataset.column("content_id")
    assert (learnt.uses(ids[rows[2:]]) == 2).all()
    assert (learnt.uses(ids[rows[:2]]) == 1).all()
    assert not learnt.uses(ids_of(synthetic_dataset, "test")).any()


def test_an_image_that_was_in_both_was_trained_on(synthetic_dataset: ShardDataset) -> None:
    learnt = LearntIds.of_splits(synthetic_dataset, "train+valid", "valid")
    assert overlap(learnt, ids_of(synthetic_dataset, "valid"))["train"] == len(synthetic_dataset.split_rows("valid"))
    assert not learnt.chosen_on.any()


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    ids = np.array([-(2**63), -1, 0, 7, 2**63 - 1])
    LearntIds(ids, np.array([False, True, False, True, False])).write(tmp_path)
    learnt = read_learnt_ids(tmp_path, "w")
    assert learnt is not None
    assert [learnt.use_of(n) for n in [*ids.tolist(), 1]] == ["train", "valid", "train", "valid", "train", ""]
    assert overlap(learnt, [0, 7, 9, 10]) == {"images": 4, "train": 1, "valid": 1}
    assert overlap(None, [1]) is None
    assert not LearntIds(ids[:0], np.zeros(0, bool)).uses([1, 2]).any()


def test_other_kinds_of_ids_are_not_compared() -> None:
    learnt = LearntIds(np.array([1]), np.array([False]), identity="something else")
    assert overlap(learnt, [1]) is None
    assert learnt.use_of(1) is None


def table(ids: list[int], **metadata: str) -> pa.Table:
    schema = pa.schema(
        [pa.field("content_id", pa.int64()), pa.field("chosen_on", pa.bool_())],
        metadata={"format_version": "1", "identity": "pixels"} | metadata,
    )
    return pa.table([pa.array(ids), pa.array([False] * len(ids))], schema=schema)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (b"rubbish", "is damaged"),
        (table([2, 1]), "ids out of order"),
        (table([1, 1]), "ids out of order"),
        (table([1], format_version="9"), "another format version"),
        (table([1], weights_sha256="others"), "belongs to weights other"),
        (table([1]).select(["content_id"]), "other columns"),
        (table([1]).replace_schema_metadata(None), "another format version"),
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, stored: bytes | pa.Table, words: str) -> None:
    path = tmp_path / LEARNT_FILE
    if isinstance(stored, bytes):
        path.write_bytes(stored)
    else:
        pq.write_table(stored, path)
    with pytest.raises(InputError, match=rf"learnt_ids\.parquet.*{words}.*move it away"):
        read_learnt_ids(tmp_path, "w")


def test_an_export_has_it_only_where_that_is_asked(synthetic_dataset: ShardDataset, tmp_path: Path) -> None:
    config = load_preset("single_view_tiny")
    run = tmp_path / "run"
    save_model(run / "model", build_model(config), config, {"epoch": 1})
    with pytest.raises(InputError, match="leave out --with-learnt-ids"):
        bundle_files(run / "model", with_learnt_ids=True)
    learnt = LearntIds.of_splits(synthetic_dataset, "train", "valid")
    learnt.write(run)
    write_bundle(tmp_path / "without", bundle_files(run / "model"))
    assert not (tmp_path / "without" / LEARNT_FILE).exists()
    with_ids = tmp_path / "with"
    write_bundle(with_ids, bundle_files(run / "model", with_learnt_ids=True))
    sha256 = read_model_card(with_ids)["weights_sha256"]
    read = read_learnt_ids(with_ids, sha256)
    assert read is not None
    assert read.content_id.tolist() == learnt.content_id.tolist()
    with pytest.raises(InputError, match="weights other than"):
        read_learnt_ids(with_ids, "others")


def test_sentences() -> None:
    assert learnt_sentence({"images": 9, "train": 0, "valid": 0}) is None
    assert "It is unknown whether" in str(learnt_sentence(None))
    told = str(learnt_sentence({"images": 36, "train": 36, "valid": 0}))
    assert told.startswith("WARNING: 36 of these 36 images were used to train the model")
    assert "were used to choose its epoch" in str(learnt_sentence({"images": 9, "train": 0, "valid": 2}))
