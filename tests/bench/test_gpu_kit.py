"""``scripts/gpu_kit.sh``: a Python with only the packages of a rented machine checks, unpacks and runs the kit that the
script packs."""

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.kit import missing, wheels
from tests.machine.lean_machine import lean_python, needed_by

ROOT = Path(__file__).resolve().parents[2]
MACHINE = ("torch", "torchvision", "timm", "accelerate", "numba", "pyarrow", "pillow", "pytest")
VERSION = "{}.{}".format(*sys.version_info)


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("cp38-abi3-manylinux_2_28_x86_64", True),
        ("py3-none-manylinux_2_28_x86_64", True),
        ("cp311-cp311-manylinux2014_x86_64", False),
        ("cp313-abi3-manylinux_2_28_x86_64", False),
        ("cp312-cp312-win_amd64", False),
        ("cp312-cp312-musllinux_1_2_aarch64", False),
    ],
)
def test_a_wheel_for_another_machine_is_refused(monkeypatch, tags, fits):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    wheel = Path(f"thing-1.0-{tags}.whl")
    if fits:
        wheels.require_fits(wheel, "3.12")
    else:
        with pytest.raises(wheels.Refused, match=r"is not for Python 3.12 on Linux x86_64"):
            wheels.require_fits(wheel, "3.12")


def make_wheel(folder, name, files):
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


def test_wheels_that_are_missing_are_unpacked(tmp_path, capsys):
    """Packages that are installed already are not unpacked, and neither are command-line scripts."""
    folder, site = tmp_path / "wheels", tmp_path / "site"
    folder.mkdir()
    files = {"thing/__init__.py": "x = 1\n", "thing-1.0.data/purelib/more.py": "", "thing-1.0.data/scripts/thing": ""}
    make_wheel(folder, "thing", files)
    make_wheel(folder, "pytest", {"pytest/__init__.py": ""})
    make_wheel(folder, "numpy", {"numpy/__init__.py": ""})
    assert wheels.main(["note", str(folder), VERSION]) == 0
    assert wheels.main(["unpack", str(folder), str(site)]) == 0
    assert sorted(str(path.relative_to(site)) for path in site.rglob("*.py")) == ["more.py", "thing/__init__.py"]
    assert "unpacked the wheels that this machine lacks, 1 of 2: thing" in capsys.readouterr().out
    with (folder / "thing-1.0-py3-none-any.whl").open("ab") as file:
        file.write(b"x")
    assert wheels.main(["unpack", str(folder), str(site)]) == 2
    assert capsys.readouterr().err == (
        "error: thing-1.0-py3-none-any.whl is missing or damaged: copy the kit here again\n"
    )


def test_a_wheel_writes_nothing_outside(tmp_path, capsys):
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "thing", {"../evil.py": ""})
    assert wheels.main(["note", str(folder), VERSION]) == 0
    assert wheels.main(["unpack", str(folder), str(tmp_path / "site")]) == 2
    assert "has a member that would be written outside of the folder" in capsys.readouterr().err
    assert not (tmp_path / "evil.py").exists()


def test_what_such_a_machine_has_is_not_fetched(capsys):
    assert missing.main() == 0
    wanted = capsys.readouterr().out
    assert all(name in wanted for name in ("msgspec", "simplejpeg", "webdataset", "scikit-learn", "nvidia-dali"))
    assert not any(line.startswith(("torch", "numpy", "timm")) for line in wanted.splitlines())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give OUT, a new folder for the kit"),
        (["{out}"], "{out} exists: give a new folder"),
        (["new", "--piece-mb", "x"], "--piece-mb must be a whole number, not 'x'"),
        (["new", "--python", "2.7"], "--python must be 3.11 or newer, not '2.7'"),
        (["new", "--photos"], "--photos needs a value"),
        (["new", "--wheels", "{out}/none"], "--wheels {out}/none is no folder"),
        (["new", "--what"], "unknown argument --what"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path, arguments, sentence):
    words = [word.format(out=tmp_path) for word in arguments]
    done = subprocess.run(["bash", ROOT / "scripts/gpu_kit.sh", *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"error: {sentence.format(out=tmp_path)}\n")


def wheels_of_what_is_here(folder: Path) -> None:
    """Writes the installed distributions that a rented machine lacks into ``folder`` as wheels, except for DALI, which
    is too large."""
    lines = subprocess.run(
        [sys.executable, "scripts/kit/missing.py", "--no-dali"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folder.mkdir()
    for name in needed_by(*lines) - needed_by(*MACHINE):
        one = metadata.distribution(name)
        lines = (one.read_text("WHEEL") or "").splitlines()
        tags = zip(*(line.split()[1].split("-") for line in lines if line.startswith("Tag: ")), strict=True)
        tag = "-".join(".".join(dict.fromkeys(part)) for part in tags)
        with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{one.version}-{tag}.whl", "w") as archive:
            for file in one.files or []:
                source = Path(file.locate())
                if ".." not in file.parts and "__pycache__" not in file.parts and source.exists():
                    archive.write(source, str(file))


@pytest.mark.slow
def test_a_kit_runs_on_a_machine_with_nothing_else(tmp_path):
    """The kit runs up to the message that there is no GPU. A damaged piece of a kit is noticed before anything
    runs."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(noise).resize((600, 450)).save(photographs / f"{number}.jpg")
    wheels_of_what_is_here(tmp_path / "wheels")
    kit = tmp_path / "kit"
    given = ["--photos", photographs, "--wheels", tmp_path / "wheels", "--demo", "12", "--piece-mb", "20"]
    packed = subprocess.run(
        ["bash", ROOT / "scripts/gpu_kit.sh", kit, "--python", VERSION, *given], capture_output=True, text=True
    )
    assert packed.returncode == 0, packed.stderr[-3000:]
    assert len(list(kit.glob("kit.tar.*"))) > 2
    broken = shutil.copytree(kit, tmp_path / "broken")
    with (broken / "kit.tar.001").open("r+b") as file:
        file.write(b"xxx")
    python = lean_python(tmp_path / "machine", needed_by(*MACHINE))
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python)}

    def run(folder):
        return subprocess.run(["bash", folder / "run.sh"], env=environment, capture_output=True, text=True)

    assert run(broken).stderr.endswith("error: a part of the kit is damaged: bring it here again\n")
    done = run(kit)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "error: no CUDA device is available: give --device cpu, which measures glass_tiny instead\n"
    assert "the wheels that this machine lacks, " in done.stdout
