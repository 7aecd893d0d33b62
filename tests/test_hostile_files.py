"""Files made to harm: refused with a sentence, in bounded time and memory, and without running."""

import io
import json
import os
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.export.model_folder import load_model, read_model_card, save_model
from glass.measure.predictions import PREDICTION_SCHEMA, read_predictions
from glass.model.model import build_model
from glass.predict.image_sources import FileSource, MemberSource
from glass.predict.source_paths import find_images
from glass.presets import load_preset
from glass.report.run_data import _read_epochs, _read_json
from glass.train.checkpoint import CheckpointStore
from loaders import LoaderConfig, build_loader
from shards.adopt.key_list import read_key_list
from shards.adopt.listing import list_tar
from shards.build.build import build_dataset
from shards.build.first_pass import examine
from shards.build.settings import BuildSettings
from shards.build.writer import read_shard_manifest
from shards.errors import InputError
from shards.files.json_file import parse_json, read_json
from shards.images.rejection import RejectedImage
from shards.manifest.dataset import ShardDataset
from shards.sources.files import LocalFiles
from shards.sources.read import read_sources
from shards.verify import verify_dataset

CONFIG = LoaderConfig(backend="turbo", global_batch_size=4, num_crops=2, crop_size=32, global_size=64, verify="off")


@pytest.fixture
def data(synthetic_shards, tmp_path) -> Path:
    """A data set that a test may spoil."""
    return shutil.copytree(synthetic_shards, tmp_path / "data")


def edit_rows(folder: Path, edit, **options) -> None:
    """Rewrites the manifest; ``options`` are those of Arrow's writer."""
    table = ShardDataset.open(folder).table
    rows = table.to_pylist()
    edit(rows)
    changed = pa.Table.from_pylist(rows, schema=table.schema).combine_chunks()
    with pa.ipc.new_file(folder / "new.arrow", changed.schema, **options) as writer:
        writer.write_table(changed)
    (folder / "new.arrow").rename(folder / "samples.arrow")


def edit_info(folder: Path, edit) -> None:
    path = folder / "dataset.json"
    info = json.loads(path.read_text())
    edit(info)
    path.write_text(json.dumps(info))


def load(folder: Path, **changes) -> list:
    with build_loader(folder, "train", replace(CONFIG, **changes)) as loader:
        return list(loader)


# -- tars ----------------------------------------------------------------------------------------


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A ustar header with a checksum that fits."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def base256(number: int) -> bytes:
    return (number & (1 << 96) - 1 | (0 if number < 0 else 1 << 95)).to_bytes(12, "big")


HOSTILE_TARS = {
    "a size below zero, which walks in circles": header(b"a.jpg", base256(-1024)) + bytes(2048),
    "a size beyond the file": header(b"a.jpg", base256(1 << 60)) + bytes(2048),
    "a long name below zero": header(b"././@LongLink", base256(-512), b"L") + bytes(4096),
    "a long name of a terabyte": header(b"././@LongLink", base256(1 << 40), b"L") + bytes(4096),
    "PAX records of a terabyte": header(b"pax", base256(1 << 40), b"x") + bytes(4096),
    "headers of headers of headers": header(b"pax", b"00000000000\0", b"x") * 5000,
    "names of names of names": header(b"l", b"00000000000\0", b"L") * 5000,
    "a number of thousands of digits": header(b"pax", b"00000017640\0", b"x") + b"9" * 8192,
    "a sparse map without end": b"".join(
        (
            header(b"pax", b"00000000111\0", b"x"),
            b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n29 GNU.sparse.name=000000.jpg\n".ljust(512, b"\0"),
            header(b"a.jpg", b"00000001000\0"),
            b"99999999999\n" + b"1" * 500,
        )
    ),
}


@pytest.mark.parametrize("what", HOSTILE_TARS)
@pytest.mark.timeout(60)
def test_tars_that_mislead_are_refused(what, tmp_path):
    path = tmp_path / "hostile.tar"
    path.write_bytes(HOSTILE_TARS[what] + bytes(1024))
    with pytest.raises(InputError, match=r"hostile\.tar is (no tar|cut off)"):
        list_tar(path)


def test_names_that_lead_out_links_and_doubles_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("../x.jpg", "/etc/y.jpg", "a/../../z.jpg", "ok.jpg", "two.jpg", "two.jpg"):
            tar.addfile(tarfile.TarInfo(name))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"link{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    listing = list_tar(tmp_path / "a.tar")
    assert [sample.key for sample in listing.samples] == ["ok"]
    assert len(listing.bad) == 3 + 2 + 4
    assert {bad.reason for bad in listing.bad} == {"unsafe_member", "duplicate_key"}


