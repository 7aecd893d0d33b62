"""``bench doctor`` reports the faults of a machine and never crashes because of them.

No GPU was available when these tests were written, so they replace CUDA by fakes.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
import torch

from bench import doctor, doctor_decoders, doctor_gpu
from bench.doctor_decoders import seconds
from bench.harness.schemas import check_result
from shards.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_look")

PROC = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
)


@pytest.fixture(scope="module", autouse=True)
def smaller_images():
    """Makes the doctor decode images with a tenth of the pixels."""
    doctor_decoders.built_in_images.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor_decoders, "WIDTH", 333)
        patch.setattr(doctor_decoders, "HEIGHT", 237)
        yield
    doctor_decoders.built_in_images.cache_clear()


@pytest.fixture
def examined(tmp_path, capsys, monkeypatch):
    """Returns a function that runs the doctor and returns (exit code, printed lines, check → (verdict, sentence),
    document). Speeds are measured with a single call each."""
    for module in (doctor, doctor_decoders):
        monkeypatch.setattr(module, "seconds", lambda work, at_least_s=0.0: seconds(work))
    monkeypatch.setattr(doctor, "FILE_BYTES", 1 << 20)
    monkeypatch.setattr(doctor_gpu, "DRIVER_FILE", tmp_path / "driver")

    def run():
        code = doctor.main(["--folder", str(tmp_path)])
        *lines, last = capsys.readouterr().out.splitlines()
        document = json.loads(last)
        check_result("doctor", document)
        answers = {row["check"]: (row["verdict"], row["words"]) for row in document["rows"]}
        return code, lines, answers, document

    return run


def test_a_folder_of_shards_must_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file", "nowhere"):
        with pytest.raises(InputError, match=f"--folder .*{name} is not a folder"):
            doctor.main(["--folder", str(tmp_path / name)])


@pytest.fixture
def fake_gpu(monkeypatch, tmp_path):
    """Makes torch report a GPU. Tensors that are moved to it stay on the CPU. The CPU checks are left out, except for
    the one that looks for a GPU."""
    monkeypatch.setattr(doctor, "CPU_CHECKS", {"GPU": doctor_gpu.check_presence})
    (tmp_path / "driver").write_text(PROC)
    for name in ("ones", "randn", "empty"):
        real = getattr(torch, name)
        monkeypatch.setattr(
            torch, name, lambda *sizes, real=real, device=None, pin_memory=False, dtype=None: real(*sizes, dtype=dtype)
        )
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor, non_blocking=False: tensor.clone())
    for name, value in {
        "is_available": True,
        "device_count": 1,
        "get_device_name": "NVIDIA Fake 9000",
        "mem_get_info": (60 << 30, 80 << 30),
        "synchronize": None,
        "is_bf16_supported": True,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(doctor_gpu, "TRANSFER_BYTES", 1 << 20)
    functional = torch.nn.functional
    monkeypatch.setattr(functional, "scaled_dot_product_attention", lambda q, k, v: q)
    monkeypatch.setattr(doctor_decoders, "decode_by_dali", lambda data, device: simplejpeg.decode_jpeg(data, "RGB"))


def test_the_doctor_answers_every_check(examined, monkeypatch):
    def broken(options):
        raise OSError("no such library")

    monkeypatch.setitem(doctor.CPU_CHECKS, "libraries", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, lines, answers, document = examined()
    assert code == 1
    assert answers["libraries"] == ("wrong", "OSError: no such library")
    assert "OSError: no such library" in lines[0]
    assert answers["JPEG decoding"][0] in ("good", "slow")
    assert "4:2:0, 4:4:4, grey, progressive" in answers["JPEG decoding"][1]
    assert answers["DALI"][0] in ("good", "absent")
    assert set(answers) == set(doctor.CPU_CHECKS)
    assert lines[-1].startswith("GPU checks: not run, because there is no GPU: CUDA, precision, fused")
    assert document["gpu_half"] in lines[-1]


@pytest.mark.parametrize(
    "kind", [kind if kind == "4:2:0" else pytest.param(kind, marks=pytest.mark.slow) for kind in doctor_decoders.KINDS]
)
def test_a_decoder_that_differs_on_one_kind_is_wrong(kind, monkeypatch):
    wanted, pixels = doctor_decoders.built_in_images()[kind]
    real = simplejpeg.decode_jpeg

    def decode(data, *colours):
        return np.where(data == wanted, pixels ^ 1, real(data, *colours))

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decode)
    verdict, words = doctor_decoders.check_cpu_decoding(None)
    assert verdict == "wrong"
    assert f"({kind}: 1 grey levels)" in words


def test_the_built_in_images_are_of_their_kinds():
    from shards.jpeg.header_parser import read_header

    images = {k: read_header(data) for k, (data, _) in doctor_decoders.built_in_images().items()}
    assert {kind: header.progressive for kind, header in images.items()} == {
        "4:2:0": False,
        "4:4:4": False,
        "grey": False,
        "progressive": True,
    }
    assert len(images["grey"].components) == 1


@pytest.mark.parametrize(
    ("proc", "smi", "expected"),
    [
        (PROC, "", "570.86.15"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54  Tue Jun 6", "", "535.54"),
        (None, "581.29\n581.29\n", "581.29"),
        (None, None, None),
        (None, "NVIDIA-SMI has failed", None),
    ],
)
def test_the_driver_s_version_is_found(proc, smi, expected, tmp_path, monkeypatch):
    if proc is not None:
        (tmp_path / "version").write_text(proc)
    monkeypatch.setattr(doctor_gpu, "DRIVER_FILE", tmp_path / "version")

    def run(command, **_):
        if smi is None:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, stdout=smi)

    monkeypatch.setattr(doctor_gpu.subprocess, "run", run)
    assert doctor_gpu.driver_version() == expected


@pytest.mark.parametrize(
    ("driver", "cuda", "visible", "verdict", "words"),
    [
        (None, "13.0", None, "absent", "no NVIDIA driver was found"),
        ("570.86.15", None, None, "slow", "driver 570.86.15 is installed, but this torch was built without"),
        ("570.86.15", "13.0", "", "absent", "CUDA_VISIBLE_DEVICES='' shows no device"),
        ("570.86.15", "13.0", None, "slow", "no device can be used: No CUDA GPUs are available"),
    ],
)
def test_why_there_is_no_gpu_is_reported(driver, cuda, visible, verdict, words, monkeypatch):
    def init():
        raise RuntimeError("No CUDA GPUs are available\nand more")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor_gpu, "driver_version", lambda: driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = doctor_gpu.check_presence(None)
    assert found[0] == verdict
    assert words in found[1]
    assert "\n" not in found[1]


@pytest.mark.slow  # of a check that raises, the test of all checks tells
def test_a_broken_torch_is_an_answer_and_no_traceback(examined, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, _, answers, document = examined()
    assert code == 1
    assert answers["GPU"][0] == answers["matrix products"][0] == "wrong"
    assert "torch" in answers["GPU"][1]
    assert document["gpu_half"].startswith("not run")


def test_a_gpu_is_examined(fake_gpu, examined):
    _, lines, answers, document = examined()
    assert set(answers) == {"GPU", *doctor_gpu.GPU_CHECKS}
    presence = "NVIDIA Fake 9000; 60 of 80 GiB free; driver 570.86.15"
    assert answers["GPU"] == ("good", presence)
    assert answers["CUDA"] == ("good", "computes, with CUDA 13.0 and driver 570.86.15")
    assert answers["precision"] == ("good", "bf16 (this GPU supports it)")
    assert answers["fused attention"] == ("good", "flash attention works")
    assert "4:2:0 0, 4:4:4 0, grey 0, progressive 0" in answers["GPU decoding"][1]
    assert answers["transfers"][1].endswith("GB/s from pinned memory")
    assert lines[-1] == f"GPU checks: run; {doctor.UNTRIED}"
    assert document["gpu_half"].startswith("run")


def test_a_poor_gpu_is_reported(fake_gpu, examined, monkeypatch):
    def refuses(q, k, v):
        raise RuntimeError("no kernel")

    def off_by_nine(data, device):
        pixels = simplejpeg.decode_jpeg(data, "RGB").astype(int)
        return np.where(pixels > 127, pixels - 9, pixels + 9)

    def out_of_memory(*sizes, **_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", refuses)
    monkeypatch.setattr(doctor_decoders, "decode_by_dali", off_by_nine)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch, "ones", out_of_memory)
    code, _, answers, _ = examined()
    assert code == 1
    assert answers["CUDA"] == ("wrong", "OutOfMemoryError: CUDA out of memory")
    assert answers["precision"] == ("slow", "fp16 (this GPU does not support bf16)")
    assert answers["fused attention"][0] == "slow"
    assert answers["GPU decoding"][0] == "wrong"
    assert "grey 9" in answers["GPU decoding"][1]
