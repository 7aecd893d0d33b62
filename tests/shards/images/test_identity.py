"""An image is identified by its pixels: metadata, container and input route change neither its windows nor its
score."""

import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from glass.auditing.duplicate_findings import audit_duplicates
from glass.auditing.duplicates import find_duplicates
from glass.auditing.findings import SERIOUS
from glass.export.model_folder import save_model
from glass.measure.evaluation import EvaluationOptions, evaluate_run
from glass.model.model import build_model
from glass.predict.detector import Detector, PredictOptions
from glass.predict.image_sources import BytesSource, PixelSource
from glass.predict.source_paths import find_images
from glass.presets import load_preset
from loaders.order.order import shuffled_order
from shards.adopt.adopt import index_tars
from shards.adopt.settings import IndexSettings
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.images.pixels import decode_rgb, pixel_sha256
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import content_id, content_id_from_hex, content_id_hex
from shards.verify import verify_dataset
from tests.images.jpeg_variants import photograph
from tests.images.lossy_files import WRITERS

QUICK = PredictOptions(stability=False, num_threads=1)
IN_SETS = ("plain.jpg", "signed.jpg", "text.png", "exif.webp", "lzw.tif")
LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}


def segment(marker: int, content: bytes) -> bytes:
    """Returns a marker segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def same_pixels(jpeg: bytes, encode_image: Callable[..., bytes]) -> dict[str, bytes]:
    """Returns file name → contents of files with the pixels of ``jpeg`` but other metadata, lossless formats or
    containers."""
    pixels = decode_rgb(jpeg)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "a cat")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "plain.jpg": jpeg,
        "comment.jpg": jpeg[:2] + segment(0xFE, b"fifteen bytes!!") + jpeg[2:],
        "signed.jpg": jpeg[:2] + segment(0xEB, b"JP\0\0" + bytes(4000)) + jpeg[2:],
        "exif.jpg": jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif.tobytes()[6:]) + jpeg[2:],
        "trailing.jpg": jpeg + b"a video",
        "text.png": encode_image(pixels, "PNG", pnginfo=text, icc_profile=profile, exif=exif),
        "plain.bmp": encode_image(pixels, "BMP"),
        "exif.webp": encode_image(pixels, "WEBP", lossless=True, exif=exif, icc_profile=profile),
        "lzw.tif": encode_image(pixels, "TIFF", compression="tiff_lzw"),
    }


@pytest.fixture(scope="module")
def pictures(encode_image: Callable[..., bytes]) -> dict[str, dict[str, bytes]]:
    """Label ("real" or "generated") → file name → contents. All files of one label have the same pixels."""
    random = np.random.default_rng(3)
    found = {}
    for label, size in (("real", (40, 30)), ("generated", (30, 40))):
        coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        jpeg = encode_image(coarse.resize((size[0] * 7, size[1] * 7), 3), "JPEG", quality=80)
        found[label] = same_pixels(jpeg, encode_image)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = load_preset("glass_tiny")
    loader = replace(config.loader, crop_size=48, num_crops=3, global_size=64)
    config = replace(config, loader=loader)
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    return folder


@pytest.fixture(scope="module")
def sets(pictures: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory) -> list[ShardDataset]:
    """Three data sets of ten of the pictures: stored as they are, stored as tiles, and indexed from a tar made
    elsewhere."""
    root = tmp_path_factory.mktemp("sets")
    tar = root / "tar" / "all.tar"
    tar.parent.mkdir()
    with tarfile.open(tar, "w") as made:
        for label, files in pictures.items():
            for name, data in ((name, files[name]) for name in IN_SETS):
                (root / "images" / label).mkdir(parents=True, exist_ok=True)
                (root / "images" / label / name).write_bytes(data)
                stem, _, extension = name.partition(".")
                member = tarfile.TarInfo(f"{label}/{stem}{extension}.{extension}")
                member.size = len(data)
                made.addfile(member, io.BytesIO(data))
    shares = {"train": 0.0, "valid": 0.0, "test": 1.0}
    for form in ("keep", "tile"):
        build = BuildSettings(split_shares=shares, global_size=64, lossless=form)
        build_dataset(root / "images", root / form, build, progress=False)
    index_tars([tar], None, IndexSettings(global_size=64, split="0,0,1"), progress=False)
    return [ShardDataset.open(root / name) for name in ("keep", "tile", "tar")]


@pytest.mark.parametrize("label", ["real", pytest.param("generated", marks=pytest.mark.slow)])  # a picture each
def test_every_way_in_gives_the_same_windows_and_score_to_the_bit(
    run: Path, pictures: dict[str, dict[str, bytes]], label: str
) -> None:
    detector = Detector.from_pretrained(run, device="cpu")
    files = pictures[label]
    pixels = decode_rgb(files["plain.jpg"])
    lazy = Image.open(io.BytesIO(files["text.png"]))
    ways = [*files.values(), pixels, Image.fromarray(pixels), lazy, np.asfortranarray(pixels)]
    first, *others = [detector.predict([way], QUICK)[0] for way in ways]
    assert first.content_id == content_id(pixel_sha256(pixels))
    for other in others:
        assert (other.score, other.margin) == (first.score, first.margin)
        assert other.content_id == first.content_id
        assert np.array_equal(other.windows, first.windows)


def test_shards_sidecars_and_evaluation_agree_with_files(
    run: Path, pictures: dict[str, dict[str, bytes]], sets: list[ShardDataset]
) -> None:
    detector = Detector.from_pretrained(run, device="cpu")
    plain = [detector.predict([files["plain.jpg"]], QUICK)[0] for files in pictures.values()]
    expected = {verdict.content_id: verdict for verdict in plain}
    assert len(expected) == 2
    for dataset in sets:
        assert len(dataset) == 2 * len(IN_SETS)
        assert set(dataset.column("content_id").tolist()) == set(expected)
        options = EvaluationOptions(device="cpu", draws=5)
        for row in evaluate_run(run, dataset, "test", options)[1].to_pylist():
            verdict = expected[row["content_id"]]
            assert row["crop_windows"] == verdict.windows.tolist()
            assert row["probability"] == pytest.approx(verdict.score, abs=1e-6)
            assert ("generated" in row["source_path"]) is bool(row["label"])
        found = detector.predict_iter(find_images([str(dataset.root)]).sources, QUICK)
        for verdict in found:
            assert verdict.windows.tolist() == expected[verdict.content_id].windows.tolist()


@pytest.mark.slow  # equal batches of both forms are tested in loaders/test_lossy, scores of all ways in above
@pytest.mark.parametrize(
    "names",
    [
        ("lossy.webp", "cmyk.jpg", "palette.png"),
        pytest.param(("colour.avif", "plain.gif", "lossy.jp2"), marks=pytest.mark.slow),
    ],
)
def test_lossy_images_have_their_windows_and_scores_as_tiles(run: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    """Lossy images stored as files and as tiles have the same windows and scores: when they are evaluated, and when
    they are predicted from the data set, from its tars, and from the original files."""
    for seed, name in enumerate(names):
        folder = tmp_path / "images" / ("real" if seed % 2 else "generated")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(WRITERS[name](Image.fromarray(photograph(230, 210 + seed, seed))))
    files = find_images([str(tmp_path / "images")]).sources
    detector = Detector.from_pretrained(run, device="cpu")
    expected = {verdict.content_id: verdict for verdict in detector.predict_iter(files, QUICK)}
    assert len(expected) == len(names)
    rows = []
    for lossy in ("keep", "tiles"):
        shares = {"train": 0.0, "valid": 0.0, "test": 1.0}
        out = tmp_path / lossy
        form = BuildSettings(split_shares=shares, global_size=64, lossless="keep", lossy=lossy)
        info = build_dataset(tmp_path / "images", out, form, progress=False).info
        assert info.stored_as == {"source" if lossy == "keep" else "tiled": len(names)}
        table = evaluate_run(run, ShardDataset.open(out), "test", EvaluationOptions(device="cpu", draws=5))[1]
        found = {row["content_id"]: row for row in table.to_pylist()}
        rows.append({key: (row["crop_windows"], row["probability"]) for key, row in found.items()})
        for sources in ([str(out)], [str(path) for path in sorted(out.glob("*.tar"))]):
            verdicts = list(detector.predict_iter(find_images(sources).sources, QUICK))
            assert {verdict.content_id for verdict in verdicts} == set(expected)
            for verdict in verdicts:
                assert verdict.windows.tolist() == expected[verdict.content_id].windows.tolist()
                assert verdict.score == pytest.approx(expected[verdict.content_id].score, abs=1e-6)
    assert rows[0] == rows[1]


@settings(max_examples=10)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_the_container_is_no_part_of_an_image(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = {PixelSource("x", pixels).load().content_id}
    for kind, options in LOSSLESS.items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        found.add(BytesSource("x", buffer.getvalue()).load().content_id)
    assert found == {content_id(pixel_sha256(pixels))}


def test_the_shape_is_a_part_of_an_image() -> None:
    flat = np.zeros((6, 4, 3), np.uint8)
    shapes = {pixel_sha256(flat.reshape(h, w, 3)) for h, w in ((6, 4), (4, 6), (1, 24), (24, 1))}
    assert len(shapes) == 4


@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_a_palette_with_transparent_colours(transparency: int | bytes, encode_image: Callable[..., bytes]) -> None:
    """Transparent palette entries count as colours, and Pillow's warning about them is not shown."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8))
    image = image.convert("P")
    image.info["transparency"] = transparency
    data = encode_image(image, "PNG")
    opened = Image.open(io.BytesIO(data))
    by_pixels, by_bytes = PixelSource("x", opened).load(), BytesSource("x", data).load()
    assert by_pixels.content_id == by_bytes.content_id
    assert opened.info["transparency"] == transparency  # the caller's image is left as it is