# -- manifests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("image_offset", -5, "impossible place of its image"),
        ("global_length", 1 << 62, "impossible place of its global view"),
        ("mcu_length", -1, "impossible place of its entry points"),
        ("width", 0, "impossible size"),
        ("height", 2**31 - 1, "impossible size"),
        ("label", 2, "impossible label"),
    ],
)
def test_a_manifest_with_impossible_numbers(data, column, value, words):
    edit_rows(data, lambda rows: rows[0].update({column: value}))
    with pytest.raises(InputError, match=words):
        load(data)


def test_offsets_outside_the_tar_cost_their_sample(data):
    edit_rows(data, lambda rows: rows[0].update(image_offset=1 << 40))
    batches = load(data)
    assert sum(int(b["is_valid"].sum()) for b in batches) == 11


def test_a_manifest_that_makes_a_tiled_image_larger_costs_its_sample(data):
    """The fuzz found that it was caught only as an unforeseen error."""

    def enlarge(rows):
        row = next(r for r in rows if r["stored_as"] == "tiled" and r["split"] == "train")
        row["height"] += 20_000

    edit_rows(data, enlarge)
    with build_loader(data, "train", CONFIG) as loader:
        assert sum(int(batch["is_valid"].sum()) for batch in loader) == 11
        (bad,) = loader.bad_samples()
    assert bad.reason == "undecodable"


def test_a_split_that_only_the_description_knows(data):
    """The fuzz found a ``ValueError``."""
    edit_rows(data, lambda rows: [row.update(split="valid") for row in rows])
    with pytest.raises(InputError, match="holds no samples"):
        load(data)


def test_members_that_overlap_are_found(data):
    def overlap(rows):
        rows[1]["image_offset"] = rows[0]["image_offset"] + 100

    edit_rows(data, overlap)
    found = {finding.check for finding in verify_dataset(ShardDataset.open(data), 1, lambda n: n)}
    assert "members" in found


def test_a_compressed_manifest_is_refused_before_it_is_unpacked(data):
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    edit_rows(data, lambda rows: None, options=options)
    with pytest.raises(InputError, match="buffers are compressed"):
        ShardDataset.open(data)


def test_other_columns_and_other_types_are_refused(data):
    table = ShardDataset.open(data).table
    place = table.column_names.index("width")
    wider = table.set_column(place, "width", table.column("width").cast(pa.int64()))
    for changed in (wider, table.drop_columns(["label"])):
        with pa.ipc.new_file(data / "new.arrow", changed.schema) as writer:
            writer.write_table(changed)
        (data / "new.arrow").rename(data / "samples.arrow")
        with pytest.raises(InputError, match="other columns"):
            ShardDataset.open(data)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/dev/zero", "", "..", "a/b.tar"])
def test_names_of_shards_that_lead_elsewhere(data, name):
    edit_info(data, lambda info: info["shards"][0].update(name=name))
    with pytest.raises(InputError, match=r"dataset\.json"):
        ShardDataset.open(data)


def test_a_shard_that_only_the_manifest_knows_and_that_leads_elsewhere(data):
    edit_rows(data, lambda rows: rows[0].update(shard="../../../etc/passwd"))
    with pytest.raises(InputError, match=r"names a shard '\.\./"):
        ShardDataset.open(data)


@pytest.mark.parametrize(
    "edit",
    [
        lambda info: info.update(num_samples="24"),
        lambda info: info.update(num_samples=-24),
        lambda info: info.update(global_size=True),
        lambda info: info.update(counts=[1]),
        lambda info: info.update(rejected={"x": []}),
        lambda info: info["shards"].append(None),
        lambda info: info["shards"][0].update(sha256=7),
        lambda info: info["counts"]["train"].update(generators={"gan": "many"}),
        lambda info: info.update(surprise=1),
    ],
)
def test_a_description_of_other_types(data, edit):
    edit_info(data, edit)
    with pytest.raises(InputError, match=r"dataset\.json is damaged"):
        ShardDataset.open(data)


# -- JSON and lists ------------------------------------------------------------------------------

BOMBS = {
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "a number of a million digits": b'{"format_version": ' + b"9" * 1_000_000 + b"}",
    "not a number": b'{"format_version": NaN}',
    "not UTF-8": b'{"format_version": "\xff"}',
    "no object": b"[1, 2]",
}


