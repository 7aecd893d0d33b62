"""The code in docs/readers.md, run unchanged, gives the data that the manifest records.

Needs ``pip install -e '.[readers]'``; readers that are not installed are skipped. The readers themselves emit warnings,
so warnings are not errors here.
"""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PAGE = Path(__file__).parents[2] / "docs" / "readers.md"
MODULES = {
    "webdataset": "webdataset",
    "DALI": "nvidia.dali",
    "datasets": "datasets",
    "Ray Data": "ray.data",
    "Energon": "megatron.energon",
    "SPDL": "spdl.io",
    "litdata": "litdata",
    "tarfile": "tarfile",
}
"""Heading of the page → module that its code imports."""
EXTENSIONS = {"JPEG": "jpg", "TIFF": "tif", "WEBP": "webp"}


def blocks() -> dict[str, str]:
    """Returns heading → Python code below it. The key "" stands for the part before the first heading."""
    text = PAGE.read_text(encoding="utf-8")
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    headed = {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}
    found = {name: re.findall(r"```python\n(.*?)```", part, re.DOTALL) for name, part in headed.items()}
    return {name: code[0] for name, code in found.items() if code}


def run_block(reader: str, stored: str = "JPEG") -> Any:
    """Runs the page's code for ``reader`` over the tars of images stored as ``stored``. Returns its variable
    ``samples``."""
    module = pytest.importorskip(MODULES[reader], reason=f"{reader}: pip install -e '.[readers]'")
    assert module
    code = blocks()[""] + blocks()[reader]
    names: dict[str, Any] = {}
    exec(compile(code.replace('"JPEG"', f'"{stored}"'), str(PAGE), "exec"), names)
    assert names["tars"]
    return names["samples"]


