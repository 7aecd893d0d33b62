"""Properties of the loader on real shards: the same windows, the same pixels, and the same batches after a resume."""

import shutil
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from loaders import LoaderConfig, build_loader
from loaders.windows.sampling import SAMPLING_RULES, SamplingRule
from shards.errors import InputError
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset

CONFIG = LoaderConfig(backend="turbo", global_batch_size=4, num_crops=3, crop_size=48, global_size=64, seed=606)
BACKENDS = ["reference", "turbo", "dali"]


def in_default_tier(*quick, decodes=("full", "window")):
    """Parametrises ``backend`` and ``decode`` by all pairs, of which only those of ``quick`` run by default. That all
    pairs give equal batches is tested below, and in ``test_golden``."""
    pairs = [(backend, decode) for backend in BACKENDS for decode in decodes]
    marked = [pair if pair in quick else pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs]
    return pytest.mark.parametrize(("backend", "decode"), marked)


def epoch(data, config=CONFIG, *, split="train", number=0, rank=0, world_size=1):
    """Returns all batches of one epoch on one rank. They stay valid after the loader is closed."""
    with build_loader(data, split, config, rank, world_size) as loader:
        loader.set_epoch(number)
        return list(loader)


def same(first, second):
    """Whether two batches are equal in every key, to the bit."""
    return first["sample_key"] == second["sample_key"] and all(
        torch.equal(value, second[key]) for key, value in first.items() if key != "sample_key"
    )


def test_batch_contract(synthetic_shards):
    """Batches have the keys, shapes, types and memory layout that ``loaders.batch`` documents."""
    batch = epoch(synthetic_shards)[0]
    shapes = {
        "global_view": ((4, 3, 64, 64), torch.uint8),
        "local_crops": ((4, 3, 3, 48, 48), torch.uint8),
        "crop_mask": ((4, 3), torch.bool),
        "label": ((4,), torch.int64),
        "crop_windows": ((4, 3, 4), torch.int32),
        "content_id": ((4,), torch.int64),
        "is_valid": ((4,), torch.bool),
    }
    assert set(batch) == {*shapes, "sample_key"}
    for key, (shape, dtype) in shapes.items():
        assert tuple(batch[key].shape) == shape
        assert batch[key].dtype == dtype
    assert batch["global_view"].is_contiguous(memory_format=torch.channels_last)
    assert batch["local_crops"].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert len(batch["sample_key"]) == 4


@in_default_tier(("reference", "full"), ("turbo", "window"), decodes=("full", "window", "auto"))
def test_pixels_and_facts_are_the_manifests(synthetic_shards, backend, decode):
    """Crops equal the reference decode of the stored image, cut at the windows. Labels and content ids equal the
    manifest's."""
    dataset = ShardDataset.open(synthetic_shards)
    rows = {key: row for row, key in enumerate(dataset.column("sample_key"))}
    tars = {name: dataset.shard_path(name).read_bytes() for name in set(dataset.column("shard"))}
    columns = {name: dataset.column(name) for name in ("shard", "image_offset", "image_length", "label", "content_id")}
    for batch in epoch(synthetic_shards, replace(CONFIG, backend=backend, decode=decode)):
        for place, key in enumerate(batch["sample_key"]):
            row = rows[key]
            start = columns["image_offset"][row]
            stored = tars[columns["shard"][row]][start : start + columns["image_length"][row]]
            image = decode_rgb(stored)
            assert batch["label"][place] == columns["label"][row]
            assert batch["content_id"][place] == columns["content_id"][row]
            for k in range(3):
                top, left, height, width = batch["crop_windows"][place, k].tolist()
                expected = np.zeros((48, 48, 3), np.uint8)
                expected[:height, :width] = image[top : top + height, left : left + width]
                got = batch["local_crops"][place, k].permute(1, 2, 0).numpy()
                assert (got == expected).all()


@pytest.mark.parametrize("backend", [pytest.param("reference", marks=pytest.mark.slow), "turbo", "dali"])
def test_window_mode_splices_what_it_can_and_counts_the_rest(synthetic_shards, backend):
    """Every sample is spliced, read by tiles, or counted with the reason why it was not, and each stage records its
    time."""
    dataset = ShardDataset.open(synthetic_shards)
    rows = dataset.split_rows("train")
    tiled = dataset.column("stored_as")[rows] == "tiled"
    by_windows = (dataset.column("mcu_length")[rows] > 0) | tiled
    config = replace(CONFIG, backend=backend, decode="window", global_batch_size=1)
    with build_loader(dataset, "train", config) as loader:
        for _ in loader:
            pass
        stats = loader.stats()
    assert stats["windowed"] == by_windows.sum() > tiled.sum() > 0
    assert stats.get("full", 0) == len(rows) - by_windows.sum()
    reasons = dataset.column("not_indexable")[rows][~by_windows]
    assert stats["fallback"] == {reason: (reasons == reason).sum() for reason in set(reasons)}
    assert all(stats[name] > 0 for name in ("read_s", "splice_s", "decode_s", "wait_s"))


