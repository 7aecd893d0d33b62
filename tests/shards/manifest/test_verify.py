"""Every kind of damage is found, and reported by the check that is responsible for it."""

import io
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.verify_shards import main
from shards.build.finish import write_manifest
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.verify import CHECKS, verify_dataset
from tests.images.small_builds import build
from tests.machine.strangers import edit_info


@pytest.fixture(scope="module")
def whole(small_set, tmp_path_factory):
    """A data set of ten small images. Do not write into it."""
    root = tmp_path_factory.mktemp("verify")
    for path in (small_set / "images").rglob("0*.jpg"):
        copy = root / "images" / path.relative_to(small_set / "images")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    build(root / "images", root / "data")
    return root / "data"


@pytest.fixture
def data(whole, tmp_path):
    """A copy of the data set that a test may damage."""
    return shutil.copytree(whole, tmp_path / "data")


def checks(folder):
    """Returns (names of the checks that found something, all findings)."""
    findings = verify_dataset(ShardDataset.open(folder), 2, lambda n: None)
    assert {finding.check for finding in findings} <= set(CHECKS)
    return {finding.check for finding in findings}, findings


def first_row(folder, **wanted):
    rows = ShardDataset.open(folder).table.to_pylist()
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


def overwrite(folder, row, member, content, at=0):
    with (folder / row["shard"]).open("r+b") as tar:
        tar.seek(row[f"{member}_offset"] + at)
        tar.write(content)


def edit_rows(folder, edit):
    """Applies ``edit`` to the rows of ``samples.arrow`` and leaves the shards' own manifests unchanged."""
    table = ShardDataset.open(folder).table
    rows = table.to_pylist()
    edit(rows)
    changed = pa.Table.from_pylist(rows, schema=table.schema)
    del table
    with pa.ipc.new_file(folder / "new.arrow", changed.schema) as writer:
        writer.write_table(changed.combine_chunks())
    (folder / "new.arrow").rename(folder / "samples.arrow")


def test_nothing_is_found_in_a_fresh_data_set(synthetic_dataset):
    done = []
    assert verify_dataset(synthetic_dataset, 2, done.append) == []
    assert sum(done) == len(synthetic_dataset)


def test_a_flipped_bit_of_an_image_is_found(data):
    row = first_row(data, format="JPEG", stored_as="source")
    original = (data / row["shard"]).read_bytes()[row["image_offset"] + row["image_length"] - 50]
    overwrite(data, row, "image", bytes([original ^ 1]), row["image_length"] - 50)
    found, findings = checks(data)
    assert {"tar", "image"} <= found
    assert any(row["sample_key"] in finding.where for finding in findings)


def test_changed_global_view_is_found(data):
    row = first_row(data)
    overwrite(data, row, "global", b"\x01\x02\x03", row["global_length"] - 3)
    assert checks(data)[0] == {"tar", "global_view"}


def test_changed_entry_points_are_found(data):
    row = first_row(data, not_indexable=None)
    overwrite(data, row, "mcu", bytes(4))
    assert checks(data)[0] == {"tar", "entry_points"}


def test_changed_json_is_found(data):
    row = first_row(data, label=1)
    with (data / row["shard"]).open("rb") as tar:
        tar.seek(row["json_offset"])
        text = tar.read(row["json_length"])
    overwrite(data, row, "json", text.replace(b'"label": 1', b'"label": 0'))
    assert checks(data)[0] == {"tar", "facts"}
    overwrite(data, row, "json", b"{{")
    assert checks(data)[0] == {"tar", "facts"}


def test_cut_and_missing_tars_are_found(data):
    info = ShardDataset.open(data).info
    first, second = (data / shard.name for shard in info.shards[:2])
    first.write_bytes(first.read_bytes()[:8_000])
    second.unlink()
    found, findings = checks(data)
    assert {"tar", "members", "image", "counts"} <= found
    named = {finding.where.split()[0] for finding in findings}
    assert {first.name, second.name} <= named


def test_swapped_members_are_found(data):
    """A tar with the same members in another order is found to be damaged."""
    path = data / ShardDataset.open(data).info.shards[0].name
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members[4:] + members[:4]:
            tar.addfile(member, io.BytesIO(content))
    assert {"tar", "members"} <= checks(data)[0]


def test_foreign_index_is_found(data):
    names = sorted(path.name for path in data.glob("*.idx"))
    shutil.copy(data / names[0], data / names[1])
    assert checks(data)[0] == {"index"}
    (data / names[1]).unlink()
    assert checks(data)[0] == {"index"}


