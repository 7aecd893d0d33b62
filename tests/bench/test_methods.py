"""Every method does the whole job on the same files, with the same windows, the same pixels and all images."""

import io

import numpy as np
import pytest
from PIL import Image

from bench.corpora.corpus import SPLIT, Corpus, build_corpus, mapped
from bench.corpora.repeated import copy_content_id, repeat_dataset
from bench.corpora.synthetic import draw_photograph
from bench.harness.pinning import choose_cores
from bench.harness.task import Task
from bench.harness.worker import take_turn
from bench.methods import METHODS
from bench.methods.loader import even_batch_size, per_image
from loaders import LoaderConfig, build_loader
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

CROPS = 2
SIZES = [(400, 300), (280, 420), (300, 200)]  # width, height; the last is lower than a crop


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of three photographs, one of which is a progressive JPEG."""
    folder = tmp_path_factory.mktemp("bench")
    paths = []
    for number, (width, height) in enumerate(SIZES):
        pixels = draw_photograph(width, height, np.random.default_rng(number))
        path = folder / f"{number}.jpg"
        Image.fromarray(pixels).save(path, quality=85, progressive=number == 1)
        paths.append(path)
    return build_corpus(folder / "corpus", paths, [CROPS])


@pytest.fixture
def method(corpus):
    """Returns a function that creates a method as the measured process does. The methods are closed after the test."""
    built = []

    def build(name: str, threads: int = 1):
        import importlib

        info = METHODS[name]
        task = Task(name, info.where, str(corpus.root), CROPS, threads, choose_cores(1), 0.01, info.options)
        module, kind = info.where.split(":")
        built.append(getattr(importlib.import_module(module), kind)(task))
        return built[-1]

    yield build
    for one in built:
        one.close()


def decoded(corpus: Corpus, index: int) -> np.ndarray:
    return np.asarray(Image.open(corpus.path(index)).convert("RGB"))


def padded(image: np.ndarray, window: np.ndarray) -> np.ndarray:
    top, left, height, width = window
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[:height, :width] = image[top : top + height, left : left + width]
    return crop


def test_the_corpus_holds_what_the_shards_hold(corpus):
    """The files of the corpus have the bytes of the shards' members. The progressive JPEG has become baseline for all
    methods."""
    dataset = ShardDataset.open(corpus.shards)
    assert len(corpus) == len(dataset) == len(SIZES)
    assert Corpus.open(corpus.root) == corpus
    for row, image in enumerate(corpus.images):
        tar = mapped(dataset.shard_path(dataset.column("shard")[row]))
        first = dataset.column("image_offset")[row]
        member = tar[first : first + dataset.column("image_length")[row]].tobytes()
        assert corpus.path(row).read_bytes() == member
        with Image.open(corpus.path(row)) as opened:
            assert opened.size == (image.width, image.height)
            assert not opened.info.get("progressive")
    assert corpus.copies * len(corpus) >= 256
    assert len(corpus.entry_point_shares) == 3
    assert 0 < max(corpus.entry_point_shares) < 0.2


def test_precut_crops_are_the_windows_of_every_copy(corpus):
    stored, bounds = corpus.precut(CROPS)
    windows = corpus.windows(CROPS)
    assert bounds.shape == (corpus.copies, 3, CROPS, 2)
    assert len(np.unique(windows[:, 0], axis=0)) > corpus.copies * 0.9  # copies differ
    for copy in (0, corpus.copies - 1):
        for index in range(3):
            image = decoded(corpus, index)
            for slot in range(CROPS):
                first, last = bounds[copy, index, slot]
                crop = np.asarray(Image.open(io.BytesIO(stored[first:last].tobytes())))
                top, left, height, width = windows[copy, index, slot]
                wanted = image[top : top + height, left : left + width].astype(int)
                assert np.abs(crop - wanted).mean() < 4  # quality 92 of noise


def test_the_loader_draws_the_corpus_s_windows(corpus, tmp_path):
    """When the loader reads a repeated manifest, every image occurs once per copy, with the windows of that copy and
    exactly the pixels of a full decode."""
    dataset = ShardDataset.open(corpus.shards)
    repeated = repeat_dataset(dataset, SPLIT, 4, tmp_path / "four")
    windows = corpus.windows(CROPS)
    ids = np.array([image.content_id for image in corpus.images], np.int64)
    place = {int(value): (copy, index) for copy in range(4) for index, value in enumerate(copy_content_id(ids, copy))}
    config = LoaderConfig(num_crops=CROPS, global_batch_size=6, decode="window", num_threads=1)
    seen = []
    with build_loader(repeated, SPLIT, config) as loader:
        for batch in loader:
            assert bool(batch["is_valid"].all())
            for k, content_id in enumerate(batch["content_id"].tolist()):
                copy, index = place[content_id]
                seen.append((copy, index))
                drawn = batch["crop_windows"][k].numpy()
                np.testing.assert_array_equal(drawn, windows[copy, index])
                image = decoded(corpus, index)
                for crop, window in zip(batch["local_crops"][k], drawn, strict=True):
                    np.testing.assert_array_equal(crop.permute(1, 2, 0).numpy(), padded(image, window))
    assert sorted(seen) == sorted(place.values())


@pytest.mark.parametrize(
    "name",
    [  # the paper's and the loader's; DALI's pixels are tested below
        name if name in ("recipe", "window") else pytest.param(name, marks=pytest.mark.slow) for name in METHODS
    ],
)
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_turn_delivers_whole_passes(method, corpus, name, threads):
    one = method(name, threads)
    assert one.warm_up() > 0
    one.prepare(3)
    for _ in range(2):
        turn = take_turn(one)
        assert turn["images"] == 3 * len(corpus)
        assert turn["seconds"] > 0
        assert turn["peak_rss_mib"] > 10
    report = one.report()
    assert report["bytes_read_per_image"] > 1000
    if name in ("window", "window_dali"):
        assert report["windowed_share"] == 1.0
    if name == "full":
        assert report["windowed_share"] == 0.0


def test_recipe_gives_normalised_floats_of_the_same_windows(method, corpus):
    view, crops = method("recipe").one(1, 0, 0)
    assert view.shape == (3, 224, 224)
    mean = np.array([0.485, 0.456, 0.406])[:, None, None]
    std = np.array([0.229, 0.224, 0.225])[:, None, None]
    for crop, window in zip(crops, corpus.windows(CROPS)[1, 0], strict=True):
        pixels = (crop.numpy() * std + mean) * 255
        wanted = padded(decoded(corpus, 0), window).transpose(2, 0, 1)
        np.testing.assert_allclose(pixels, wanted, atol=1e-3)


@pytest.mark.parametrize("name", ["dali_full", "dali_roi"])
def test_dali_gives_the_same_pixels(method, corpus, name):
    windows = corpus.windows(CROPS)
    (results,) = method(name).results()
    crops = results[1:] if name == "dali_full" else results
    if name == "dali_full":
        assert results[0].shape() == [(224, 224, 3)] * 3
    for slot, batch in enumerate(crops):
        for index in range(3):
            top, left, height, width = windows[0, index, slot]
            found = np.asarray(batch[index])[:height, :width]
            wanted = decoded(corpus, index)[top : top + height, left : left + width]
            np.testing.assert_array_equal(found, wanted)


def test_whole_images_are_decoded_whole(method, corpus):
    image = method("decode_only").one(0, 1, 0)
    np.testing.assert_array_equal(image, decoded(corpus, 1))


def test_batches_leave_no_room_for_fillers():
    for number in (*range(1, 200), 37 * 8, 256, 1000):
        size = even_batch_size(number)
        assert 1 <= size <= 48
        assert -number % size <= max(1, number // 16), number
    assert even_batch_size(64) == 32
    assert even_batch_size(7) == 7


def test_stage_times_are_those_between_two_snapshots():
    before = {"windowed": 10, "full": 0, "bytes_read": 1000, "splice_s": 1.0}
    after = {"windowed": 28, "full": 2, "bytes_read": 5000, "splice_s": 1.5, "decode_s": 2.0}
    assert per_image(before, after) == {
        "bytes_read_per_image": 200.0,
        "windowed_share": 0.9,
        "splice_ms": 25.0,
        "decode_ms": 100.0,
    }


def test_one_photograph_is_not_enough(tmp_path):
    with pytest.raises(InputError, match="at least two different photographs"):
        build_corpus(tmp_path / "one", [tmp_path / "a.jpg"], [1])
