"""``build_shards`` and ``verify_shards`` as users run them, with kills and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scripts.build_shards import main
from shards.errors import InputError
from tests.machine.folder_contents import contents

ROOT = Path(__file__).resolve().parents[3]
SMALL = ["--global-size", "32", "--samples-per-shard", "4"]


@pytest.fixture
def images(tmp_path, coded_image, encode_image):
    root = tmp_path / "images"
    for index in range(8):
        folder = root / ("real" if index % 2 else "fake/gan")
        folder.mkdir(parents=True, exist_ok=True)
        data = encode_image(coded_image(index, 40, 30), "JPEG", quality=80)
        (folder / f"{index}.jpg").write_bytes(data)
    (root / "real" / "torn.jpg").write_bytes(data[:300])
    (root / "real" / "empty.jpg").write_bytes(b"")
    (root / "real" / "readme.txt").write_text("hello")
    return root


@pytest.fixture
def many_images(tmp_path, encode_image):
    """A folder of 240 noisy images, so that a build takes seconds."""
    noise, root = np.random.default_rng(0), tmp_path / "images"
    pixels = noise.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    for index in range(240):
        folder = root / ("real" if index % 2 else "fake/gan")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.jpg").write_bytes(encode_image(np.roll(pixels, index, 0), "JPEG"))
    return root


def start(module, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", f"scripts.{module}", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate(timeout=300)
    return process.returncode, out, error


def wait_for(condition, seconds=120):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def done(out):
    """Number of complete shards in ``out``."""
    return len(list(out.glob("*-*.parquet"))) if out.exists() else 0


def test_what_a_list_means_is_said_before_the_work(images, tmp_path, capsys, monkeypatch):
    paths = sorted(images.rglob("*.jpg"))
    listed = images / "list.csv"
    rows = [f"{path.relative_to(images)},{n % 2},test" for n, path in enumerate(paths)]
    listed.write_text("path,label,split\n" + "\n".join(rows) + "\n")
    monkeypatch.setattr("shards.build.build._build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([str(listed), str(tmp_path / "out"), "--label", "0=real"])
    assert f"labels of {listed} by column label (--label): 0 = real (" in capsys.readouterr().out


def test_summary_says_what_was_built(images, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(images), str(out), "--workers", "1", *SMALL]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith("labels by folder: real = real (")
    assert lines[1].startswith("skipped 1 file without an image extension")
    assert f"built {out}: 8 samples in " in captured.out
    (train,) = [line for line in lines if line.startswith("  train")]
    assert re.fullmatch(r"  train +\d+  real \d, generated (\d) \(gan \1\)", train)
    assert f"rejected 2 images, listed in {out / 'rejected.parquet'}:" in lines
    assert any("1  truncated: the file ends before the image does" in line for line in lines)
    assert any("1  empty_file: the file has no bytes" in line for line in lines)
    assert "images/s" in captured.err
    assert main([str(images), str(out), "--workers", "1", *SMALL]) == 0
    assert "already built, nothing to do: 8 samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "0.5,0.5"], "--split 0.5,0.5"),
        (["--samples-per-shard", "0"], "--samples-per-shard 0"),
        (["--global-size", "3"], "--global-size 3"),
        (["--split-seed", "-1"], "--split-seed -1"),
    ],
)
def test_values_out_of_range_are_named_before_anything_is_written(arguments, message, images, tmp_path):
    with pytest.raises(InputError, match=message):
        main([str(images), str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_unknown_arguments_exit_with_two(images, tmp_path, capsys):
    for arguments in (["--speed", "9"], ["--workers", "many"], ["--workers", "0"]):
        with pytest.raises(SystemExit) as caught:
            main([str(images), str(tmp_path / "out"), *arguments])
        assert caught.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_mistakes_are_one_line_and_exit_code_two(images, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for module, *arguments in [
        ("build_shards", tmp_path / "nowhere", tmp_path / "out"),
        ("build_shards", tmp_path / "empty", tmp_path / "out"),
        ("build_shards", images, tmp_path / "file"),
        ("verify_shards", tmp_path / "empty"),
    ]:
        code, out, error = finish(start(module, *arguments))
        assert code == 2
        assert out == "" or out.startswith("labels by folder: ")  # known before the mistake is
        assert error.startswith("error: ")
        assert error.count("\n") == 1
    for module in ("build_shards", "verify_shards"):
        code, out, _ = finish(start(module, "--help"))
        assert code == 0
        assert out.startswith(f"usage: python -m scripts.{module}")


@pytest.mark.slow
def test_a_killed_build_continues_to_the_same_bytes(many_images, tmp_path):
    """A build with two workers gets SIGKILL at several points. The final result is that of a build without
    interruption."""
    arguments = ["--samples-per-shard", "20", "--global-size", "64"]
    code, _, error = finish(start("build_shards", many_images, tmp_path / "straight", *arguments))
    assert code == 0, error
    out = tmp_path / "out"
    for shards_done in (0, 1, 4, 7):
        process = start("build_shards", many_images, out, *arguments, "--workers", "2")
        wait_for(lambda n=shards_done: (out / ".build_plan.parquet").exists() and done(out) >= n)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / "dataset.json").exists()
    code, text, _ = finish(start("build_shards", many_images, out, *arguments, "--workers", "2"))
    assert code == 0
    assert f"\ncontinued and finished {out}: 240 samples" in text
    assert contents(out) == contents(tmp_path / "straight")
    assert finish(start("verify_shards", out))[0] == 0


@pytest.fixture
def heard_ctrl_c():
    """Makes Ctrl-C effective in child processes. They inherit their parent's setting, and a shell's background jobs
    ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun_build(images, out, **streams) -> subprocess.Popen[str]:
    """Starts a build with two workers in its own session. It makes 240 shards, so it is far from finished when the
    first one is complete."""
    words = [sys.executable, "-m", "scripts.build_shards", images, out, "--workers=2", "--samples-per-shard=1"]
    return subprocess.Popen(words, cwd=ROOT, text=True, start_new_session=True, **streams)


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_at_once(many_images, tmp_path, heard_ctrl_c):
    """The signal reaches the whole process group, as it does in a terminal."""
    out = tmp_path / "out"
    process = begun_build(many_images, out, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: done(out))
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    code, _, error = finish(process)
    assert code == 130
    assert time.monotonic() - started < 30
    assert "Traceback" not in error
    assert error.rstrip().endswith("interrupted")
    wait_for(lambda: not group_members(process.pid))
    assert not [path for path in out.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_build(many_images, tmp_path):
    out = tmp_path / "out"
    process = begun_build(many_images, out, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: done(out))
    assert len(group_members(process.pid)) >= 3
    process.kill()
    process.wait()
    wait_for(lambda: not group_members(process.pid), seconds=20)


@pytest.mark.slow
@pytest.mark.parametrize("ended", [signal.SIGTERM, signal.SIGKILL])
def test_workers_do_not_outlive_demo_images_that_are_ended(tmp_path, ended):
    command = [sys.executable, "-m", "scripts.make_demo", tmp_path / "out", "--images=600", "--workers=2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    wait_for(lambda: list((tmp_path / "out").rglob("real/*.*")))
    assert len(group_members(process.pid)) >= 3
    process.send_signal(ended)
    process.wait()
    wait_for(lambda: not group_members(process.pid), seconds=20)


def group_members(group):
    """The process ids of a group's processes, without zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, of_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(of_group) == group and state != "Z":
                found.append(int(entry.name))
    return found
