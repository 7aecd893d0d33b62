"""Machine problems, such as too little memory or a failing disk, are never blamed on an image.

Either the work ends with an error that names the cause, or the access is tried again after a pause.
"""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from glass.predict.image_sources import FileSource, MemberSource
from loaders import LoaderConfig, build_loader
from shards.adopt.adopt import index_tars
from shards.adopt.settings import IndexSettings
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.workers import write_shards
from shards.build.writer import read_record
from shards.errors import InputError, MachineTrouble, trouble_of
from shards.files import patience
from shards.images.formats import rejecting
from shards.images.pixels import decode_rgb
from shards.images.rejection import RejectedImage
from shards.images.tiling import can_tile
from shards.metadata.facts import read_facts
from shards.sources.files import LocalFiles, read_image_file
from shards.verify import verify_dataset
from tests.machine.failing_files import fail_openings, note_pauses

ROOT = Path(__file__).resolve().parents[2]
LACKING = [errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS]
SETTINGS = BuildSettings(global_size=32, split_shares={"train": 0.5, "test": 0.5})
CONFIG = LoaderConfig(global_batch_size=4, num_crops=2, crop_size=32, global_size=64, num_threads=2, backend="turbo")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes pauses take no time. Returns the list that collects the lengths of the pauses that were requested."""
    return note_pauses(monkeypatch)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``failing(name, number, times)`` makes attempts to open files fail; see
    :func:`tests.machine.failing_files.fail_openings`."""
    return partial(fail_openings, monkeypatch)


@pytest.fixture
def images(tmp_path, coded_image, encode_image) -> Path:
    root = tmp_path / "images"
    for index in range(8):
        folder = root / ("real" if index % 2 else "generated/gan")
        folder.mkdir(parents=True, exist_ok=True)
        data = encode_image(coded_image(index, 40, 30), "JPEG", quality=80)
        (folder / f"{index}.jpg").write_bytes(data)
    return root


def build(images: Path, out: Path, **named: Any) -> Any:
    return build_dataset(images, out, SETTINGS, progress=False, **named)


def reasons(out: Path) -> list[tuple[str, str]]:
    table = pq.read_table(out / "rejected.parquet")
    return list(zip(*(table.column(c).to_pylist() for c in ("source_path", "reason")), strict=True))


# -- the decision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", LACKING)
def test_what_a_machine_lacks_is_its_own_fault_and_named(number):
    trouble = trouble_of(OSError(number, "x", "/data/a.jpg"))
    assert trouble is not None
    assert str(trouble).startswith("/data/a.jpg: ")
    assert str(trouble).endswith("run the same command again")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR, errno.EIO])
def test_other_errors_are_not(number):
    assert trouble_of(OSError(number, "x")) is None
    assert trouble_of(ValueError("x")) is None


@pytest.mark.parametrize("number", LACKING)
def test_pillow_passes_the_machine_s_errors_on(number):
    with pytest.raises(MachineTrouble), rejecting(b""):
        raise OSError(number, os.strerror(number))
    with pytest.raises(MemoryError), rejecting(b""):
        raise MemoryError
    with pytest.raises(RejectedImage, match="corrupt"), rejecting(b""):
        raise OSError("broken data stream")


