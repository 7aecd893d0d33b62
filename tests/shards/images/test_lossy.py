"""``--lossy tiles``: which images become tiles, that they keep their pixels and recorded properties, and how much
larger they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glass.auditing.dataset_facts import raw_facts
from scripts.build_shards import main, summary
from shards.build.build import BuildReport, build_dataset
from shards.build.class_differences import RAW_FACTS, compared_facts
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares
from shards.dry_run import tiles_price
from shards.dry_run.description import describe_sources
from shards.errors import InputError
from shards.images.formats import known_format, open_image
from shards.images.pixels import decode_rgb, load_rgb
from shards.images.stored_form import as_tiles
from shards.images.tiled_tiff import TiledImage
from shards.images.tiling import Tiling, can_tile, can_tile_lossy
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import SAMPLE_SCHEMA
from shards.manifest.tiled_bytes import describe_price
from shards.sources.read import read_sources
from shards.verify import verify_dataset
from tests.images.jpeg_variants import photograph
from tests.images.lossy_files import KEPT, WRITERS

STORED = {"stored_as", "shard", "sample_key", "image_crc32", "mcu_crc32", "not_indexable"} | {
    f"{member}_{what}" for member in ("image", "json", "global", "mcu") for what in ("offset", "length")
}
"""Columns that say where and how a sample is stored. All other columns describe the image itself."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture of about 130 × 90 pixels by each function in ``WRITERS`` and ``KEPT``, and a full-colour
    PNG, which becomes tiles even without ``--lossy tiles``."""
    root = tmp_path_factory.mktemp("images")
    for seed, (name, write) in enumerate((WRITERS | KEPT).items()):
        image = Image.fromarray(photograph(90 + seed, 130 - seed, seed))
        folder = root / ("real" if seed % 2 else "generated/gan")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(write(image))
    Image.fromarray(photograph(60, 60)).save(root / "real/colour.png")
    return root


def build(sources: Path, out: Path, **changes: object) -> BuildReport:
    shape = BuildSettings(split_shares=parse_shares("1,0,0"), global_size=32, **changes)
    return build_dataset(sources, out, shape, progress=False)


@pytest.fixture(scope="module")
def sets(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ShardDataset]:
    """The data sets of these images, by the value of ``lossy``: "keep" (stored as files) and "tiles"."""
    root = tmp_path_factory.mktemp("sets")
    for lossy in ("keep", "tiles"):
        build(sources, root / lossy, lossy=lossy)
    return {lossy: ShardDataset.open(root / lossy) for lossy in ("keep", "tiles")}


def rows_of(dataset: ShardDataset) -> dict[str, dict[str, object]]:
    """Returns source file name → manifest row."""
    return {Path(row["source_path"]).name: row for row in dataset.table.to_pylist()}


def member(dataset: ShardDataset, row: dict[str, object]) -> bytes:
    data = dataset.shard_path(str(row["shard"])).read_bytes()
    return data[row["image_offset"] :][: row["image_length"]]


def test_all_that_cost_a_whole_decode_become_tiles(sets: dict[str, ShardDataset], sources: Path) -> None:
    kept, tiled = rows_of(sets["keep"]), rows_of(sets["tiles"])
    assert {name for name, row in tiled.items() if row["stored_as"] == "tiled"} == {*WRITERS, "colour.png"}
    assert {name for name, row in kept.items() if row["stored_as"] == "tiled"} == {"colour.png"}
    for name, row in tiled.items():
        data = (sources / str(row["source_path"])).read_bytes()
        stored = member(sets["tiles"], row)
        pixels = decode_rgb(data)
        assert np.array_equal(decode_rgb(stored), pixels), name
        if name in WRITERS:
            assert np.array_equal(TiledImage(stored).read_all(), pixels), name
        else:
            assert (stored == data) == (name != "colour.png"), name
    for dataset in sets.values():
        assert verify_dataset(dataset, 1, lambda n: None) == []


def test_an_image_is_known_as_what_it_was(sets: dict[str, ShardDataset]) -> None:
    """An image has the same format, lossiness, byte counts, identity and global view in both data sets, and the same
    values in every other column outside ``STORED``."""
    assert set(SAMPLE_SCHEMA.names) > STORED
    kept, tiled = rows_of(sets["keep"]), rows_of(sets["tiles"])
    for name, row in tiled.items():
        differing = {column for column in SAMPLE_SCHEMA.names if row[column] != kept[name][column]}
        assert differing <= STORED, name
    assert (tiled["lossy.webp"]["format"], tiled["lossy.webp"]["lossless"]) == ("WEBP", False)
    assert tiled["lossy.webp"]["standard_bytes"] > 0


def test_the_classes_differ_in_what_they_did(sets: dict[str, ShardDataset]) -> None:
    """The properties that the audit compares are the same in both data sets. The test compares which images share a
    value, because the codes of names depend on the manifest's order."""
    found = []
    for dataset in sets.values():
        order = np.argsort(dataset.column("source_path").astype(str))
        raw = {name: np.asarray(values)[order] for name, values in raw_facts(dataset).items()}
        assert {*raw} == {*RAW_FACTS, "file_bytes"}
        facts = {name: values.tolist() for name, values in compared_facts(raw).items()}
        found.append({name: [values.index(value) for value in values] for name, values in facts.items()})
    assert found[0] == found[1]
    assert len(set(found[1]["lossless"])) == 2