@pytest.mark.parametrize("what", BOMBS)
@pytest.mark.timeout(60)
def test_json_bombs_in_every_place(what, data, tmp_path):
    (data / "dataset.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"dataset\.json"):
        ShardDataset.open(data)
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "run.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        RunFolder(run).is_finished(RunConfig(), {})
    (run / "model" / "config.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"config\.json"):
        read_model_card(run / "model")
    (run / "checkpoints" / "step-00000001").mkdir(parents=True)
    (run / "checkpoints" / "step-00000001" / "checkpoint.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match="every checkpoint"):
        CheckpointStore(run / "checkpoints").newest()


@pytest.mark.parametrize("what", BOMBS)
def test_json_bombs_in_a_report_and_in_a_tar(what, tmp_path):
    (tmp_path / "run.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"run\.json"):
        dict(_read_json(tmp_path / "run.json"))["config"]
    (tmp_path / "metrics.jsonl").write_bytes(BOMBS[what] + b"\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1"):
        _read_epochs(tmp_path / "metrics.jsonl")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("k.jpg", b"\xff\xd8\xff"), ("k.json", BOMBS[what][: 1 << 20])):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (source,) = find_images([str(tmp_path / "a.tar")]).sources
    assert source.identity is None


def test_the_limits_are_settings(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(list(range(100))))
    assert len(read_json(path)) == 100
    monkeypatch.setenv("GLASS_MAX_JSON_BYTES", "50")
    with pytest.raises(ValueError, match="GLASS_MAX_JSON_BYTES=50"):
        read_json(path)
    monkeypatch.setenv("GLASS_MAX_JSON_BYTES", "lots")
    with pytest.raises(InputError, match="must be a whole number"):
        read_json(path)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(b"[" * 100_000)


def test_lists_that_claim_too_much(tmp_path, monkeypatch):
    rows = {"path": ["a.jpg"] * 9, "key": ["k"] * 9, "label": ["real"] * 9}
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "8")
    for read in (read_sources, read_key_list):
        with pytest.raises(InputError, match="9 rows, more than GLASS_MAX_LIST_ROWS=8"):
            read(tmp_path / "list.parquet")
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "9")
    monkeypatch.setenv("GLASS_MAX_PARQUET_BYTES", "10")
    with pytest.raises(InputError, match="GLASS_MAX_PARQUET_BYTES=10"):
        read_sources(tmp_path / "list.parquet")


def test_parquet_files_that_claim_too_much(data, tmp_path, monkeypatch):
    row = {
        "sample_key": "1",
        "content_id": 1,
        "label": 1,
        "generator": "g",
        "group": "",
        "probability": 0.5,
        "logits": [0.0, 0.0],
        "crop_windows": [],
        "source_path": "a.jpg",
    }
    table = pa.Table.from_pylist([row] * 9, schema=PREDICTION_SCHEMA)
    pq.write_table(table, tmp_path / "predictions-test.parquet")
    dataset = ShardDataset.open(data)
    manifest = next(data.glob("train-*.parquet"))
    assert read_predictions(tmp_path, "test").num_rows == 9
    assert verify_dataset(dataset, 1, lambda n: None) == []
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "3")
    with pytest.raises(InputError, match="9 rows, more than GLASS_MAX_LIST_ROWS=3"):
        read_predictions(tmp_path, "test")
    with pytest.raises(InputError, match="rows, more than GLASS_MAX_LIST_ROWS=3"):
        read_shard_manifest(manifest)
    found = verify_dataset(dataset, 1, lambda n: None)
    assert "GLASS_MAX_LIST_ROWS=3" in found[0].detail


@pytest.mark.parametrize("name", ["a" * 5000 + ".jpg", "x/" * 3000 + "a.jpg", "a\x01b.jpg"])
def test_names_in_a_list_that_no_file_can_have(tmp_path, name):
    """They are missing files like any other. The fuzz found that Python raised on long ones."""
    path = tmp_path / "list.csv"
    path.write_text(f"path,label\n{name},real\nb.jpg,fake\n")
    with pytest.raises(InputError, match="none of the files listed"):
        read_sources(path)
    (tmp_path / "b.jpg").write_bytes(b"")
    assert read_sources(path).table.num_rows == 2
    assert examine(LocalFiles(tmp_path), name).reason == "unreadable"


# -- images --------------------------------------------------------------------------------------


def test_a_file_of_a_terabyte_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    os.truncate(path, 1 << 40)  # sparse: it takes no room
    assert examine(LocalFiles(tmp_path), path.name).reason == "too_large"
    with pytest.raises(RejectedImage, match=r"too_large: 1,099,511,627,776 bytes"):
        FileSource(path).load()
    with pytest.raises(RejectedImage, match="too_large"):
        MemberSource(path, "m.jpg", 0, 1 << 40, None).load()
    monkeypatch.setenv("GLASS_MAX_IMAGE_BYTES", "2")
    path.write_bytes(b"\xff\xd8\xff")
    found = examine(LocalFiles(tmp_path), path.name)
    assert found.detail == "3 bytes, more than GLASS_MAX_IMAGE_BYTES=2"


