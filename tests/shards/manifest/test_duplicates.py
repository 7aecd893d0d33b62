"""Pictures that occur twice: planted ones are found, and no others."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glass.auditing.align_pictures import grey_pyramid, same_picture_scores
from glass.auditing.duplicates import exact_duplicates, groups_across_splits, near_duplicates
from glass.auditing.near_candidates import describe, near_pairs
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.manifest.dataset import ShardDataset
from shards.manifest.stored_views import StoredViews

pytestmark = pytest.mark.slow  # tens of seconds together

NUM_SCENES, PER_KIND = 60, 12
KINDS = ("save", "resize", "crop", "largest_crop")


def draw_scene(seed: int) -> Image.Image:
    """Returns a picture of 300 × 220 pixels with shapes of all sizes, as photographs have."""
    random = np.random.default_rng(seed)
    total = np.zeros((220, 300, 3))
    for cells, weight in ((3, 70), (8, 40), (30, 25), (100, 15)):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += weight * (np.asarray(coarse.resize((300, 220), Image.Resampling.BICUBIC)) / 128 - 1)
    return Image.fromarray(np.clip(128 + total, 0, 255).astype(np.uint8))


def altered(picture: Image.Image, kind: str, random: np.random.Generator) -> bytes:
    """Returns ``picture`` as a JPEG, saved again (``save``), resized, cropped by up to 5 % of each side, or cropped by
    5 % of both sides (``largest_crop``)."""
    width, height = picture.size
    if "crop" in kind:
        lost = random.uniform(0, 0.05, 2) if kind == "crop" else (0.05, 0.05)
        w, h = round(width * (1 - lost[0])), round(height * (1 - lost[1]))
        left, top = random.integers(0, width - w + 1), random.integers(0, height - h + 1)
        picture = picture.crop((left, top, left + w, top + h))
    if kind == "resize":
        scale = random.uniform(0.4, 0.95)
        picture = picture.resize((round(width * scale), round(height * scale)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(random.integers(50, 96)))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardDataset, set[frozenset[str]]]:
    """A data set of 60 scenes and 48 altered copies of them in another split, and the set of planted pairs of names.

    It also contains a re-saved image in the group of its scene, a lossless copy, and a copy of a file.
    """
    folder = tmp_path_factory.mktemp("planted")
    random = np.random.default_rng(0)
    rows, pairs = [], set()
    scenes = [draw_scene(number) for number in range(NUM_SCENES)]

    def add(name: str, data: bytes, number: int, split: str, group: str = "") -> None:
        (folder / name).write_bytes(data)
        rows.append((name, number % 2, group, split))

    for number, scene in enumerate(scenes):
        buffer = io.BytesIO()
        scene.save(buffer, "PNG")
        add(f"{number}.png", buffer.getvalue(), number, "train", f"scene {number}")
    for place, kind in enumerate(KINDS):
        for number in range(place * PER_KIND, (place + 1) * PER_KIND):
            name = f"{kind}-{number}.jpg"
            add(name, altered(scenes[number], kind, random), number, "test")
            pairs.add(frozenset({f"{number}.png", name}))
    add("known.jpg", altered(scenes[50], "save", random), 50, "train", "scene 50")
    buffer = io.BytesIO()
    scenes[51].save(buffer, "BMP")
    add("lossless.bmp", buffer.getvalue(), 51, "valid")
    add("copy.png", (folder / "52.png").read_bytes(), 52, "train")
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "is_generated", "group", "split"), *rows])
    out = folder / "out"
    build_dataset(folder / "list.csv", out, BuildSettings(global_size=128), progress=False)
    return ShardDataset.open(out), pairs


def paths(dataset: ShardDataset, pairs: np.ndarray) -> set[frozenset[str]]:
    names = dataset.column("source_path")
    return {frozenset(names[pair]) for pair in pairs}


def test_exact_duplicates_by_file_and_by_pixels(planted):
    dataset, _ = planted
    copies = frozenset({"52.png", "copy.png"})
    assert paths(dataset, exact_duplicates(dataset, "sha256")) == {copies}
    lossless = frozenset({"51.png", "lossless.bmp"})
    assert paths(dataset, exact_duplicates(dataset, "pixel_sha256")) == {copies, lossless}


def test_planted_near_duplicates_are_found_and_nothing_else(planted):
    dataset, pairs = planted
    progress: list[int] = []
    found = near_duplicates(dataset, threads=2, advance=progress.append)
    names = paths(dataset, found.pairs)
    assert len(names & pairs) >= 0.95 * len(pairs)
    assert len(names & pairs) >= 0.95 * len(names)
    assert not any({"50.png", "known.jpg"} <= pair for pair in names)  # of one group
    assert sum(progress) == len(dataset)
    assert (found.pairs[:, 0] < found.pairs[:, 1]).all()
    assert found.compared == found.candidates
    again = near_duplicates(dataset, threads=1)
    np.testing.assert_array_equal(again.pairs, found.pairs)


def test_groups_across_splits(planted):
    """Groups across splits are found. A build allows none, so the test changes a split afterwards."""
    dataset, _ = planted
    assert groups_across_splits(dataset) == []
    table = dataset.table
    row = dataset.column("source_path").tolist().index("known.jpg")
    splits = table["split"].to_pylist()
    splits[row] = "test"
    place = table.column_names.index("split")
    changed = table.set_column(place, "split", [splits])
    changed = changed.cast(table.schema)
    assert groups_across_splits(ShardDataset(dataset.root, dataset.info, changed)) == ["scene 50"]


def test_stored_views_are_those_of_the_shards(planted):
    dataset, _ = planted
    with StoredViews(dataset) as views:
        assert len(views) == len(dataset)
        row = dataset.column("source_path").tolist().index("7.png")
        expected = np.asarray(draw_scene(7).resize((128, 128), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(views[row], expected)


def test_candidates_are_those_of_comparing_all_pairs():
    """``near_pairs`` finds the same pairs as comparing all points does, for this radius of half a cell's width."""
    random = np.random.default_rng(2)
    centres = random.normal(size=(400, 35))
    points = np.concatenate([centres, centres + 0.02 * random.normal(size=centres.shape)])
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    expected = np.argwhere(np.triu(distance <= 0.4, 1))
    found = near_pairs(points, 0.4)
    assert {*map(tuple, found.tolist())} == {*map(tuple, expected.tolist())}
    assert (np.diff(distance[found[:, 0], found[:, 1]]) > -1e-6).all()


