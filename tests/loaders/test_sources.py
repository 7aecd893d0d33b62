"""Images outside shards are found by name, decoded exactly as images in shards are, and refused with a reason."""

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from glass.predict.image_sources import BytesSource, FileSource, MemberSource, PixelSource, source_of
from glass.predict.source_paths import find_images
from loaders.decode.encoded_image import decode_file
from shards.errors import InputError
from shards.images.pixels import RejectedImage, decode_rgb, pixel_sha256
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import content_id


def names(found):
    return [os.path.basename(source.name) for source in found.sources]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 90}),
        ("JPEG", {"quality": 70, "progressive": True, "subsampling": 0}),
        ("JPEG", {"quality": 80, "grey": True}),
        ("PNG", {}),
        ("WEBP", {"quality": 60}),
    ],
)
def test_pixels_are_the_oracles(coded_image, encode_image, kind, options):
    data = encode_image(coded_image(3, 211, 157), kind, **options)
    assert np.array_equal(decode_file(data), decode_rgb(data))


def test_cmyk_goes_to_the_oracle(coded_image):
    buffer = io.BytesIO()
    Image.fromarray(coded_image(3, 90, 70)).convert("CMYK").save(buffer, "JPEG")
    assert np.array_equal(decode_file(buffer.getvalue()), decode_rgb(buffer.getvalue()))


