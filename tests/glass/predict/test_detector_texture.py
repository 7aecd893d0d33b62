"""The sampling rule ``texture`` reads the bits of a JPEG. It must choose the same windows for a file as for the file's
shard in an evaluation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glass.export.model_folder import save_model
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.model.model import build_model
from glass.predict.detector import Detector, PredictOptions
from glass.predict.source_paths import find_images, row_sources
from glass.presets import load_preset
from loaders.decode.pixel_batch import ImageViews, image_views
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = load_preset("glass_tiny")
    loader = replace(config.loader, crop_size=32, num_crops=3, sampling="texture")
    config = replace(config, loader=loader)
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    return folder


@pytest.fixture(scope="module")
def detector(run: Path) -> Detector:
    return Detector.from_pretrained(run, device="cpu")


def test_files_members_and_shards_agree(
    run: Path, detector: Detector, synthetic_images: Path, synthetic_dataset: ShardDataset
) -> None:
    options = EvaluationOptions(device="cpu", draws=5)
    table = evaluate_run(run, synthetic_dataset, "test", options)[1].to_pylist()
    expected = {row["content_id"]: row["crop_windows"] for row in table}
    rows = synthetic_dataset.split_rows("test").tolist()
    paths = [str(synthetic_images / name) for name in synthetic_dataset.column("source_path")[rows]]
    files = find_images(paths).sources
    members = row_sources(synthetic_dataset, rows)
    for sources, stability in ((files, False), (members[::2], True)):
        found = detector.predict_iter(sources, PredictOptions(stability=stability))
        windows = {verdict.content_id: verdict.windows.tolist() for verdict in found}
        assert len(windows) == len(sources)
        assert windows == {content: expected[content] for content in windows}


def test_a_change_is_looked_at_by_detail_too(
    detector: Detector, synthetic_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule ``texture`` uses the bits of the file in which the changed image was saved or, if it was not saved,
    those of the original."""
    known = []

    def rows(pixels: Any, identity: int, config: Any, draws: Any, detail: Any) -> list[ImageViews]:
        known.append(None if detail is None else detail.cell_bits(4, 4).tolist())
        return image_views(pixels, identity, config, draws, detail)

    monkeypatch.setattr("glass.predict.preparation.image_views", rows)
    sources = find_images([str(synthetic_images)]).sources
    jpeg = next(source for source in sources if source.name.endswith("02.jpg"))
    png = next(source for source in sources if source.name.endswith(".png"))
    detector.predict([jpeg, png], num_threads=1)
    original, saved, *others = known[:4]
    assert original is not None
    assert saved not in (None, original)
    assert others == [original, original]
    assert [bits is None for bits in known[4:]] == [True, False, True, True]


@pytest.mark.slow
def test_shards_of_recompressed_images_agree_with_their_members(
    run: Path, synthetic_images: Path, tmp_path: Path
) -> None:
    """For the rule ``texture``, the bits that count are those of the JPEG in the shard, not of the source file."""
    settings = BuildSettings(
        split_shares={"train": 0.0, "valid": 0.0, "test": 1.0}, global_size=64, equalise="recompress"
    )
    build_dataset(synthetic_images, tmp_path / "data", settings, progress=False)
    dataset = ShardDataset.open(tmp_path / "data")
    options = EvaluationOptions(device="cpu", draws=5)
    table = evaluate_run(run, dataset, "test", options)[1].to_pylist()
    expected = {row["content_id"]: row["crop_windows"] for row in table}
    sources = row_sources(dataset, range(len(dataset)))
    detector = Detector.from_pretrained(run, device="cpu")
    found = list(detector.predict_iter(sources, PredictOptions(stability=True)))
    assert {verdict.content_id: verdict.windows.tolist() for verdict in found} == expected


def test_the_bits_of_a_jpeg_are_all_that_the_file_adds_to_its_pixels(
    detector: Detector, synthetic_images: Path
) -> None:
    """With this rule, and with no other, pixels that are passed without their JPEG may get other windows: those that a
    PNG would get."""
    files = sorted(synthetic_images.rglob("*.jpg"))[::3]
    pixels = [decode_rgb(file.read_bytes()) for file in files]
    for rule, alike in (("texture", False), ("aspect", True)):
        options = PredictOptions(stability=False, sampling=rule)
        by_file, by_array = detector.predict(files, options), detector.predict(pixels, options)
        same = [one.windows.tolist() == other.windows.tolist() for one, other in zip(by_file, by_array, strict=True)]
        assert all(same) is alike
        ids = [[verdict.content_id for verdict in found] for found in (by_file, by_array)]
        assert ids[0] == ids[1]