def test_the_price_stands_in_the_description_and_the_summary(
    sets: dict[str, ShardDataset], sources: Path, tmp_path: Path
) -> None:
    shutil.copytree(sets["tiles"].root, tmp_path / "out")
    (tmp_path / "out/dataset.json").unlink()
    report = build(sources, tmp_path / "out", lossy="tiles")
    rows = rows_of(sets["tiles"])
    webps = [row for name, row in rows.items() if name in ("lossy.webp", "alpha.webp")]
    before = sum((sources / str(row["source_path"])).stat().st_size for row in webps)
    after = sum(len(member(sets["tiles"], row)) for row in webps)
    document = json.loads((tmp_path / "out/dataset.json").read_text())
    assert document["tiled"]["WEBP lossy"] == {"samples": 2, "source_bytes": before, "tiled_bytes": after}
    assert {"AVIF", "GIF", "JPEG", "JPEG2000", "PNG", "PNG palette", "TIFF lossy", "TIFF palette"} < {
        *document["tiled"]
    }
    (line,) = [line for line in summary(report, tmp_path) if "size as tiles" in line]
    assert f"WEBP lossy {after / before:.3g} × (" in line
    assert line.endswith(describe_price(report.info.tiled))
    assert set(sets["keep"].info.tiled) == {"PNG"}


def test_a_wrong_price_is_found(sets: dict[str, ShardDataset], tmp_path: Path) -> None:
    shutil.copytree(sets["tiles"].root, tmp_path, dirs_exist_ok=True)
    document = json.loads((tmp_path / "dataset.json").read_text())
    document["tiled"]["AVIF"]["source_bytes"] += 1
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    found = verify_dataset(ShardDataset.open(tmp_path), 1, lambda n: None)
    assert [finding.where for finding in found] == ["dataset.json, tiled"]