def test_differing_manifests_are_found(data):
    edit_rows(data, lambda rows: rows[0].update(width=rows[0]["width"] + 1))
    assert checks(data)[0] == {"manifest", "facts"}


def test_a_manifest_with_other_bytes_is_found(data):
    """A ``samples.arrow`` with other bytes is found even if its values are the same."""
    write_manifest(ShardDataset.open(data).table, data / "samples.arrow")
    assert checks(data)[0] == {"manifest"}
    edit_info(data, lambda info: info.pop("manifest_sha256"))  # as older versions wrote it
    assert checks(data)[0] == set()


def test_lost_or_damaged_parquet_is_found(data):
    first, second, *_ = sorted(data.glob("train-*.parquet"))
    first.write_bytes(b"not a parquet file")
    second.unlink()
    found, findings = checks(data)
    assert found == {"manifest"}
    assert len(findings) == 2


def test_wrong_hashes_are_found(data):
    def edit(rows):
        rows[0]["pixel_sha256"] = bytes(32)
        rows[1]["sha256"] = bytes(32)
        rows[2]["content_id"] ^= 1
        rows[3]["image_crc32"] ^= 1
        rows[4]["global_crc32"] ^= 1
        rows[5]["mcu_crc32"] ^= 1

    edit_rows(data, edit)
    found, _ = checks(data)
    assert found == {"manifest", "pixels", "image", "facts", "global_view", "entry_points"}


@pytest.mark.parametrize(
    "edit",
    [
        lambda info: info["counts"]["train"].update(real=99),
        pytest.param(lambda info: info["not_indexable"].update(progressive=99), marks=pytest.mark.slow),
        pytest.param(lambda info: info["rejected"].update(truncated=1), marks=pytest.mark.slow),
        lambda info: info["shards"][0].update(samples=99),
    ],
)
def test_wrong_counts_are_found(edit, data):
    edit_info(data, edit)
    assert "counts" in checks(data)[0]


def test_unaccounted_tar_and_lost_rejects_are_found(data):
    shutil.copy(next(data.glob("*.tar")), data / "train-000099.tar")
    (data / "rejected.parquet").unlink()
    found, findings = checks(data)
    assert found == {"counts"}
    assert len(findings) == 2


def test_rejects_of_another_build_are_found(data):
    table = pq.read_table(data / "rejected.parquet")
    row = dict.fromkeys(table.column_names, "x") | {"reason": "truncated"}
    pq.write_table(pa.Table.from_pylist([row], schema=table.schema), data / "rejected.parquet")
    assert checks(data)[0] == {"counts"}


def test_offsets_outside_the_tar_are_found_without_a_crash(data):
    def edit(rows):
        rows[0]["image_offset"] = 2**40
        rows[1]["global_length"] = 2**40
        rows[2]["mcu_offset"] = -5
        rows[3]["json_length"] = 0

    edit_rows(data, edit)
    assert {"manifest", "members", "image", "global_view", "facts"} <= checks(data)[0]


def test_command_tells_clean_from_damaged_by_its_exit_code(data, capsys):
    assert main([str(data)]) == 0
    assert "none" in capsys.readouterr().out
    rows = ShardDataset.open(data).table.to_pylist()
    for row in rows[:3]:
        overwrite(data, row, "global", b"\x01\x02\x03", row["global_length"] - 3)
    assert main([str(data), "--threads", "1", "--show", "2"]) == 1
    output = capsys.readouterr().out
    assert "global_view: " in output
    assert "and 2 more" in output
    with pytest.raises(InputError, match="does not exist"):
        main([str(data / "nowhere")])


def test_names_cannot_command_the_terminal(tmp_path, coded_image, encode_image, capsys):
    """A file name with an escape sequence is stored unchanged in the manifest, but escaped on the screen."""
    from scripts.build_shards import main as build_shards

    for index, name in enumerate(["real/a\x1b[2Jb.png", "real/c\x1b[2J.jpg", "fake/g\x1b[2Jn/d.png"]):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(coded_image(index, 30, 20 + index), "PNG")[: 40 if index == 1 else None])
    assert build_shards([str(tmp_path / "src"), str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert "fake/g\x1b[2Jn/d.png" in ShardDataset.open(tmp_path / "out").column("source_path")
    np.testing.assert_equal(main([str(tmp_path / "out")]), 0)
    assert "\x1b[2J" not in capsys.readouterr().out
