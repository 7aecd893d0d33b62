"""The house rules: imports point one way, the wheel holds the four packages, cheap imports stay
cheap."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHAIN = ["shards", "loaders", "glass", "bench", "scripts"]
MODEL_CODE = ["model", "pooling", "backbones"]


def imported_packages(path: Path) -> set[str]:
    """The project packages that a file imports, at any depth of the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names & set(CHAIN)


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", CHAIN)
def test_imports_point_to_the_left(package):
    """shards ← loaders ← glass ← bench ← scripts: nothing imports what stands to its right."""
    allowed = set(CHAIN[: CHAIN.index(package) + 1])
    wrong = {str(path.relative_to(ROOT)): imported_packages(path) - allowed for path in files_of(package)}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("module", MODEL_CODE)
def test_model_code_knows_no_loader(module):
    assert "loaders" not in imported_packages(ROOT / "glass" / f"{module}.py")


def test_no_relative_imports_and_no_vague_names():
    """One import path per module, and no drawer for what found no name."""
    for package in CHAIN:
        for path in files_of(package):
            assert path.stem not in {"utils", "common", "helpers", "misc"}, path
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(tree)), path


def test_every_module_says_what_it_is():
    for package in CHAIN:
        for path in files_of(package):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_reading_a_manifest_loads_neither_torch_nor_dali():
    """In a fresh interpreter and outside the repository: the editable install works from
    anywhere."""
    code = (
        "import sys, shards, loaders, glass, bench, pathlib\n"
        "import shards.dataset, shards.build, loaders.config\n"
        "heavy = {'torch', 'nvidia.dali', 'webdataset', 'timm'} & set(sys.modules)\n"
        "print(sorted(heavy), pathlib.Path(glass.__file__).parent.parent)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {ROOT}"


@pytest.mark.slow
def test_wheel_holds_the_four_packages_and_nothing_else(tmp_path):
    """hatchling honours .gitignore and drops what it matches: count what is really inside."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"shards", "loaders", "glass", "bench"}
    for package in tops:
        here = {str(path.relative_to(ROOT)) for path in files_of(package)}
        assert here <= set(names)
    assert {str(p.relative_to(ROOT)) for p in (ROOT / "glass").rglob("*.j2")} <= set(names)