def test_ids_in_documents_are_text_of_sixteen_digits() -> None:
    for identity in (0, 1, -1, 2**63 - 1, -(2**63), 0x0123456789ABCDEF):
        text = content_id_hex(identity)
        assert len(text) == 16
        assert content_id_from_hex(text) == identity
    assert content_id_hex(content_id(bytes.fromhex("fedcba9876543210" * 4))) == "fedcba9876543210"
    wrong = ("", "0" * 15, "0" * 17, "0x00000000000000", "0123456789ABCDEF", " " * 16, "é" * 16)
    for text in wrong:
        with pytest.raises(ValueError, match="is not a content id"):
            content_id_from_hex(text)


def test_pictures_that_come_twice_keep_their_places(sets: list[ShardDataset]) -> None:
    """Equal pixels have equal sort keys in a shuffled epoch, so their samples stay adjacent, in the manifest's
    order."""
    identity = sets[0].column("content_id")
    order = shuffled_order(identity, 0, 3)
    turns = np.flatnonzero(np.diff(identity[order]))
    assert len(turns) == 1
    for part in np.split(order, turns + 1):
        assert (np.diff(part) > 0).all()


def test_equal_pixels_of_other_bytes_are_the_audits_to_find(
    pictures: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    """A build puts only files with equal bytes in one group. The audit reports equal pixels across splits or classes as
    serious."""
    names = ("plain.jpg", "comment.jpg", "text.png", "plain.bmp")
    lines = ["path,label,split"]
    for place, name in enumerate(names):
        (tmp_path / name).write_bytes(pictures["real"][name])
        lines.append(f"{name},{'real' if place % 2 else 'fake'},{'train' if place < 2 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    settings = BuildSettings(global_size=64)
    build_dataset(tmp_path / "list.csv", tmp_path / "data", settings, progress=False)
    dataset = ShardDataset.open(tmp_path / "data")
    assert len(dataset) == 4
    entry, findings = audit_duplicates(dataset, find_duplicates(dataset))
    assert (entry["same_file"], entry["same_pixels"], entry["near"]) == (0, 3, 0)
    serious = {finding.kind for finding in findings if finding.severity == SERIOUS}
    assert serious == {"duplicates_across_splits", "duplicates_of_both_classes"}


def test_verify_checks_identities(sets: list[ShardDataset]) -> None:
    for dataset in sets:
        assert verify_dataset(dataset, 1, lambda done: None) == []