@pytest.mark.slow  # a process; what follows from a MemoryError is tested below
def test_too_little_memory_to_decode_rejects_nothing(tmp_path, encode_image):
    """Decoding 3,000 × 2,500 pixels with 16 MB left raises ``MemoryError``. Runs in its own process with a real
    limit."""
    path = tmp_path / "large.png"
    path.write_bytes(encode_image(np.zeros((2500, 3000, 3), np.uint8), "PNG"))
    code = f"""
import resource
from pathlib import Path
from shards.images.pixels import decode_rgb
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (16 << 20),) * 2)
try:
    decode_rgb(Path({str(path)!r}).read_bytes())
except MemoryError:
    print("memory")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout.strip(), done.returncode) == ("memory", 0), done.stderr


def test_no_conclusion_is_drawn_without_memory(monkeypatch, encode_image):
    """Whether a file can be stored as tiles, and what its orientation is, must depend on the file alone. Therefore a
    ``MemoryError`` during the examination of a file is passed on to the caller."""

    def fail(*_: object) -> None:
        raise MemoryError

    data = encode_image(np.zeros((8, 8, 3), np.uint8), "TIFF")
    with monkeypatch.context() as patch:
        patch.setattr("PIL.TiffImagePlugin.TiffImageFile._setup", fail)
        with pytest.raises(MemoryError):
            can_tile(data, "TIFF")
    monkeypatch.setattr("PIL.Image.Image.getexif", fail)
    with pytest.raises(MemoryError):
        read_facts(data)


# -- building --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EMFILE, pytest.param(errno.ENOMEM, marks=pytest.mark.slow)])
def test_a_build_ends_with_the_cause_and_reads_the_image_afterwards(images, tmp_path, failing, number):
    failing("3.jpg", number, times=1)
    with pytest.raises(MachineTrouble, match=r"3\.jpg: (this process cannot open|there is not)"):
        build(images, tmp_path / "out")
    report = build(images, tmp_path / "out")
    assert (report.info.num_samples, dict(report.info.rejected)) == (8, {})


def test_so_it_does_in_the_second_pass(images, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("shards.images.pixels.is_sixteen_bit", fail)
        with pytest.raises(MachineTrouble, match=r"\.jpg: there is not enough memory"):
            build(images, tmp_path / "out")
    report = build(images, tmp_path / "out")
    assert (report.info.num_samples, dict(report.info.rejected)) == (8, {})


@pytest.mark.parametrize("number", [errno.EIO, pytest.param(errno.ESTALE, marks=pytest.mark.slow)])
def test_a_disk_that_fails_is_asked_again(images, tmp_path, failing, pauses, number):
    failing("3.jpg", number, times=patience.TRIES - 1)
    assert build(images, tmp_path / "out").info.num_samples == 8
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_then_a_build_ends_with_file_and_cause(images, tmp_path, failing):
    failed = failing("3.jpg", errno.EIO, times=patience.TRIES)
    with pytest.raises(MachineTrouble, match=r"3\.jpg cannot be read \(Input/output error, 5 tim"):
        build(images, tmp_path / "out")
    assert len(failed) == patience.TRIES
    assert build(images, tmp_path / "out").info.num_samples == 8


def test_or_goes_on_without_the_image(images, tmp_path, failing):
    failing("3.jpg", errno.EIO, times=patience.TRIES)
    report = build(images, tmp_path / "out", reject_unreadable=True)
    assert (report.info.num_samples, dict(report.info.rejected)) == (7, {"io": 1})
    assert reasons(tmp_path / "out") == [("real/3.jpg", "io")]
    with pytest.raises(InputError, match=r"1 file can be read now but could not be read then, for example"):
        build(images, tmp_path / "out")


def test_also_where_the_disk_fails_in_the_second_pass(images, tmp_path, failing, monkeypatch):
    scanned = build_dataset.__globals__["plan_shards"]

    def plan_then_fail(plan: Any) -> Any:
        failing("3.jpg", errno.EIO)
        return scanned(plan)

    monkeypatch.setattr("shards.build.build.plan_shards", plan_then_fail)
    with pytest.raises(MachineTrouble, match="--reject-unreadable"):
        build(images, tmp_path / "out")
    report = build(images, tmp_path / "out", reject_unreadable=True)
    assert report.continued
    assert (report.info.num_samples, dict(report.info.rejected)) == (7, {"io": 1})


def test_a_folder_that_cannot_be_listed_is_not_one_without_images(images, monkeypatch):
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("gan"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match="Too many open files"):
        list(LocalFiles(images).walk("generated"))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC])
def test_worker_processes_that_cannot_start_are_named(monkeypatch, number, tmp_path):
    """Where /dev/shm is full or no file descriptors are left, the error names /dev/shm and advises ``--workers 1``. It
    does not blame the output folder."""

    class Context:
        def set_forkserver_preload(self, _: object) -> None: ...

        def Value(self, *_: object) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("multiprocessing.get_context", lambda _: Context())
    with pytest.raises(MachineTrouble, match=r"cannot be started .*/dev/shm.*--workers 1"):
        write_shards([_Nothing(), _Nothing()], 2, lambda _: None)


class _Nothing:
    num_images = 1

    def write(self, advance: Callable[[], object]) -> None: ...


def test_a_full_temporary_folder_never_changes_what_is_stored(tmp_path, monkeypatch, coded_image, encode_image):
    root = tmp_path / "images"
    for label in ("real", "generated"):
        (root / label).mkdir(parents=True)
        data = encode_image(coded_image(len(label), 64, 48), "JPEG", progressive=True)
        (root / label / "p.jpg").write_bytes(data)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.NamedTemporaryFile", full)
        with pytest.raises(MachineTrouble, match=r"baseline \(No space left .*TMPDIR"):
            build(root, tmp_path / "out")
    assert build(root, tmp_path / "out").info.stored_as == {"baseline": 2}


def test_descriptors_do_not_make_a_manifest_damaged(images, tmp_path, monkeypatch):
    """A manifest that cannot be opened because no file descriptors are left must not be reported as damaged, because
    the advice for a damaged manifest is to delete it."""
    build(images, tmp_path / "out")
    manifest = next((tmp_path / "out").glob("*-*.parquet"))

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Failed to open local file")

    monkeypatch.setattr("pyarrow.parquet.read_schema", fail)
    with pytest.raises(MachineTrouble, match="cannot open more files"):
        read_record(manifest)


def test_an_index_ends_with_the_cause(tmp_path, synthetic_shards, monkeypatch):
    tar = next(synthetic_shards.glob("train-*.tar"))

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("shards.images.pixels.is_sixteen_bit", fail)
    with pytest.raises(MachineTrouble, match=r"\.tar.*: there is not enough memory"):
        index_tars([tar], tmp_path / "index", IndexSettings(), progress=False)


def test_verify_finds_nothing_wrong_with_a_shard_for_want_of_descriptors(synthetic_dataset, failing):
    failing(synthetic_dataset.info.shards[0].name, errno.EMFILE)
    with pytest.raises(MachineTrouble, match="cannot open more files"):
        verify_dataset(synthetic_dataset, 1, lambda _: None)


# -- loading, predicting ---------------------------------------------------------------------------


def test_a_loader_ends_for_want_of_descriptors_and_blames_no_sample(synthetic_dataset, failing):
    failing(synthetic_dataset.info.shards[0].name, errno.EMFILE)
    with build_loader(synthetic_dataset, "train", CONFIG) as loader:
        with pytest.raises(MachineTrouble, match="cannot open more files"):
            list(loader)
        assert loader.bad_samples() == []


def test_a_loader_masks_what_the_disk_does_not_give(synthetic_dataset, failing, pauses):
    name = next(s.name for s in synthetic_dataset.info.shards if s.split == "train")
    failing(name, errno.ESTALE)
    with build_loader(synthetic_dataset, "train", CONFIG) as loader:
        valid = sum(int(batch["is_valid"].sum()) for batch in loader)
        bad = loader.bad_samples()
    assert {(sample.shard, sample.reason) for sample in bad} == {(name, "io")}
    assert valid + len(bad) == loader.num_samples
    assert pauses == [0.1, 0.2, 0.4, 0.8]  # once, not for every sample


def test_a_loader_reads_on_when_the_disk_is_back(synthetic_dataset, failing):
    name = next(s.name for s in synthetic_dataset.info.shards if s.split == "train")
    failing(name, errno.EIO, times=2)
    with build_loader(synthetic_dataset, "train", CONFIG) as loader:
        assert all(batch["is_valid"].any() for batch in loader)
        assert loader.bad_samples() == []


def sources(path: Path) -> list[Any]:
    tar = path.with_suffix(".tar")
    tar.write_bytes(path.read_bytes())
    return [FileSource(path), MemberSource(tar, "a.jpg", 0, path.stat().st_size)]


@pytest.mark.parametrize("kind", [0, 1])
def test_a_prediction_ends_or_says_io(images, failing, kind):
    source = sources(images / "real" / "3.jpg")[kind]
    name = "3.tar" if kind else "3.jpg"
    failing(name, errno.EMFILE)
    with pytest.raises(MachineTrouble, match=rf"{name}: this process cannot open more files"):
        source.load()
    failing(name, errno.EIO)
    with pytest.raises(RejectedImage, match="io: Input/output error"):
        source.load()
    failing(name, errno.EIO, times=1)
    assert source.load().pixels.shape == (30, 40, 3)


def test_descriptors_that_have_run_out_are_named(tmp_path, encode_image):
    """If the process has reached its limit on file descriptors (a real one here), the error names the image and the
    cause."""
    path = tmp_path / "a.png"
    path.write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8), "PNG"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open(os.devnull, os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
        with pytest.raises(MachineTrouble, match=r"a\.png: this process cannot open more files"):
            read_image_file(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)
    assert decode_rgb(read_image_file(path)).shape == (8, 8, 3)