def test_half_a_scan_with_an_end_marker_is_refused(coded_image, encode_image):
    """A JPEG that ends in the middle of its scan, but with an end marker, is refused, as in a build. Pillow fills the
    missing half with grey and reports no error."""
    data = encode_image(coded_image(3, 400, 300), "JPEG", quality=90)
    cut = data[: len(data) // 2] + b"\xff\xd9"
    decode_rgb(cut)
    with pytest.raises(RejectedImage, match="corrupt"):
        decode_file(cut)


def test_harmless_rubbish_behind_the_image_is_no_reason(coded_image, encode_image):
    data = encode_image(coded_image(3, 100, 80), "JPEG", quality=90)
    assert np.array_equal(decode_file(data + b"trailing" * 9), decode_rgb(data))


def test_identity_is_the_pixels(tmp_path, coded_image, encode_image):
    data = encode_image(coded_image(1, 50, 40), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    pixels = decode_rgb(data)
    expected = content_id(pixel_sha256(pixels))
    for source in (
        FileSource(tmp_path / "a.png"),
        BytesSource("x", data),
        PixelSource("x", pixels),
        PixelSource("x", Image.fromarray(pixels)),
    ):
        assert source.load().content_id == expected


def test_what_is_no_image_says_why(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    os.symlink(tmp_path / "loop.jpg", tmp_path / "loop.jpg")
    expected = {
        "empty.jpg": "empty_file",
        "text.jpg": "not_an_image",
        "folder.jpg": "unreadable",
        "pipe.jpg": "unreadable",
        "loop.jpg": "unreadable",
        "none.jpg": "unreadable",
        "nul\0.jpg": "unreadable",
    }
    for name, reason in expected.items():
        with pytest.raises(RejectedImage) as caught:
            FileSource(tmp_path / name).load()
        assert caught.value.reason == reason, name


def test_pixels_of_another_kind_are_refused():
    for image in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        Image.new("F", (4, 4)),
    ):
        with pytest.raises(RejectedImage, match="unsupported_mode"):
            PixelSource("x", image).load()
    with pytest.raises(TypeError, match="image 3 is a int"):
        source_of(7, 3)


def test_folders_patterns_and_lists_in_order(tmp_path, coded_image, encode_image):
    data = encode_image(coded_image(1, 50, 40), "PNG")
    for name in ("b/2.png", "b/1.PNG", "a.png", ".hidden.png", "b/.git/x.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = find_images([str(tmp_path)])
    assert names(found) == ["a.png", "1.PNG", "2.png"]
    assert found.passed_over == 1
    assert names(find_images([str(tmp_path / "b" / "?.png"), str(tmp_path / "a.png")])) == ["2.png", "a.png"]
    lines = [f"{tmp_path}/a.png\n".encode(), b"\n", f"{tmp_path}/none.png\r\n".encode()]
    assert names(find_images(["-"], lines)) == ["a.png", "none.png"]
    for missing in ("none.png", "*.gif"):
        with pytest.raises(InputError, match="does not exist"):
            find_images([str(tmp_path / missing)])


def test_a_file_named_like_a_pattern_is_that_file(tmp_path, coded_image, encode_image):
    (tmp_path / "a[1].png").write_bytes(encode_image(coded_image(1, 50, 40), "PNG"))
    assert names(find_images([str(tmp_path / "a[1].png")])) == ["a[1].png"]


def test_shards_by_manifest_and_alone_give_the_same_images(synthetic_shards, tmp_path):
    """A shard that was copied without its manifest gives the same content ids, because these derive from the pixels."""
    dataset = ShardDataset.open(synthetic_shards)
    whole = find_images([str(synthetic_shards)]).sources
    assert [source.row for source in whole] == list(range(len(dataset)))
    tar = sorted(synthetic_shards.glob("train-*.tar"))[0]
    by_manifest = find_images([str(tar)]).sources
    shutil.copy(tar, tmp_path)
    alone = find_images([str(tmp_path / tar.name)]).sources
    assert len(alone) == len(by_manifest) > 0
    for first, second in zip(by_manifest, alone, strict=True):
        one, other = first.load(), second.load()
        assert one.content_id == other.content_id == dataset.column("content_id")[first.row]
        assert np.array_equal(one.pixels, other.pixels)


def test_a_tar_that_was_cut_says_so(synthetic_shards, tmp_path):
    tar = sorted(synthetic_shards.glob("train-*.tar"))[0]
    (tmp_path / "x.tar").write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(InputError, match="cut off"):
        find_images([str(tmp_path / "x.tar")])
    with pytest.raises(RejectedImage, match="truncated"):
        MemberSource(tmp_path / "x.tar", "m", 1000, 5000).load()


def test_whatever_a_list_names_is_a_source(tmp_path, synthetic_shards):
    """Each entry of a list becomes a source. Sources with names that are not UTF-8 or that no file can have, damaged
    tars and damaged data sets fail when they are loaded, without affecting the others."""
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    damaged, rubbish = tmp_path / "damaged", tmp_path / "x.tar"
    damaged.mkdir()
    (damaged / "dataset.json").write_text("{")
    rubbish.write_bytes(b"no tar" * 100)
    whole = sorted(synthetic_shards.glob("train-*.tar"))[0]
    paths = [odd, b"x" * 256 + b".tar", b"nul\0", bytes(damaged), bytes(rubbish)]
    sources = find_images(["-"], [*(path + b"\n" for path in paths), bytes(whole)]).sources
    for source in sources[: len(paths)]:
        with pytest.raises(RejectedImage, match="unreadable"):
            source.load()
    assert sources[0].name.endswith("caf\\xe9.png")
    assert len(sources) == len(paths) + len(find_images([str(whole)]).sources)
    for arguments in ([str(rubbish), str(whole)], [str(tmp_path / "*.tar"), str(whole)]):
        assert len(find_images(arguments).sources) == len(sources) - len(paths) + 1
    for alone in (rubbish, damaged):
        with pytest.raises(InputError, match=alone.name):
            find_images([str(alone)])


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch, coded_image, encode_image):
    """A folder that cannot be listed becomes a source that fails when it is loaded. The system's error is simulated,
    because the superuser may list every folder."""
    for name in ("a/1.png", "locked/2.png", "z/3.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encode_image(coded_image(1, 50, 40), "PNG"))
    real = os.scandir

    def scandir(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_images([str(tmp_path)])
    assert names(found) == ["1.png", "locked", "3.png"]
    with pytest.raises(RejectedImage, match="cannot be listed: Permission denied"):
        found.sources[1].load()


def test_a_damaged_pillow_image_is_refused(coded_image, encode_image):
    """A truncated Pillow image is refused when it is loaded. Pillow reads only the header when it opens a file."""
    for kind in ("JPEG", "PNG"):
        data = encode_image(coded_image(1, 200, 150), kind)
        image = Image.open(io.BytesIO(data[: len(data) // 2]))
        with pytest.raises(RejectedImage, match="truncated"):
            PixelSource("x", image).load()