def test_entry_points_of_another_file_are_noticed(synthetic_shards, tmp_path):
    """Entry points that do not fit the image cost a full decode and are counted. The pixels stay right."""
    damaged = tmp_path / "shards"
    shutil.copytree(synthetic_shards, damaged)
    dataset = ShardDataset.open(damaged)
    names = ("shard", "mcu_offset", "mcu_length")
    shard, offset, length = (dataset.column(name) for name in names)
    for row in range(len(dataset)):
        path = dataset.shard_path(shard[row])
        data = bytearray(path.read_bytes())
        if length[row]:
            data[offset[row] + 12 : offset[row] + 16] = b"oops"
            path.write_bytes(data)
    config = replace(CONFIG, decode="window")
    with build_loader(damaged, "train", config) as loader:
        batches = list(loader)
        tiled = dataset.column("stored_as")[dataset.split_rows("train")] == "tiled"
        assert loader.stats()["windowed"] == tiled.sum()
        assert loader.stats()["fallback"]["damaged entry points"] > 0
    assert all(same(a, b) for a, b in zip(epoch(synthetic_shards), batches, strict=True))


@in_default_tier(("turbo", "full"))
def test_crops_that_a_rule_leaves_out_are_blank(synthetic_shards, backend, decode, monkeypatch):
    """Where a rule gives fewer than N windows, the remaining crops are masked and zero, and the others are not
    affected."""

    def only_the_first(*arguments):
        windows, mask = SAMPLING_RULES["stratified_grid"].place(*arguments)
        mask[:, 1:] = False
        return windows, mask

    monkeypatch.setitem(SAMPLING_RULES, "first", SamplingRule(only_the_first))
    config = replace(CONFIG, backend=backend, decode=decode)
    for some, every in zip(
        epoch(synthetic_shards, replace(config, sampling="first")), epoch(synthetic_shards, config), strict=True
    ):
        assert torch.equal(some["local_crops"][:, 0], every["local_crops"][:, 0])
        assert some["crop_mask"].tolist() == [[True, False, False]] * 4
        assert not some["local_crops"][:, 1:].any()
        assert not some["crop_windows"][:, 1:].any()


@in_default_tier(("turbo", "window"))
def test_an_image_without_crops_keeps_its_view_and_is_checked(synthetic_shards, tmp_path, backend, decode, monkeypatch):
    """A rule may give an image no window at all. Even then, a file that cannot be decoded is noticed."""

    def nowhere(*arguments):
        windows, mask = SAMPLING_RULES["stratified_grid"].place(*arguments)
        return windows, np.zeros_like(mask)

    monkeypatch.setitem(SAMPLING_RULES, "nowhere", SamplingRule(nowhere))
    damaged = shutil.copytree(synthetic_shards, tmp_path / "shards")
    dataset = ShardDataset.open(damaged)
    rows = dataset.split_rows("train")
    tiled = dataset.column("stored_as")[rows] == "tiled"
    broken = {int(rows[np.flatnonzero(kind)[0]]) for kind in (tiled, dataset.column("mcu_length")[rows] > 0)}
    for row in broken:
        start = int(dataset.column("image_offset")[row])
        with dataset.shard_path(dataset.column("shard")[row]).open("r+b") as file:
            file.seek(start)
            file.write(bytes(64))
    keys = {dataset.column("sample_key")[row] for row in broken}
    config = replace(CONFIG, backend=backend, decode=decode, verify="off")
    for some, every in zip(
        epoch(damaged, replace(config, sampling="nowhere")), epoch(synthetic_shards, config), strict=True
    ):
        assert not some["crop_mask"].any()
        assert not some["local_crops"].any()
        for place, key in enumerate(some["sample_key"]):
            assert bool(some["is_valid"][place]) == (key not in keys)
            view = some["global_view"][place]
            assert not view.any() if key in keys else torch.equal(view, every["global_view"][place])


