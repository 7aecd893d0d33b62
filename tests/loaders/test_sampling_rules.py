"""The rules over a grid of nearly square cells: cells are distinct, spread out, drawn by weight, and cover the
image."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders import LoaderConfig, build_loader
from loaders.order.randomness import draws, stream
from loaders.windows.detail import Detail, read_detail
from loaders.windows.grid import CURVE, MAX_CELLS, draw_cells, grid_shape
from loaders.windows.sampling import SAMPLING_RULES, crop_windows
from shards.jpeg.entry_points import build_entry_points
from shards.manifest.dataset import ShardDataset
from tests.images.entry_points_reader import read_entry_points

NEW_RULES = ["aspect", "all", "texture"]
Encode = Callable[..., bytes]
Array = npt.NDArray[Any]


def windows(
    rule: str,
    sizes: list[tuple[int, int]],
    num_crops: int = 4,
    crop_size: int = 32,
    content: Array | None = None,
    epoch: int = 2,
    details: list[Detail | None] | None = None,
) -> tuple[Array, Array]:
    height, width = np.array(sizes).T
    content = np.arange(len(sizes)) if content is None else content
    return crop_windows(
        SAMPLING_RULES[rule],
        height,
        width,
        content,
        crop_size=crop_size,
        num_crops=num_crops,
        seed=606,
        epoch=epoch,
        details=details,
    )


def cells_of(found: Array, size: tuple[int, int], crop_size: int = 32) -> Array:
    """Returns (B, N): the cell in which each window begins, for images of one size. Asserts that the window also ends
    there."""
    rows, columns = (int(n[0]) for n in grid_shape(*(np.array([s]) for s in size), crop_size))
    cells = []
    for side, count, start, length in (
        (size[0], rows, found[..., 0], found[..., 2]),
        (size[1], columns, found[..., 1], found[..., 3]),
    ):
        edges = np.arange(count + 1) * side // count
        cell = np.searchsorted(edges, start, side="right") - 1
        assert (start + length <= edges[cell + 1]).all()
        cells.append(cell)
    return cells[0] * columns + cells[1]


def test_windows_are_pinned() -> None:
    """The windows equal the golden ones: every score of a model that uses the rule depends on them."""
    detail = Detail(np.array([0, 100, 5000, 5100, 5200]), 4, 4, 16)
    sizes, content = [(130, 300), (70, 64), (20, 40)], np.array([11, -4, 9])
    for rule, expected in GOLDEN.items():
        found, _ = windows(rule, sizes, 3, content=content, details=[detail, None, detail])
        assert found[..., :2].tolist() == expected, rule


GOLDEN = {
    "aspect": [[[91, 227], [95, 43], [44, 225]], [[2, 32], [0, 0], [35, 32]], [[0, 7], [0, 3], [0, 5]]],
    "all": [[[6, 2], [98, 39], [95, 188]], [[3, 0], [37, 0], [35, 32]], [[0, 1], [0, 0], [0, 0]]],
    "texture": [[[6, 40], [54, 39], [95, 225]], [[3, 0], [37, 0], [35, 32]], [[0, 1], [0, 4], [0, 0]]],
}


@pytest.mark.parametrize("rule", NEW_RULES)
@pytest.mark.parametrize("size", [(300, 200), (64, 500), (260, 256)])
def test_cells_are_distinct(rule: str, size: tuple[int, int]) -> None:
    """If there are no more windows than cells, no two windows share a cell, and each lies inside its own."""
    num_cells = int(np.prod([n[0] for n in grid_shape(*(np.array([s]) for s in size), 32)]))
    for num_crops in (1, 4, num_cells):
        found, mask = windows(rule, [size] * 40, num_crops)
        assert mask.all()
        cells = cells_of(found, size)
        assert all(len(set(row)) == num_crops for row in cells.tolist())


@pytest.mark.parametrize("rule", NEW_RULES)
def test_more_windows_than_cells(rule: str) -> None:
    """If there are more windows than cells, the rule ``all`` masks the surplus windows. The other rules use all cells
    again, about equally often."""
    found, mask = windows(rule, [(70, 100)] * 20, 17)  # 2 × 3 cells
    if rule == "all":
        assert (mask.sum(axis=1) == 6).all()
        assert (cells_of(found[:, :6], (70, 100)) == np.arange(6)).all()
    else:
        assert mask.all()
        counts = np.stack([np.bincount(row, minlength=6) for row in cells_of(found, (70, 100))])
        assert set(counts.ravel().tolist()) == {2, 3}


@pytest.mark.parametrize("rule", NEW_RULES)
@pytest.mark.parametrize(
    "size", [(70, 131), (20, 90), *(pytest.param(size, marks=pytest.mark.slow) for size in ((33, 200), (64, 64)))]
)
def test_every_pixel_is_reachable(rule: str, size: tuple[int, int]) -> None:
    """Over many images, every pixel is in some window, including those at borders that the grid does not divide
    evenly."""
    found, mask = windows(rule, [size] * 4000, 2)
    seen = np.zeros(size, bool)
    for top, left, height, width in np.unique(found[mask], axis=0).tolist():
        seen[top : top + height, left : left + width] = True
    assert seen.all()


@settings(max_examples=60)
@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([32, 64, 224]))
def test_cells_are_as_square_as_the_image_allows(height: int, width: int, crop_size: int) -> None:
    """The grid has at most 8 cells along each side, and each cell has room for a crop. Within these limits, the number
    of cells along the shorter side makes the cells as nearly square as possible."""
    rows, columns = (int(n[0]) for n in grid_shape(np.array([height]), np.array([width]), crop_size))
    assert 1 <= rows <= 8
    assert 1 <= columns <= 8
    assert height // rows >= min(height, crop_size)
    assert width // columns >= min(width, crop_size)
    longer, shorter = max(height, width), min(height, width)
    along, across = (rows, columns) if height >= width else (columns, rows)
    assert along == min(max(longer // crop_size, 1), 8)
    wanted = shorter * along / longer
    possible = range(1, max(shorter // crop_size, 1) + 1)
    assert abs(across - wanted) <= min(abs(n - wanted) for n in possible) + 1e-9


@pytest.mark.parametrize("rule", NEW_RULES)
def test_windows_depend_on_their_own_image_alone(rule: str) -> None:
    """Windows do not depend on the neighbours in the batch, but do depend on the content and the epoch."""
    alone, _ = windows(rule, [(300, 200)], content=np.array([7]))
    among, _ = windows(rule, [(50, 40), (300, 200)], content=np.array([3, 7]))
    assert (alone[0] == among[1]).all()
    for changed in ({"content": np.array([8])}, {"content": np.array([7]), "epoch": 3}):
        other, _ = windows(rule, [(300, 200)], **changed)  # type: ignore[arg-type]
        assert (alone != other).any()


def test_the_curve_visits_neighbours() -> None:
    row, column = np.unravel_index(np.argsort(CURVE, axis=None), CURVE.shape)
    assert (abs(np.diff(row)) + abs(np.diff(column)) == 1).all()


def test_cells_come_as_often_as_they_weigh() -> None:
    """A cell is drawn with a probability proportional to its weight. If this exceeds 1, the cell is always drawn, and
    the others share the remaining draws."""
    count, samples = 5, 5_000
    rows, columns = np.full(samples, 4), np.full(samples, 6)
    weights = np.zeros((samples, MAX_CELLS), np.int64)
    weights[:, :24] = np.random.default_rng(0).integers(1, 100, 24)
    weights[:, 7] = 100_000
    random = draws(stream(0, 0, np.arange(samples)), 2)
    drawn = draw_cells(rows, columns, weights, np.full(samples, count), random)
    assert (drawn.sum(axis=1) == count).all()
    assert not drawn[:, 24:].any()
    expected = (count - 1) * weights[0, :24] / (weights[0, :24].sum() - 100_000)
    expected[7] = 1
    deviation = np.sqrt(expected * np.clip(1 - expected, 0, 1) / samples)
    assert (abs(drawn[:, :24].mean(axis=0) - expected) <= 5 * deviation + 1e-9).all()


def test_equal_cells_are_spread() -> None:
    """Of 8 × 8 cells of equal weight, 4 drawn cells mostly lie in four different quadrants, because each is drawn from
    a different quarter of the curve along which the cells are ordered."""
    found, _ = windows("all", [(256, 256)] * 500, 4)
    cells = cells_of(found, (256, 256))
    quadrants = cells // 32 * 2 + cells % 8 // 4
    assert np.mean([len(set(row)) for row in quadrants.tolist()]) > 3.5


def noisy_corner(encode: Encode, **options: Any) -> bytes:
    """Returns a JPEG of 480 × 320 pixels that is grey, with noise in its lower right quarter."""
    image = np.full((320, 480, 3), 128, np.uint8)
    image[160:, 240:] = np.random.default_rng(0).integers(0, 256, (160, 240, 3))
    return encode(image, "JPEG", quality=90, **options)


def as_bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"grey": True}])
def test_detail_is_the_bits_of_a_region(encode_image: Encode, options: dict[str, Any]) -> None:
    jpeg = noisy_corner(encode_image, **options)
    mcu = build_entry_points(jpeg, 200)
    detail = read_detail(as_bytes(jpeg), as_bytes(mcu))
    assert detail is not None
    assert (
        detail.positions[:-1].tolist()
        == (read_entry_points(mcu).positions + 8 * read_entry_points(mcu).scan_start).tolist()
    )
    bits = detail.cell_bits(2, 2)
    assert bits.sum() == detail.positions[-1] - detail.positions[0]
    assert bits[3] > 0.9 * bits.sum()
    coarse = read_detail(as_bytes(jpeg), as_bytes(build_entry_points(jpeg, 4000)))
    assert coarse is not None
    # Fewer entry points smear along a row of MCUs, but hardly over rows.
    rows = coarse.cell_bits(2, 1) - detail.cell_bits(2, 1)
    assert abs(rows).max() < 0.01 * bits.sum()


def test_detail_of_a_tiny_image(encode_image: Encode, coded_image: Callable[..., Array]) -> None:
    """Where an image has fewer MCUs than cells, cells share MCUs, and none of them has zero bits."""
    jpeg = encode_image(coded_image(1, 9, 9), "JPEG")
    detail = read_detail(as_bytes(jpeg), as_bytes(build_entry_points(jpeg)))
    assert detail is not None
    assert (detail.cell_bits(8, 8) > 0).all()


def test_entry_points_that_do_not_fit_tell_nothing(encode_image: Encode) -> None:
    jpeg = noisy_corner(encode_image)
    mcu = build_entry_points(jpeg)
    assert read_detail(as_bytes(jpeg), as_bytes(b"")) is None
    assert read_detail(as_bytes(jpeg), as_bytes(mcu[:-1])) is None
    assert read_detail(as_bytes(jpeg + b"\0"), as_bytes(mcu)) is None


def test_texture_looks_where_the_detail_is(encode_image: Encode) -> None:
    """Half of the weight is spread evenly over the cells, and half follows their bits. The share of crops in the noisy
    corner is about what these weights predict; the tolerance is wide because the noise does not end at a cell
    boundary."""
    jpeg = noisy_corner(encode_image)
    detail = read_detail(as_bytes(jpeg), as_bytes(build_entry_points(jpeg)))
    shares = {}
    for known in (detail, None):
        found, _ = windows("texture", [(320, 480)] * 500, 2, details=[known] * 500)
        in_corner = (found[..., 0] + 16 >= 160) & (found[..., 1] + 16 >= 240)
        shares[known is None] = in_corner.mean()
    assert abs(shares[True] - 0.25) < 0.05
    assert abs(shares[False] - (0.5 + 0.5 * 0.25)) < 0.1


@pytest.mark.parametrize("rule", NEW_RULES)
def test_rules_through_the_loader(synthetic_shards: Path, rule: str) -> None:
    """Windows and pixels are the same for every backend and number of threads, and samples without entry points are
    counted."""
    config = LoaderConfig(global_batch_size=4, num_crops=5, crop_size=48, global_size=64, sampling=rule)
    batches = {}
    for backend, threads in (("reference", 1), ("turbo", 3)):
        changed = replace(config, backend=backend, num_threads=threads)
        with build_loader(synthetic_shards, "train", changed) as loader:
            batches[backend] = list(loader)
            stats = loader.stats()
    for first, second in zip(batches["reference"], batches["turbo"], strict=True):
        for key in ("local_crops", "crop_windows", "crop_mask"):
            assert (first[key] == second[key]).all()  # type: ignore[literal-required]
    dataset = ShardDataset.open(synthetic_shards)
    without = (dataset.column("mcu_length")[dataset.split_rows("train")] == 0).sum()
    if rule == "texture":
        assert stats["without_detail"] >= without > 0
        assert stats["detail_s"] > 0
    else:
        assert "without_detail" not in stats
