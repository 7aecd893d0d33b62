"""The Dockerfile, as far as it can be checked without Docker."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    """Returns (instruction, its arguments) for each instruction of the Dockerfile, without comments and line
    continuations."""
    lines = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def given(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def copied() -> list[str]:
    return [source for line in given("COPY") for source in line.split()[:-1]]


def needs_line(text: str) -> str:
    """Returns the Python code that prints the project's dependencies except DALI, as it stands in the Dockerfile
    ``text``."""
    (line,) = set(re.findall(r'python -c "(from importlib\.metadata .*?)" >', text))
    return line


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed: the extra [dev-slow]")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_pinned_and_new_enough_and_the_user_is_not_root() -> None:
    (base,) = given("FROM")
    assert re.fullmatch(r"python:3\.(1[1-9])-slim-\w+", base)
    assert PROJECT["requires-python"] == ">=3.11"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", given("USER")[-1])
    assert json.loads(given("ENTRYPOINT")[-1])[0] in PROJECT["scripts"]
    names = [name for name, _ in instructions()]
    assert names.index("USER") > names.index("RUN")


def test_what_is_copied_exists_and_is_let_through() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule[0] == "!") == sorted(copied())
    assert [name for name in copied() if not (ROOT / name).exists()] == []


def test_the_page_installs_what_the_image_does() -> None:
    pages = ("Dockerfile", "docs/laptop.md")
    assert len({needs_line((ROOT / page).read_text(encoding="utf-8")) for page in pages}) == 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from the files that the Dockerfile copies and ``.dockerignore`` lets through."""
    out = tmp_path_factory.mktemp("image")
    (out / "context").mkdir()
    for name in copied():
        source, target = ROOT / name, out / "context" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(source, target)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(out / "context")], check=True)
    (found,) = out.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_copied_files_are_enough_to_install(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("shards", "loaders", "glass", "bench"):
        assert {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")} <= names
    assert "glass_commands/console.py" in names


@pytest.mark.slow
def test_what_is_installed_is_all_that_the_project_needs_but_dali(wheel: Path) -> None:
    """The image installs all dependencies listed in the wheel's metadata, except DALI."""
    line = needs_line((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-c", line], env=environment, capture_output=True, text=True, check=True)
    wanted = {str(Requirement(need)) for need in PROJECT["dependencies"] if "dali" not in need}
    assert len(wanted) == len(PROJECT["dependencies"]) - 1
    assert {str(Requirement(need)) for need in done.stdout.splitlines()} == wanted
