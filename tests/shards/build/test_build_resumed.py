"""A build that was interrupted, is repeated, or is started again with other sources or settings: what continues, what
is refused."""

import fcntl
import os
import shutil

import pyarrow.parquet as pq
import pytest

import shards.build.writer
from shards.build.plan import PLAN_NAME, current_versions
from shards.build.split import parse_shares
from shards.build.writer import write_shard
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.images.small_builds import build
from tests.machine.folder_contents import contents


@pytest.fixture
def crash_after(monkeypatch):
    """``crash_after(n)`` makes later builds crash after writing ``n`` shards. Returns the exception that they raise."""

    class Crash(BaseException):
        pass

    def arm(shards_written):
        written = []

        def write_and_count(task, advance):
            if len(written) == shards_written:
                raise Crash
            write_shard(task, advance)
            written.append(task)

        monkeypatch.setattr(shards.build.writer, "write_shard", write_and_count)
        return Crash

    return arm


@pytest.mark.parametrize("shards_written", [*(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1)), 2])
def test_interrupted_build_continues_to_the_same_bytes(shards_written, small_copy, crash_after):
    images, straight, out = small_copy / "images", small_copy / "out", small_copy / "again"
    crash = crash_after(shards_written)
    with pytest.raises(crash):
        build(images, out)
    with pytest.raises(InputError, match="continues an interrupted build"):
        ShardDataset.open(out)
    done = {p.name: p.stat().st_mtime_ns for p in out.glob("*.tar")}
    assert len(done) == shards_written
    (out / ".train-000000.tar.1234.tmp").write_bytes(b"left by a killed process")
    crash_after(1000)
    report = build(images, out)
    assert report.continued
    assert not report.finished_before
    assert contents(out) == contents(straight)
    assert all((out / name).stat().st_mtime_ns == t for name, t in done.items())


def test_a_flipped_bit_of_the_plan_is_found(small_copy):
    """A plan with a flipped bit is refused. Fuzzing had found that a build changed finished shards to follow such a
    plan."""
    path = small_copy / "out" / PLAN_NAME
    plan, group = path.read_bytes(), pq.read_metadata(path).row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        start = column.dictionary_page_offset or column.data_page_offset
        flipped = bytearray(plan)
        flipped[start + column.total_compressed_size - 1] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(InputError, match="is damaged"):
            build(small_copy / "images", small_copy / "out")


def test_finished_build_does_nothing(small_copy):
    before = {p.name: p.stat().st_mtime_ns for p in (small_copy / "out").iterdir()}
    for path in (small_copy / "images").rglob("*.jpg"):
        os.utime(path)  # touched, yet the same
    report = build(small_copy / "images", small_copy / "out", workers=3)
    assert report.finished_before
    assert {p.name: p.stat().st_mtime_ns for p in (small_copy / "out").iterdir()} == before


def test_a_data_set_among_its_images_is_not_taken_for_images(small_copy):
    images = small_copy / "images"
    out = images / "out"
    shutil.move(small_copy / "out", out)
    report = build(images, out)
    assert report.finished_before
    assert f"skipped the data set in {out}" in report.notes
    with pytest.raises(InputError, match="is a data set, which needs no build"):
        build(out, small_copy / "again")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"split_seed": 1}, "--split-seed was 606 and is 1", marks=pytest.mark.slow),
        ({"global_size": 64}, "--global-size was 32 and is 64"),
        pytest.param({"samples_per_shard": 5}, "--samples-per-shard was 4 and is 5", marks=pytest.mark.slow),
        ({"split_shares": parse_shares("0.6,0.2,0.2")}, "--split was 0.5,0.25,0.25 and is 0.6,0.2,0.2"),
    ],
)
@pytest.mark.parametrize("finished", [pytest.param(True, marks=pytest.mark.slow), False])
def test_other_settings_are_refused(change, message, finished, small_images, tmp_path, crash_after):
    if finished:
        build(small_images, tmp_path / "out")
    else:
        with pytest.raises(crash_after(1)):
            build(small_images, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        build(small_images, tmp_path / "out", **change)
    assert contents(tmp_path / "out") == before


def test_other_sources_are_refused(small_copy):
    before = contents(small_copy / "out")

    def refused(message):
        with pytest.raises(InputError, match=message):
            build(small_copy / "images", small_copy / "out")
        assert contents(small_copy / "out") == before

    shutil.copy(small_copy / "images" / "real" / "01.jpg", small_copy / "images" / "real" / "new.jpg")
    refused(r"1 file added, for example real/new\.jpg")
    (small_copy / "images" / "real" / "new.jpg").unlink()
    path = small_copy / "images" / "real" / "03.jpg"
    data = path.read_bytes()
    path.write_bytes(data[:-3] + b"\0" + data[-2:])
    refused(r"1 file changed, for example real/03\.jpg")
    path.unlink()
    refused(r"1 file removed, for example real/03\.jpg")
    path.write_bytes(data)
    assert build(small_copy / "images", small_copy / "out").finished_before


def test_a_source_that_changes_under_the_build_stops_it(small_images, tmp_path, crash_after):
    """A source that changes during a build stops it even if its size and modification time stay the same. The change is
    noticed when the file's contents are read again."""
    with pytest.raises(crash_after(0)):
        build(small_images, tmp_path / "out")
    crash_after(1000)
    path = small_images / "real" / "03.jpg"
    data, status = path.read_bytes(), path.stat()
    path.write_bytes(data[:-3] + b"\0" + data[-2:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match=r"03\.jpg changed while the shards were built"):
        build(small_images, tmp_path / "out")
    path.write_bytes(data)
    assert build(small_images, tmp_path / "out").info.num_samples == 16


def test_other_programs_are_refused_until_the_end(small_images, tmp_path, crash_after, monkeypatch):
    with pytest.raises(crash_after(1)):
        build(small_images, tmp_path / "out")
    crash_after(1000)
    versions = current_versions()
    with monkeypatch.context() as other:
        newer = {**versions, "pillow": "99.0"}
        other.setattr("shards.build.plan_changes.current_versions", lambda: newer)
        with pytest.raises(InputError, match=r"pillow was .* and is 99\.0"):
            build(small_images, tmp_path / "out")
    build(small_images, tmp_path / "out")
    monkeypatch.setattr("shards.build.plan_changes.current_versions", lambda: newer)
    assert build(small_images, tmp_path / "out").finished_before


def test_two_builds_at_once_are_refused(small_images, tmp_path):
    (tmp_path / "out").mkdir()
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another build is writing"):
        build(small_images, tmp_path / "out")
    os.close(descriptor)
    assert build(small_images, tmp_path / "out").info.num_samples == 16


def test_a_lost_or_cut_tar_is_noticed_and_can_be_rebuilt(small_copy):
    images, out = small_copy / "images", small_copy / "out"
    before = contents(out)
    (out / "train-000001.tar").write_bytes(before["train-000001.tar"][:-1024])
    with pytest.raises(InputError, match=r"delete train-000001\.parquet and run"):
        build(images, out)
    (out / "train-000001.parquet").unlink()
    report = build(images, out)
    assert not report.finished_before
    assert contents(out) == before
