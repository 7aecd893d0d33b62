"""Libraries' own messages, which do not name the file, do not reach the terminal."""

import os
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from loaders.decode.dali import DaliDecoder
from loaders.decode.jobs import WholeJob
from shards.images.baseline import NotConvertible, to_baseline
from shards.images.decoder_messages import messages_held_back
from shards.images.pixels import decode_rgb
from shards.images.rejection import RejectedImage
from shards.metadata.facts import read_facts

ROOT = Path(__file__).resolve().parents[3]
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def padded(jpeg: bytes) -> bytes:
    """Returns ``jpeg`` with meaningless bytes before its end marker. They are harmless, but libjpeg prints a
    message."""
    return jpeg[:-2] + b"ab" * 30 + jpeg[-2:]


def test_of_libtiff(tmp_path, encode_image):
    """libtiff prints nothing about a damaged file. A process of its own is needed, because libtiff's messages, once
    switched off, stay off for the whole process."""
    data = bytearray(encode_image(PIXELS, "TIFF", compression="tiff_lzw"))
    data[100:140] = b"\xff" * 40
    path = tmp_path / "damaged.tif"
    path.write_bytes(data)
    code = (
        "import sys; from pathlib import Path\n"
        "from shards.images.pixels import RejectedImage, decode_rgb\n"
        "try: decode_rgb(Path(sys.argv[1]).read_bytes())\n"
        "except RejectedImage as error: print(error.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("corrupt\n", "")


def test_of_pillow_whatever_byte_of_a_tiff_is_damaged(encode_image, caplog):
    """A TIFF with any one byte damaged makes Pillow issue no warning, whether the damage shows when the file is opened,
    in its pixels, or as an unsupported feature."""
    exif = Image.Exif()
    exif[271] = "a maker of cameras"
    data = encode_image(PIXELS[:4, :4], "TIFF", exif=exif)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for place in range(8, len(data)):
            damaged = data[:place] + b"\x07" + data[place + 1 :]
            for read in (decode_rgb, read_facts):
                with suppress(RejectedImage):
                    read(damaged)
    assert [str(warning.message) for warning in given] == []
    assert caplog.messages == []


def test_of_libjpeg_while_shards_are_built(encode_image, capfd):
    jpeg = encode_image(PIXELS, "JPEG", progressive=True)
    converted = to_baseline(padded(jpeg))
    assert np.array_equal(decode_rgb(converted), decode_rgb(jpeg))
    with pytest.raises(NotConvertible):
        to_baseline(jpeg[: len(jpeg) // 2])
    assert capfd.readouterr() == ("", "")


def decoded(data: bytes, kind: str) -> int:
    """Decodes a whole image by DALI. Returns the number of failures."""
    decoder = DaliDecoder("cpu", num_crops=1, crop_size=32, batch_size=1, num_threads=1)
    job = WholeJob(
        data=np.frombuffer(data, np.uint8),
        height=64,
        width=64,
        windows=np.array([[0, 0, 32, 32]], np.int32),
        slots=np.array([0]),
        sample=0,
        image_format=kind,
        mode="RGB",
    )
    failures = decoder.decode([job], torch.zeros((1, 32, 32, 3), dtype=torch.uint8))
    decoder.close()
    return len(failures)


def test_of_dali_s_libjpeg_and_libpng(encode_image, capfd):
    png = bytearray(encode_image(PIXELS, "PNG"))
    png[500:502] = b"zz"
    assert decoded(padded(encode_image(PIXELS, "JPEG")), "JPEG") == 0
    assert decoded(encode_image(PIXELS, "PNG", icc_profile=b"x" * 200), "PNG") == 0
    assert decoded(bytes(png), "PNG") == 1
    with pytest.raises(RejectedImage):
        decode_rgb(bytes(png))
    assert capfd.readouterr() == ("", "")


def test_what_others_say_meanwhile_is_passed_on(capfd):
    with messages_held_back():
        os.write(2, b"Corrupt JPEG data: 3 extraneous bytes before marker 0xd9\n")
        os.write(2, b"NCCL WARN something\n")
        os.write(2, b"libpng warning: iCCP: too short\nhalf a li")
        assert capfd.readouterr().err == ""
    os.write(2, b"ne\n")
    assert capfd.readouterr().err == "NCCL WARN something\nhalf a line\n"


def test_threads_share_it_and_leave_stderr_as_it_was(capfd):
    begun = os.listdir("/proc/self/fd")
    inside = threading.Barrier(4)

    def speak() -> None:
        with messages_held_back():
            inside.wait(10)
            for _ in range(500):
                os.write(2, b"libpng error: x\nkept\n")
            inside.wait(10)

    threads = [threading.Thread(target=speak) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err.count("kept\n") == 4 * 500, "no thread wrote over the lines of another"
    assert os.listdir("/proc/self/fd") == begun


def test_without_descriptors_nothing_is_held_back(capfd, monkeypatch):
    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", none_left)
    with messages_held_back():
        os.write(2, b"libpng error: x\n")
    assert capfd.readouterr().err == "libpng error: x\n"