@pytest.mark.parametrize(
    ("backend", "threads"),
    [
        ("dali", 3),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)  # test_augment compares turbo with the reference, too
            for pair in (*((name, 1) for name in BACKENDS), ("reference", 3), ("turbo", 3))
        ),
    ],
)
def test_batches_do_not_depend_on_backend_or_threads(synthetic_shards, backend, threads):
    expected = epoch(synthetic_shards, replace(CONFIG, backend="reference", num_threads=1))
    config = replace(CONFIG, backend=backend, num_threads=threads, prefetch_batches=threads)
    got = epoch(synthetic_shards, config)
    assert all(same(a, b) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize(
    "world_size",
    [7, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 2, 3, 4, 5, 6))],  # test_order draws all of them
)
def test_every_sample_once_over_all_ranks(synthetic_shards, world_size):
    """In the whole pipeline, for 1 to 7 processes, each sample appears once and all ranks take equally many steps."""
    config = replace(CONFIG, global_batch_size=2 * world_size)
    ranks = [epoch(synthetic_shards, config, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    seen = [
        key
        for batches in ranks
        for batch in batches
        for key, valid in zip(batch["sample_key"], batch["is_valid"], strict=True)
        if valid
    ]
    dataset = ShardDataset.open(synthetic_shards)
    expected = dataset.column("sample_key")[dataset.split_rows("train")]
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("consumed", [pytest.param(0, marks=pytest.mark.slow), 1, 3])
def test_resume_gives_the_same_next_batch(synthetic_shards, consumed):
    """The saved state is the position of the consumer: batches that were only prefetched are delivered again."""
    straight = epoch(synthetic_shards, number=2)
    with build_loader(synthetic_shards, "train", CONFIG) as loader:
        loader.set_epoch(2)
        iterator = iter(loader)
        for _ in range(consumed):
            next(iterator)
        state = loader.state_dict()
    with build_loader(synthetic_shards, "train", CONFIG) as resumed:
        resumed.load_state_dict(state)
        rest = list(resumed)
        assert len(rest) == len(straight) - consumed
        assert all(same(a, b) for a, b in zip(straight[consumed:], rest, strict=True))
        assert all(same(a, b) for a, b in zip(straight, list(resumed), strict=True))


def test_resume_on_another_number_of_ranks(synthetic_shards):
    """Two processes that load the state of one process together give the same global batches."""
    straight = epoch(synthetic_shards)
    with build_loader(synthetic_shards, "train", CONFIG) as loader:
        next(iter(loader))
        state = loader.state_dict()
    parts = []
    for rank in range(2):
        with build_loader(synthetic_shards, "train", CONFIG, rank, 2) as loader:
            loader.load_state_dict(state)
            parts.append(list(loader))
    for whole, first, second in zip(straight[1:], *parts, strict=True):
        assert whole["sample_key"] == first["sample_key"] + second["sample_key"]
        joined = torch.cat([first["local_crops"], second["local_crops"]])
        assert torch.equal(whole["local_crops"], joined)


def test_state_of_another_run_is_refused(synthetic_shards):
    with build_loader(synthetic_shards, "train", CONFIG) as loader:
        state = loader.state_dict()
    with (
        build_loader(synthetic_shards, "train", replace(CONFIG, seed=1)) as other,
        pytest.raises(InputError, match="seed was 606 and is now 1"),
    ):
        other.load_state_dict(state)


def test_epochs_differ_and_evaluation_does_not(synthetic_shards):
    """Shuffled epochs differ in order and windows. Without shuffling, every epoch equals epoch 0."""
    first, second = epoch(synthetic_shards, number=0), epoch(synthetic_shards, number=1)
    assert [b["sample_key"] for b in first] != [b["sample_key"] for b in second]
    windows = {}
    for batches in (first, second):
        for batch in batches:
            for key, window in zip(batch["sample_key"], batch["crop_windows"], strict=True):
                windows.setdefault(key, []).append(window.tolist())
    assert any(a != b for a, b, *_ in windows.values())
    fixed = replace(CONFIG, shuffle=False)
    again = zip(epoch(synthetic_shards, fixed), epoch(synthetic_shards, fixed, number=5), strict=True)
    assert all(same(a, b) for a, b in again)


def test_settings_for_evaluation_show_every_image_once_and_unchanged(synthetic_shards):
    """``for_evaluation`` replaces random choices of the training by fixed ones, and switches on checks that training
    skips for speed. Keyword arguments override both."""
    training = replace(CONFIG, class_balanced=True, augment=1.0, decode="full", verify="off")
    fixed = training.for_evaluation()
    assert (fixed.decode, fixed.verify, fixed.seed) == ("auto", "first-touch", CONFIG.seed)
    expected = epoch(synthetic_shards, replace(CONFIG, shuffle=False))
    assert all(same(a, b) for a, b in zip(epoch(synthetic_shards, fixed, number=3), expected, strict=True))
    assert training.for_evaluation(verify="off", num_crops=7) == replace(fixed, verify="off", num_crops=7)
    with pytest.raises(InputError, match=r"loader\.num_crops=0"):
        training.for_evaluation(num_crops=0)


def test_class_balanced_epochs_show_both_labels_equally(synthetic_shards):
    batches = epoch(synthetic_shards, replace(CONFIG, class_balanced=True))
    valid = torch.cat([batch["is_valid"] for batch in batches])
    labels = torch.cat([batch["label"] for batch in batches])[valid]
    assert labels.float().mean() == 0.5


def test_joined_splits_hold_both(synthetic_shards):
    with build_loader(synthetic_shards, "train+valid", CONFIG) as loader:
        counts = ShardDataset.open(synthetic_shards).info.counts
        assert loader.num_samples == counts["train"].samples + counts["valid"].samples


def test_a_damaged_sample_is_masked_and_counted(synthetic_shards, tmp_path):
    """Where the bytes of one image are damaged, its sample is invalid and its crops are zero. All others are
    unchanged."""
    damaged = tmp_path / "shards"
    shutil.copytree(synthetic_shards, damaged)
    dataset = ShardDataset.open(damaged)
    row = int(dataset.split_rows("train")[0])
    start = int(dataset.column("image_offset")[row])
    path = dataset.shard_path(dataset.column("shard")[row])
    data = bytearray(path.read_bytes())
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    key = dataset.column("sample_key")[row]

    whole = epoch(synthetic_shards)
    with build_loader(damaged, "train", replace(CONFIG, decode="full")) as loader:
        batches = list(loader)
        assert sum(loader.stats()["failed"].values()) >= 1
    for before, after in zip(whole, batches, strict=True):
        for place, name in enumerate(after["sample_key"]):
            if name == key:
                assert not after["is_valid"][place]
                assert not after["crop_mask"][place].any()
                assert not after["local_crops"][place].any()
            else:
                assert torch.equal(before["local_crops"][place], after["local_crops"][place])
                assert before["is_valid"][place] == after["is_valid"][place]


def test_settings_that_do_not_fit_are_refused(synthetic_shards, tmp_path):
    """Settings that do not fit the data set, the machine or each other are refused in one sentence that names the wrong
    value."""
    wrong = [
        (replace(CONFIG, global_size=99), "train", "global_size=99"),
        (replace(CONFIG, sampling="hexagons"), "train", "stratified_grid"),
        (CONFIG, "nowhere", "nowhere"),
    ]
    if not torch.cuda.is_available():
        wrong.append((replace(CONFIG, device="cuda"), "train", "no CUDA device"))
    for config, split, words in wrong:
        with pytest.raises(InputError, match=words):
            build_loader(synthetic_shards, split, config)
    with pytest.raises(InputError, match="does not exist"):
        build_loader(tmp_path / "missing", "train", CONFIG)
    with pytest.raises(InputError, match="num_crops=0"):
        replace(CONFIG, num_crops=0)


def test_a_missing_shard_is_one_clear_sentence(synthetic_shards, tmp_path):
    damaged = tmp_path / "shards"
    shutil.copytree(synthetic_shards, damaged)
    for tar in damaged.glob("train-*.tar"):
        tar.unlink()
    with pytest.raises(InputError, match="cannot read shard"):
        epoch(damaged)


@pytest.mark.parametrize("backend", ["turbo", pytest.param("dali", marks=pytest.mark.slow)])
def test_memory_stays_flat(synthetic_shards, backend):
    """Over 120 batches of 130 kB, none of which is kept, resident memory grows by less than 10 MB after the warm-up."""
    config = replace(CONFIG, backend=backend)
    process = psutil.Process()
    with build_loader(synthetic_shards, "train+valid+test", config) as loader:
        seen, at_start = 0, 0
        for number in range(1000):
            loader.set_epoch(number)
            for _ in loader:
                seen += 1
            at_start = at_start or (process.memory_info().rss if seen >= 40 else 0)
            if seen >= 160:
                break
        assert process.memory_info().rss - at_start < 10 << 20