def test_crowded_cells_do_not_make_all_pairs():
    """2,000 equal pictures would give two million pairs, so each is compared with at most 63 others."""
    points = np.tile(np.eye(35, dtype=np.float32)[0], (2000, 1))
    assert 1999 <= len(near_pairs(points, 0.1)) <= 63 * 2000


def test_flat_pictures_have_no_composition():
    greys = np.full((3, 16, 16), 200, np.uint8)
    greys[2, 4:9] = 20
    described = describe(greys)
    assert not described[:2].any()
    assert np.linalg.norm(described[2]) == pytest.approx(1, abs=1e-6)
    assert not len(near_pairs(described, 1.0))


@pytest.mark.parametrize("size", [16, 64, 224])
def test_scores_of_flat_and_of_different_pictures(size):
    flat, other = (grey_pyramid(np.full((size, size, 3), value, np.uint8)) for value in (90, 120))
    scene = grey_pyramid(np.asarray(draw_scene(1).resize((size, size))))
    assert same_picture_scores(flat, flat) == (1.0, 1.0)
    assert same_picture_scores(flat, other) == (0.0, 0.0)
    assert same_picture_scores(scene, flat)[0] == 0
    assert same_picture_scores(scene, scene) == (pytest.approx(1), pytest.approx(1))
    if size >= 64:
        second = grey_pyramid(np.asarray(draw_scene(2).resize((size, size))))
        assert same_picture_scores(scene, second)[0] < 0.5


def test_brightness_and_contrast_do_not_count():
    view = np.asarray(draw_scene(3).resize((128, 128)))
    darker = (view * 0.6 + 20).astype(np.uint8)
    detail, coarse = same_picture_scores(grey_pyramid(view), grey_pyramid(darker))
    assert min(detail, coarse) > 0.98


def test_a_missing_shard_is_named(planted, tmp_path):
    from shards.errors import InputError

    dataset, _ = planted
    moved = ShardDataset(Path(tmp_path), dataset.info, dataset.table)
    with StoredViews(moved) as views, pytest.raises(InputError, match="glass verify"):
        views[0]


def test_one_damaged_byte_in_a_views_header_is_named(synthetic_shards, tmp_path):
    """Damage to any byte of a stored view's header is noticed, because the header is compared as a whole and never
    parsed."""
    from shards.errors import InputError

    data = tmp_path / "data"
    shutil.copytree(synthetic_shards, data)
    dataset = ShardDataset.open(data)
    shard = data / str(dataset.column("shard")[0])
    whole, start = shard.read_bytes(), int(dataset.column("global_offset")[0])
    for place in range(128):
        stored = bytearray(whole)
        stored[start + place] ^= 0x25
        shard.write_bytes(stored)
        with StoredViews(dataset) as views:
            with pytest.raises(InputError, match=r"row 0 in .* cannot be read .*glass verify"):
                views[0]
            assert views[1].shape == (64, 64, 3)


def test_a_view_is_what_was_stored(synthetic_dataset):
    with StoredViews(synthetic_dataset) as views:
        path = synthetic_dataset.members_path(str(synthetic_dataset.column("shard")[3]))
        start = int(synthetic_dataset.column("global_offset")[3])
        length = int(synthetic_dataset.column("global_length")[3])
        stored = path.read_bytes()[start : start + length]
        assert np.array_equal(views[3], np.load(io.BytesIO(stored), allow_pickle=False))