def claiming(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header says another size."""
    markers = [bytes([0xFF, kind]) for kind in (0xC0, 0xC1, 0xC2)]
    at = next(jpeg.index(marker) for marker in markers if marker in jpeg)
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return jpeg[: at + 5] + size + jpeg[at + 9 :]


def test_an_image_that_claims_65535_pixels_square_is_rejected(tmp_path, coded_image, encode_image):
    for number in range(8):
        folder = tmp_path / "images" / ("real" if number % 2 else "fake/gan")
        folder.mkdir(parents=True, exist_ok=True)
        jpeg = encode_image(coded_image(number, 40, 30), "JPEG")
        (folder / f"{number}.jpg").write_bytes(jpeg)
    (folder / "huge.jpg").write_bytes(claiming(jpeg, 65535, 65535))
    before = psutil.Process().memory_info().rss
    report = build_dataset(tmp_path / "images", tmp_path / "out", BuildSettings(global_size=32), progress=False)
    assert dict(report.info.rejected) == {"too_large": 1}
    assert psutil.Process().memory_info().rss - before < 200 << 20


@pytest.mark.parametrize("decode", ["full", "window"])
@pytest.mark.parametrize("backend", ["turbo", "dali", "reference"])
def test_an_image_that_grew_in_its_shard_is_masked_in_bounded_memory(data, backend, decode):
    """With checksums off; the file still says what it claims only when it is opened."""
    dataset = ShardDataset.open(data)
    names = ("shard", "image_offset", "image_length", "format")
    for row in dataset.split_rows("train"):
        shard, offset, length, kind = (dataset.column(name)[row] for name in names)
        if kind != "JPEG":
            continue
        path = dataset.shard_path(shard)
        tar = bytearray(path.read_bytes())
        tar[offset : offset + length] = claiming(bytes(tar[offset : offset + length]), 65535, 65535)
        path.write_bytes(tar)
    list(load(data, backend=backend, decode=decode))  # what the decoders keep for good
    before = psutil.Process().memory_info().rss
    with build_loader(data, "train", replace(CONFIG, backend=backend, decode=decode)) as loader:
        valid = sum(int(batch["is_valid"].sum()) for batch in loader)
        assert 0 < valid < 12
        assert len(loader.bad_samples()) == 12 - valid
    assert psutil.Process().memory_info().rss - before < 300 << 20


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card.update(config=[1, 2]),
        lambda card: card.update(normalisation={}),
        lambda card: card["normalisation"]["global_backbone"].update(mean=["x"]),
        lambda card: card["normalisation"]["global_backbone"].update(colour=1),
        lambda card: card["config"].update(loader=7),
    ],
)
def test_a_model_whose_description_makes_no_sense(tmp_path, edit):
    """The fuzz found the second."""
    config = apply_overrides(load_preset("glass_tiny"), ["model.global_backbone=test_vit"])
    save_model(tmp_path, build_model(config, with_weights=False), config)
    card = json.loads((tmp_path / "config.json").read_text())
    edit(card)
    (tmp_path / "config.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"config\.json is damaged|unknown setting"):
        load_model(tmp_path, "cpu")


@pytest.mark.parametrize("name", ["config", "data", "finished"])
def test_a_record_of_a_run_that_lacks_a_part(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.begin(RunConfig(), {"name": "demo", "dataset_json_sha256": "a" * 64}, {})
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    del record[name]
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        folder.is_finished(RunConfig(), {"dataset_json_sha256": "a" * 64})


# -- checkpoints and weights ---------------------------------------------------------------------


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(1, {"weight": torch.zeros(3)}, {"state": {}}, {"progress": {}})
    return store


def test_a_checkpoint_packed_to_unpack_to_any_size(store):
    path = store.newest() / "training.pt"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content + bytes(1 << 20))
    with pytest.raises(InputError, match="cannot be read"):
        store.read(path.parent)


def test_an_old_pickle_in_place_of_a_checkpoint(store, tmp_path):
    path = store.newest() / "optimizer.pt"
    path.write_bytes(f"cos\nsystem\n(S'touch {tmp_path / 'ran'}'\ntR.".encode())
    with pytest.raises(InputError, match="cannot be read"):
        store.read(path.parent)
    assert not (tmp_path / "ran").exists()


def test_weights_whose_header_claims_more_than_the_file(store):
    path = store.newest() / "model.safetensors"
    for length, text in (
        (1 << 62, b"{}"),
        (60, b'{"weight":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,39999999996]}}'),
        (5, b'{"a":'),
    ):
        path.write_bytes(length.to_bytes(8, "little") + text)
        with pytest.raises(InputError, match="cannot be read"):
            store.read(path.parent)
