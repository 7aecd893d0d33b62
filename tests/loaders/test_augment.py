"""Augmented samples: a window computed from its surroundings alone equals that window of the augmented whole image."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders import LoaderConfig, build_loader
from loaders.augment.augment import FAMILY, Change, draw_changes, fit_within, scaled
from loaders.augment.operation import CropWindow, Operation
from loaders.augment.operations import Blur, Jpeg, Noise, Resize, WebP
from loaders.order.randomness import draws, stream
from loaders.windows.sampling import SAMPLING_RULES, crop_windows
from shards.errors import InputError
from shards.images.pixels import decode_rgb, global_view
from shards.manifest.dataset import ShardDataset

CONFIG = LoaderConfig(
    backend="turbo", global_batch_size=4, num_crops=3, crop_size=48, global_size=64, seed=606, augment=1.0
)
Pixels = npt.NDArray[np.uint8]
HEIGHT, WIDTH = 203, 331


def photograph(height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Returns an image of edges and noise, which filters and encoders treat differently."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / 9 + k) * 60 + (y // 23 % 2) * 50 + 100 for k in range(3)]
    noisy = np.stack(planes, axis=-1) + rng.normal(0, 8, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


EXACT: list[tuple[Operation, ...]] = [
    (Jpeg(50),),
    (Jpeg(95), Jpeg(70)),
    (Blur(0.5),),
    (Blur(4.0),),
    (Blur(1.3), Jpeg(80)),
    (Noise(0.05, 12345),),
    (Noise(0.02, 2**64 - 1), Jpeg(60), Blur(1.0)),
]
RESIZED: list[tuple[Operation, ...]] = [scaled((HEIGHT, WIDTH), percent) for percent in (25, 37, 75, 150, 200)]


def windows_of(size: tuple[int, int], side: int = 48) -> list[CropWindow]:
    """Returns windows at all corners and borders, windows that are aligned to no grid, and the whole image."""
    height, width = min(side, size[0]), min(side, size[1])
    tops = sorted({0, 17, (size[0] - height) // 2, size[0] - height})
    lefts = sorted({0, 33, (size[1] - width) // 2, size[1] - width})
    inside = [
        CropWindow(top, left, height, width)
        for top in tops
        for left in lefts
        if top + height <= size[0] and left + width <= size[1]
    ]
    return [*inside, CropWindow(0, 0, *size)]


def by_window(change: Change, image: Pixels, window: CropWindow) -> Pixels:
    """Computes a window of the changed image using only the part of the source that ``change`` requests."""
    top, left, height, width = change.source_window(window)
    return change.on_window(image[top : top + height, left : left + width].copy(), window)


@pytest.mark.parametrize("operations", EXACT, ids=str)
def test_a_window_equals_the_whole_image_changed_and_cropped(operations: tuple[Operation, ...]) -> None:
    image = photograph()
    change = Change.of(operations, image.shape[:2])
    whole = change.on_image(image)
    assert whole.shape == image.shape
    assert (whole != image).any()
    for window in windows_of(change.size):
        expected = window.cut(whole, CropWindow(0, 0, *change.size))
        assert np.array_equal(by_window(change, image, window), expected), window


@pytest.mark.parametrize("operations", RESIZED, ids=str)
def test_a_window_of_a_resized_image(operations: tuple[Operation, ...]) -> None:
    """A window of a resized image differs from the same window of the whole resized image by at most 1, in less than 1
    % of the values, because positions between pixels are rounded differently."""
    image = photograph()
    change = Change.of(operations, image.shape[:2])
    whole = change.on_image(image).astype(int)
    for window in windows_of(change.size):
        expected = window.cut(whole, CropWindow(0, 0, *change.size))
        differences = abs(by_window(change, image, window) - expected)
        assert differences.max() <= 1
        assert (differences > 0).mean() < 0.01


@pytest.mark.parametrize("quality", [50, 90])
def test_a_window_saved_as_webp_is_like_the_whole_images(quality: int) -> None:
    """The coding errors of a window saved as WebP differ from those of the whole image there, because VP8 predicts each
    block from its neighbours. Their root mean squares differ by at most a fifth."""
    image = photograph(400, 400)
    change = Change.of((WebP(quality),), image.shape[:2])
    window = CropWindow(133, 150, 96, 96)
    frame = CropWindow(0, 0, 400, 400)
    source = window.cut(image, frame).astype(float)
    whole = np.sqrt(np.square(window.cut(change.on_image(image), frame) - source).mean())
    own = np.sqrt(np.square(by_window(change, image, window) - source).mean())
    assert own == pytest.approx(whole, rel=0.2)


@settings(max_examples=12)
@given(st.integers(0, 2**31), st.integers(20, 260), st.integers(20, 260))
def test_any_draw_on_any_image(content: int, height: int, width: int) -> None:
    """Windows of a changed image request only parts of the source that exist, and have their full size."""
    change = draw_changes(
        np.array([height]), np.array([width]), np.array([content]), share=1.0, seed=1, epoch=0, appearance=0
    )[0]
    if change is None:  # a chain that finds the image small enough, or a resize by 1.00
        return
    image = photograph(height, width)
    whole = change.on_image(image)
    assert whole.shape == (*change.size, 3)
    for window in windows_of(change.size, 24):
        top, left, high, wide = change.source_window(window)
        assert 0 <= top < top + high <= height
        assert 0 <= left < left + wide <= width
        assert by_window(change, image, window).shape == (window.height, window.width, 3)
        shown = change.shown(window)
        assert 0 <= shown.top < shown.bottom <= height
        assert 0 <= shown.left < shown.right <= width


@pytest.mark.parametrize("stage", [(Blur(3.0),), (Blur(8.0),), (Resize(20, 33),), (Resize(50, 40),)])
def test_the_view_of_a_filtered_image(stage: tuple[Operation, ...]) -> None:
    """The view of a blurred or resized image is computed from the stored view alone. It is nearer to the exact view
    than the stored view is."""
    image = photograph()
    change, stored = Change.of(stage, image.shape[:2]), global_view(image, 64)
    truth = global_view(change.on_image(image), 64).astype(float)
    error = abs(change.on_view(stored) - truth).mean()
    assert error < 3.0
    assert error < 0.6 * abs(stored - truth).mean()


def test_the_view_of_a_noisy_image() -> None:
    """Adding noise to the stored view gives other pixels than adding it to the image before shrinking, but noise of the
    same standard deviation."""
    image = np.full((512, 512, 3), 128, np.uint8)
    change = Change.of((Noise(0.075, 7),), (512, 512))
    truth = global_view(change.on_image(image), 64).astype(float).std()
    assert change.on_view(global_view(image, 64)).std() == pytest.approx(truth, rel=0.1)


def test_the_view_of_a_saved_image() -> None:
    """Saving as JPEG changes the view of a small image. In the view of a large image, its effect averages out, so the
    loader does not change that view."""
    large, small = photograph(900, 900), photograph(100, 110)
    for image, changes in ((large, False), (small, True)):
        change, stored = Change.of((Jpeg(40),), image.shape[:2]), global_view(image, 64)
        truth = global_view(change.on_image(image), 64).astype(float)
        assert (abs(truth - stored).mean() > 2) == changes
        assert (change.on_view(stored) != stored).any() == changes
        if changes:
            ratio = abs(change.on_view(stored) - stored.astype(float)).mean()
            assert ratio == pytest.approx(abs(truth - stored).mean(), rel=0.6)


def test_draws_are_pinned_and_follow_the_share() -> None:
    content = np.arange(1000)
    sizes = np.full(1000, 1000)

    def drawn(**changed: Any) -> list[Change | None]:
        options = {"share": 0.5, "seed": 606, "epoch": 1, "appearance": 0} | changed
        return draw_changes(sizes, sizes, content, **options)

    first = drawn()
    assert [str(c.operations) for c in first if c is not None][:6] == GOLDEN
    kinds = sum(c is not None for c in first)
    assert abs(kinds - 500) < 5 * np.sqrt(250)
    assert drawn() == first
    assert all(drawn(**change) != first for change in ({"seed": 1}, {"epoch": 2}, {"appearance": 1}))
    assert not any(drawn(share=0.0))
    names = {type(o).__name__ for c in drawn(share=1.0) if c is not None for o in c.operations}
    assert names == {"Jpeg", "WebP", "Blur", "Resize", "Noise"}


GOLDEN = [
    "(WebP(quality=59),)",
    "(Jpeg(quality=84),)",
    "(Resize(height=512, width=512), Jpeg(quality=40))",
    "(Blur(sigma=2.74),)",
    "(Resize(height=512, width=512), Jpeg(quality=40))",
    "(Blur(sigma=0.82),)",
]


def test_the_family_keeps_to_its_ranges() -> None:
    for make in FAMILY.values():
        for random in draws(stream(0, 0, np.arange(300)), 2):
            for operation in make((1200, 800), random):
                if isinstance(operation, Jpeg):
                    assert 40 <= operation.quality <= 95
                elif isinstance(operation, WebP):
                    assert 50 <= operation.quality <= 90
                elif isinstance(operation, Blur):
                    assert 0.5 <= operation.sigma <= 4
                elif isinstance(operation, Noise):
                    assert 0.015 <= operation.deviation <= 0.075
                elif isinstance(operation, Resize):
                    assert 300 <= operation.height <= 2400
                    assert 200 <= operation.width <= 1600
    assert fit_within((500, 300), 512) == ()
    assert fit_within((3000, 4000), 768) == (Resize(576, 768),)
    assert scaled((1, 1), 25) == ()


def epoch(data: Path, config: LoaderConfig, number: int = 0) -> list[Any]:
    with build_loader(data, "train", config) as loader:
        loader.set_epoch(number)
        return list(loader)


def same(first: Any, second: Any) -> bool:
    return first["sample_key"] == second["sample_key"] and all(
        torch.equal(value, second[key]) for key, value in first.items() if key != "sample_key"
    )


@pytest.mark.parametrize(
    ("backend", "decode"),
    [
        ("turbo", "window"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)  # all batches are equal, see below
            for pair in (
                ("reference", "full"),
                ("turbo", "full"),
                ("reference", "window"),
                ("dali", "full"),
                ("dali", "window"),
            )
        ),
    ],
)
def test_the_loader_changes_samples(synthetic_shards: Path, backend: str, decode: str) -> None:
    """Crops equal those cut from the whole stored image after the reference decoder has decoded it and the changes were
    applied."""
    dataset = ShardDataset.open(synthetic_shards)
    rows = {key: row for row, key in enumerate(dataset.column("sample_key"))}
    config = replace(CONFIG, backend=backend, decode=decode, augment=0.7)
    changed = 0
    for batch in epoch(synthetic_shards, config):
        for place, key in enumerate(batch["sample_key"]):
            image = stored_image(dataset, rows[key])
            content = batch["content_id"][place : place + 1].numpy()
            size = np.array([image.shape[0]]), np.array([image.shape[1]])
            draw = {"seed": 606, "epoch": 0, "appearance": 0}
            change = draw_changes(*size, content, share=0.7, **draw)[0]
            changed += change is not None
            whole = image if change is None else change.on_image(image)
            windows, _ = crop_windows(
                SAMPLING_RULES["stratified_grid"],
                [whole.shape[0]],
                [whole.shape[1]],
                content,
                crop_size=48,
                num_crops=3,
                **draw,
            )
            lossy = change is not None and any(isinstance(o, WebP) for o in change.operations)
            for k, (top, left, height, width) in enumerate(windows[0].tolist()):
                expected = np.zeros((48, 48, 3), int)
                expected[:height, :width] = whole[top : top + height, left : left + width]
                got = batch["local_crops"][place, k].permute(1, 2, 0).numpy()
                assert lossy or abs(got - expected).max() <= 3  # a ±1 of a resize may flip a JPEG
                if change is not None:
                    shown = change.shown(CropWindow(top, left, height, width))
                    assert batch["crop_windows"][place, k].tolist() == list(shown)
    assert changed > 4


def stored_image(dataset: ShardDataset, row: int) -> Pixels:
    start, length = (int(dataset.column(f"image_{n}")[row]) for n in ("offset", "length"))
    data = dataset.shard_path(dataset.column("shard")[row]).read_bytes()
    return decode_rgb(data[start : start + length])


def test_batches_do_not_depend_on_backend_threads_or_decode(synthetic_shards: Path) -> None:
    expected = epoch(synthetic_shards, replace(CONFIG, backend="reference", num_threads=1))
    for changed in ({"num_threads": 3, "decode": "full"}, {"backend": "dali", "decode": "window"}):
        got = epoch(synthetic_shards, replace(CONFIG, **changed))  # type: ignore[arg-type]
        assert all(same(a, b) for a, b in zip(expected, got, strict=True))
    other = epoch(synthetic_shards, CONFIG, number=1)
    assert not all(same(a, b) for a, b in zip(expected, other, strict=True))


def test_an_epoch_resumed_has_the_same_changes(synthetic_shards: Path) -> None:
    whole = epoch(synthetic_shards, CONFIG)
    with build_loader(synthetic_shards, "train", CONFIG) as loader:
        iterator = iter(loader)
        next(iterator)
        state = loader.state_dict()
    with build_loader(synthetic_shards, "train", CONFIG) as loader:
        loader.load_state_dict(state)
        assert all(same(a, b) for a, b in zip(whole[1:], loader, strict=True))


def test_evaluation_and_a_share_of_none_change_nothing(synthetic_shards: Path) -> None:
    for config in (replace(CONFIG, shuffle=False), replace(CONFIG, augment=0.0)):
        plain = epoch(synthetic_shards, replace(config, augment=0.0))
        with build_loader(synthetic_shards, "train", config) as loader:
            assert all(same(a, b) for a, b in zip(plain, loader, strict=True))
            assert "augmented" not in loader.stats()


def test_changed_samples_are_counted_and_keep_the_fast_path(synthetic_shards: Path) -> None:
    config = replace(CONFIG, decode="window")
    counted = {}
    for share in (0.0, 1.0):
        with build_loader(synthetic_shards, "train", replace(config, augment=share)) as loader:
            list(loader)
            counted[share] = loader.stats()
    assert counted[1.0]["augmented"] > 0
    assert counted[1.0]["augment_s"] > 0
    for name in ("windowed", "fallback"):
        assert counted[1.0][name] == counted[0.0][name]


@pytest.mark.parametrize("decode", ["window", pytest.param("full", marks=pytest.mark.slow)])
def test_a_damaged_sample_is_masked_all_the_same(synthetic_shards: Path, tmp_path: Path, decode: str) -> None:
    damaged = tmp_path / "shards"
    shutil.copytree(synthetic_shards, damaged)
    dataset = ShardDataset.open(damaged)
    row = int(dataset.split_rows("train")[0])
    path = dataset.shard_path(dataset.column("shard")[row])
    data = bytearray(path.read_bytes())
    start, length = (int(dataset.column(f"image_{n}")[row]) for n in ("offset", "length"))
    data[start : start + length] = bytes(length)
    path.write_bytes(data)
    key = dataset.column("sample_key")[row]
    for batch in epoch(damaged, replace(CONFIG, decode=decode)):
        for place, name in enumerate(batch["sample_key"]):
            if name == key:
                assert not batch["is_valid"][place]
                assert not batch["local_crops"][place].any()
                assert not batch["crop_windows"][place].any()


@pytest.mark.parametrize("share", [-0.1, 1.5, "half", float("nan")])
def test_a_wrong_share_is_refused(share: Any) -> None:
    with pytest.raises(InputError, match=r"loader\.augment="):
        LoaderConfig(augment=share)


def test_train_takes_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts import train

    needed = ["--data", "d", "--preset", "glass_tiny", "--output", "o"]
    for flags, share in (([], 0.0), (["--augment"], train.AUGMENT_SHARE), (["--augment", "1"], 1.0)):
        assert train.settings(train.parse([*needed, *flags])).loader.augment == share