def test_only_the_large_ones(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name, size in (("real/small", 100), ("generated/gan/large", 200), ("real/limit", 150)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.webp").write_bytes(WRITERS["lossy.webp"](Image.fromarray(photograph(size, 200))))
    build(root, tmp_path / "out", lossy="tiles", lossy_over=0.03)
    found = {name: row["stored_as"] for name, row in rows_of(ShardDataset.open(tmp_path / "out")).items()}
    assert found == {"small.webp": "source", "limit.webp": "source", "large.webp": "tiled"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lossy": "tile"}, r"--lossy tile: must be one of keep, tiles"),
        ({"lossy_over": 2.0}, r"--lossy-over 2 limits which images become tiles: give --lossy tiles"),
        ({"lossy": "tiles", "lossy_over": -1.0}, r"--lossy-over -1.0: must lie between 0 and 200"),
        ({"lossy": "tiles", "lossy_over": float("nan")}, r"--lossy-over nan: must"),
        ({"lossy": "tiles", "equalise": "recompress"}, "leaves none for --lossy tiles"),
    ],
)
def test_mistakes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BuildSettings(**changes)


def test_a_build_goes_on_with_the_same_form_only(small_images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(small_images, out, lossy="tiles", lossy_over=0.01)
    assert build(small_images, out, lossy="tiles", lossy_over=0.01).finished_before
    with pytest.raises(InputError, match=r"holds another build \(--lossy-over was 0.01 and is 0.0\)"):
        build(small_images, out, lossy="tiles")
    with pytest.raises(InputError, match=r"--lossy was tiles and is keep"):
        build(small_images, out)


def test_a_dry_run_says_both_sizes(
    sources: Path, sets: dict[str, ShardDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dry run examines all of these few images, so its sizes are not estimates but those of the build."""
    lines = describe_sources(read_sources(sources), "it")
    (line,) = [line for line in lines if line.startswith("  whole ")]
    rows = [row for name, row in rows_of(sets["tiles"]).items() if name in WRITERS]
    kilobytes = [sum(int(str(row[name])) for row in rows) / 1e3 for name in ("source_bytes", "image_length")]
    assert f"decoded whole for a crop: {kilobytes[0]:.0f} kB in all, {kilobytes[1]:.0f} kB with --lossy tiles" in line
    assert f"({len(WRITERS)} images tried)" in line
    assert main([str(sources), "--dry-run", "--lossy", "tiles", "--lossy-over", "1"]) == 0
    assert "decoded whole" not in capsys.readouterr().out  # none is that large
    plain = tmp_path / "plain"
    for label in ("real", "generated"):
        (plain / label).mkdir(parents=True)
        (plain / label / "a.jpg").write_bytes(KEPT["baseline.jpg"](Image.fromarray(photograph(40, 40))))
    assert "whole" not in "\n".join(describe_sources(read_sources(plain), "it"))


def test_a_dry_run_of_many_images_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    webp, jpeg = (write(Image.fromarray(photograph(30, 40))) for write in (WRITERS["lossy.webp"], KEPT["baseline.jpg"]))
    random = np.random.default_rng(5)
    for number in range(300):
        folder = tmp_path / ("real" if number % 2 else "generated")
        folder.mkdir(exist_ok=True)
        is_webp = random.random() < 0.5
        (folder / f"{number:03d}{'.webp' if is_webp else '.jpg'}").write_bytes(webp if is_webp else jpeg)
    number = len(list(tmp_path.rglob("*.webp")))
    image = open_image(webp)
    tiles = as_tiles(webp, "WEBP", load_rgb(image, webp))
    assert tiles is not None
    monkeypatch.setattr(tiles_price, "_MOST_PIXELS", 10 * 30 * 40)
    lines = describe_sources(read_sources(tmp_path), "it")
    (line,) = [line for line in lines if line.startswith("  whole ")]
    kept, tiled = (float(part.split(" kB")[0]) * 1e3 for part in line.split("about ")[1:])
    assert tiled / kept == pytest.approx(len(tiles) / len(webp), rel=0.01)  # all are the same picture
    assert kept == pytest.approx(number * len(webp), rel=0.3)  # 50 of 300 were looked at
    assert line.endswith("(10 images tried)")


@pytest.mark.parametrize("name", [*WRITERS, *KEPT])
def test_files_cut_off_anywhere_are_looked_at_safely(name: str) -> None:
    data = (WRITERS | KEPT)[name](Image.fromarray(photograph(40, 50)))
    kind = known_format(data)
    said = [can_tile_lossy(data[:length], kind) for length in (0, 7, *range(14, min(500, len(data)), 17))]
    assert not any(said[:2])  # nothing can be known from 7 bytes
    assert can_tile_lossy(data, kind) == (name in WRITERS)
    assert not can_tile(data, kind)
    assert not Tiling(lossless=False).takes(data, kind)


@settings(max_examples=8)
@given(name=st.sampled_from(sorted(WRITERS)), shape=st.tuples(*[st.integers(8, 420)] * 2), seed=st.integers(0, 9))
def test_windows_of_tiles_are_those_of_the_file(name: str, shape: tuple[int, int], seed: int) -> None:
    """Windows read from tiles equal those of the file, for every format and shape, and for tiles cut off at the image's
    edges."""
    write: Callable[[Image.Image], bytes] = WRITERS[name]
    data = write(Image.fromarray(photograph(*shape, seed)))
    image = open_image(data)
    tiles = as_tiles(data, image.format or "", load_rgb(image, data))
    assert tiles is not None
    pixels = decode_rgb(data)
    random = np.random.default_rng(seed)
    opened = TiledImage(tiles)
    assert opened.shape == pixels.shape
    tops, lefts = ([int(random.integers(side)) for _ in range(4)] for side in pixels.shape[:2])
    windows = np.array(
        [
            (top, left, random.integers(1, shape[0] - top + 1), random.integers(1, shape[1] - left + 1))
            for top, left in zip(tops, lefts, strict=True)
        ]
    )
    outs = [np.empty((height, width, 3), np.uint8) for _, _, height, width in windows.tolist()]
    opened.read(windows, outs)
    for (top, left, height, width), out in zip(windows.tolist(), outs, strict=True):
        assert np.array_equal(out, pixels[top : top + height, left : left + width])
