"""From one file to one sample: members and row derive from one decode."""

import hashlib
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from shards.build.make_sample import build_sample, json_fields
from shards.build.packing import PackedSource
from shards.images.pixels import decode_rgb, global_view, pixel_sha256
from shards.images.rejection import RejectedImage
from shards.manifest.schema import MEMBERS, SAMPLE_SCHEMA

SOURCE = PackedSource("real/a.jpg", b"", "JPEG", 1, "gan", "scene", "train")


@pytest.fixture(scope="module")
def noisy_jpeg(encode_image):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    return encode_image(noise, "JPEG", quality=80)


def sample_of(data):
    return build_sample(data, SOURCE, "000000000007", "train-000000.tar", 64)


def test_members_and_row_follow_from_the_file(noisy_jpeg):
    sample = sample_of(noisy_jpeg)
    image, facts, view, entry_points = (content for _, content in sample.members)
    assert [name for name, _ in sample.members] == ["jpg", "json", "global.npy", "mcu"]
    assert image == noisy_jpeg
    pixels = decode_rgb(noisy_jpeg)
    np.testing.assert_array_equal(np.load(io.BytesIO(view)), global_view(pixels, 64))
    assert entry_points.startswith(b"GMCU")
    row = sample.row
    assert row["sha256"] == hashlib.sha256(noisy_jpeg).digest()
    assert row["content_id"] == int.from_bytes(row["pixel_sha256"][:8], "big", signed=True)
    assert row["pixel_sha256"] == pixel_sha256(pixels)
    assert row["image_crc32"] == zlib.crc32(noisy_jpeg)
    assert row["global_crc32"] == zlib.crc32(view)
    assert row["mcu_crc32"] == zlib.crc32(entry_points)
    assert (row["label"], row["class_name"], row["generator"]) == (1, "generated", "gan")
    offsets = {f"{member}_{what}" for member in MEMBERS for what in ("offset", "length")}
    assert set(row) | offsets == set(SAMPLE_SCHEMA.names)
    assert json.loads(facts)["pixel_sha256"] == row["pixel_sha256"].hex()
    assert not set(json.loads(facts)) & offsets


def test_equal_files_make_equal_samples(noisy_jpeg):
    assert sample_of(noisy_jpeg) == sample_of(noisy_jpeg)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2] + b"\xff\xd9", lambda data: data[:3000] + b"\x5a" * 400 + data[3400:]],
    ids=["half an image with an end marker", "a stretch overwritten"],
)
def test_damage_that_pillow_passes_over_is_rejected(damage, noisy_jpeg):
    damaged = damage(noisy_jpeg)
    assert decode_rgb(damaged).shape == (200, 300, 3)  # with grey or rubbish in it
    with pytest.raises(RejectedImage) as caught:
        sample_of(damaged)
    assert caught.value.reason == "corrupt"


def test_rubbish_behind_the_image_is_harmless(noisy_jpeg):
    """Bytes after the end of the image are ignored; cameras append previews and videos there."""
    sample = sample_of(noisy_jpeg + b"more" * 100)
    assert sample.row["not_indexable"] is None
    assert sample.row["pixel_sha256"] == sample_of(noisy_jpeg).row["pixel_sha256"]


def test_no_field_of_the_json_is_null_or_changes_its_type(noisy_jpeg, encode_image):
    """Every field of a sample's JSON has the same type in all samples and is never null, because readers such as
    ``datasets`` derive a column's type from the first few samples."""
    pixels = decode_rgb(noisy_jpeg)
    files = [noisy_jpeg, *(encode_image(pixels, kind) for kind in ("PNG", "WEBP", "BMP"))]
    files.append(encode_image(Image.fromarray(pixels).convert("P"), "GIF"))
    files.append(encode_image(np.zeros((1, 1, 3), np.uint8), "JPEG", progressive=True))
    facts = [json.loads(dict(sample_of(data).members)["json"]) for data in files]
    assert len({fact["not_indexable"] for fact in facts}) > 1
    types = [{name: type(value) for name, value in fact.items()} for fact in facts]
    assert all(kinds == types[0] for kinds in types)
    assert type(None) not in types[0].values()


def test_the_json_follows_the_columns_whatever_is_null():
    """A new column of the manifest appears in the JSON without further code, and missing values become "", 0 or
    False."""
    places = {"shard", *(name for name in SAMPLE_SCHEMA.names if name.endswith("_crc32"))}
    places |= {f"{member}_{what}" for member in MEMBERS for what in ("offset", "length")}
    empty = json_fields(dict.fromkeys(SAMPLE_SCHEMA.names) | {"content_id": -1})
    assert set(empty) == set(SAMPLE_SCHEMA.names) - places
    assert empty.pop("content_id") == "f" * 16
    assert {repr(value) for value in empty.values()} <= {"''", "0", "0.0", "False"}