@pytest.fixture(scope="module")
def data(
    synthetic_images: Path,
    encode_image: Callable[..., bytes],
    coded_image: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> ShardDataset:
    """A data set, ``data/shards``, of JPEGs, PNGs stored as tiles, and WebPs. The progressive JPEGs have no entry
    points."""
    root = tmp_path_factory.mktemp("readers")
    for source in synthetic_images.rglob("*.*"):
        target = root / "images" / source.relative_to(synthetic_images)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for index in range(4):
        folder = root / "images" / ("real" if index % 2 else "generated/gan_a")
        pixels = coded_image(20 + index, 150, 100 + index)
        (folder / f"w{index}.webp").write_bytes(encode_image(pixels, "WEBP", quality=80))
    cmyk = Image.fromarray(coded_image(9, 99, 77)).convert("CMYK")
    (root / "images" / "real" / "cmyk.jpg").write_bytes(encode_image(cmyk, "JPEG"))
    shares = {"train": 0.8, "valid": 0.1, "test": 0.1}
    settings = BuildSettings(
        split_shares=shares,
        samples_per_shard=7,
        global_size=64,
        keep_progressive=True,
        split_seed=2,  # the first five JPEGs are indexable, a later one is not
    )
    build_dataset(root / "images", root / "data" / "shards", settings, progress=False)
    return ShardDataset.open(root / "data" / "shards")


@pytest.fixture(autouse=True)
def _beside_the_data(data: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs each test in a folder that contains ``data/shards``, with this Python's commands first in ``PATH``."""
    (tmp_path / "data").symlink_to(data.root.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging_face"))
    monkeypatch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    yield
    if (ray := sys.modules.get("ray")) and ray.is_initialized():
        ray.shutdown()


def stored(data: ShardDataset, kind: str = "JPEG") -> dict[str, tuple[dict[str, Any], bytes]]:
    """Returns key → (row, stored image) for the samples of the split ``train`` in shards of one format."""
    found = {}
    for shard in data.info.shards:
        if (shard.split, shard.format) == ("train", kind):
            tar = data.shard_path(shard.name).read_bytes()
            for row in data.table.to_pylist():
                if row["shard"] == shard.name:
                    start = row["image_offset"]
                    image = tar[start : start + row["image_length"]]
                    found[row["sample_key"]] = row, image
    assert len(found) > 1
    return found


def require_bytes(found: dict[str, dict[str, Any]], data: ShardDataset) -> None:
    """Asserts that ``found`` holds every sample with its image, JSON, global view and entry points, each as bytes."""
    expected = stored(data)
    assert set(found) == set(expected)
    for key, (row, image) in expected.items():
        members = found[key]
        assert bytes(members["jpg"]) == image
        assert json.loads(bytes(members["json"]))["source_path"] == row["source_path"]
        assert np.load(io.BytesIO(bytes(members["global.npy"]))).shape == (64, 64, 3)
        assert len(members["mcu"]) == row["mcu_length"]


def by_key(members: Any) -> dict[str, dict[str, bytes]]:
    """Groups (name, bytes) of members by sample. Returns key → extension → bytes."""
    found: dict[str, dict[str, bytes]] = {}
    for name, content in members:
        key, _, extension = name.partition(".")
        found.setdefault(key, {})[extension] = bytes(content)
    return found


def test_every_reader_of_the_page_has_a_test() -> None:
    assert set(blocks()) == {"", *MODULES}
    rows = re.findall(r"^\| `?([\w ]+?)`? \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows[1 : 1 + len(MODULES)]) == set(MODULES)


@pytest.mark.parametrize("reader", ["SPDL", "tarfile"])
def test_members_one_by_one(reader: str, data: ShardDataset) -> None:
    require_bytes(by_key(run_block(reader)), data)


@pytest.mark.parametrize("reader", ["Ray Data", "litdata"])
def test_samples_as_bytes(reader: str, data: ShardDataset) -> None:
    if reader == "Ray Data":
        ray = pytest.importorskip("ray", reason="ray: pip install -e '.[readers]'")
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    require_bytes({sample["__key__"]: sample for sample in run_block(reader)}, data)


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_webdataset(kind: str, data: ShardDataset) -> None:
    found = {sample["__key__"]: sample for sample in run_block("webdataset", kind)}
    expected = stored(data, kind)
    assert set(found) == set(expected)
    for key, (row, image) in expected.items():
        sample = found[key]
        assert np.array_equal(sample[EXTENSIONS[kind]].convert("RGB"), decode_rgb(image))
        assert sample["json"]["label"] == row["label"]
        assert sample["global.npy"].shape == (64, 64, 3)


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_datasets(kind: str, data: ShardDataset) -> None:
    """``datasets`` reads samples with and without entry points. Missing values are "" or 0, so no column changes its
    type."""
    found = {sample["__key__"]: sample for sample in run_block("datasets", kind)}
    expected = stored(data, kind)
    assert set(found) == set(expected)
    reasons = [row["not_indexable"] for row, _ in expected.values()]
    assert kind != "JPEG" or (not any(reasons[:5]) and any(reasons))
    for key, (row, image) in expected.items():
        sample = found[key]
        assert np.array_equal(sample[EXTENSIONS[kind]].convert("RGB"), decode_rgb(image))
        assert sample["json"]["not_indexable"] == (row["not_indexable"] or "")
        assert sample["json"]["jpeg_quality"] == (row["jpeg_quality"] or 0)
        assert sample["json"]["content_id"] == row["pixel_sha256"].hex()[:16]


def test_datasets_pitfalls(data: ShardDataset) -> None:
    """The pitfalls that the page warns about still exist. If this fails, the page's warnings can be relaxed."""
    datasets = pytest.importorskip("datasets", reason="datasets: pip install -e '.[readers]'")
    jpegs_first = sorted(data.info.shards, key=lambda shard: shard.format != "JPEG")
    tars = [str(data.shard_path(shard.name)) for shard in jpegs_first]
    mixed = datasets.load_dataset("webdataset", data_files=tars, split="train", streaming=True)
    images = [sample.get("jpg") for sample in mixed]
    assert len(images) == len(data)
    assert any(image is None for image in images)
    folder = datasets.load_dataset(str(data.root), split="train", streaming=True)
    assert "jpg" not in next(iter(folder))


@pytest.mark.skipif(sys.platform != "linux", reason="DALI comes for Linux only")
def test_dali(data: ShardDataset) -> None:
    """Pixels equal those of Pillow, except for CMYK, where DALI's conversion differs by at most 1."""
    expected = stored(data)
    pipeline = run_block("DALI")
    found: dict[str, Any] = {}
    while len(found) < len(expected):
        for image, facts, view in zip(*(part.as_cpu() for part in pipeline.run()), strict=True):
            key = json.loads(np.asarray(facts).tobytes())["sample_key"]
            found[key] = np.asarray(image), np.load(io.BytesIO(np.asarray(view).tobytes()))
    assert set(found) == set(expected)
    for key, (row, image) in expected.items():
        pixels, view = found[key]
        difference = np.abs(pixels.astype(int) - decode_rgb(image))
        assert difference.max() <= (row["mode"] == "CMYK")
        assert view.shape == (64, 64, 3)


def test_energon(data: ShardDataset) -> None:
    found = {sample.__key__.rpartition("/")[2]: sample for sample in run_block("Energon")}
    expected = stored(data)
    assert set(found) == set(expected)
    for key, (row, image) in expected.items():
        assert int(found[key].label) == row["label"]
        if row["mode"] != "CMYK":
            pixels = np.rint(np.asarray(found[key].image) * 255).transpose(1, 2, 0)
            assert np.array_equal(pixels, decode_rgb(image))
