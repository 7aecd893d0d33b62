"""Rules for the source tree: packages import in one direction, the wheel holds the packages, some imports must stay
fast."""

import ast
import graphlib
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections import Counter
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from random import Random

import hypothesis
import pytest

from bench.registry import BENCHES
from scripts.console import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
CHAIN = ["shards", "loaders", "glass", "bench", "scripts"]


IMPORT = re.compile(r"^([ \t]*)((?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+(?:\([^)]*\)|.+))", re.MULTILINE)
"""An import statement: its indentation and its text. Ruff lets no other statement stand on the same line."""


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def imports_in(path: Path, at_top: bool = False) -> list[ast.Import | ast.ImportFrom]:
    """Returns the import statements of a file, including those inside functions unless ``at_top`` is set.

    Only lines that look like imports are parsed, because parsing whole files takes ten times as long.
    """
    lines = [text for indentation, text in IMPORT.findall(text_of(path)) if not (at_top and indentation)]
    try:
        return ast.parse("\n".join(lines)).body
    except SyntaxError:  # a line of a docstring begins like an import
        return parsed_imports(path, at_top)


def parsed_imports(path: Path, at_top: bool) -> list[ast.Import | ast.ImportFrom]:
    """Returns the same as ``imports_in``, found in the syntax tree of the whole file."""
    tree = ast.parse(text_of(path))
    return [node for node in (tree.body if at_top else ast.walk(tree)) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported_packages(path: Path) -> set[str]:
    """Returns the project's packages that a file imports."""
    names = set()
    for node in imports_in(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names & set(CHAIN)


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.slow  # seconds of parsing
@pytest.mark.parametrize("at_top", [True, False])
def test_imports_are_found_without_parsing_whole_files(at_top):
    for package in CHAIN:
        for path in files_of(package):
            found, parsed = (sorted(map(ast.unparse, of(path, at_top))) for of in (imports_in, parsed_imports))
            assert found == parsed, path


@pytest.mark.parametrize("package", CHAIN)
def test_imports_point_to_the_left(package):
    """In the chain shards ← loaders ← glass ← bench ← scripts, no package imports one to its right."""
    allowed = set(CHAIN[: CHAIN.index(package) + 1])
    wrong = {str(path.relative_to(ROOT)): imported_packages(path) - allowed for path in files_of(package)}
    assert not {path: names for path, names in wrong.items() if names}


def test_model_code_knows_no_loader():
    for path in (ROOT / "glass" / "model").rglob("*.py"):
        assert "loaders" not in imported_packages(path), path


@pytest.mark.slow  # ten seconds
def test_no_import_of_ours_warns():
    """Every module is imported with warnings as errors, except for ``bench.peers``, which imports other projects'
    loaders."""
    names = [name for package in CHAIN for name in modules_of(package) if not name.startswith("bench.peers")]
    names = [name for name in names if not name.endswith("__main__")]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    command = [sys.executable, "-W", "error", "-c", code, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(names) > 400


def modules_of(package: str) -> dict[str, Path]:
    """Returns dotted name → file for every module of a package."""
    found = {}
    for path in files_of(package):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    """Returns those modules among ``modules`` that a file imports."""
    return {name for node in imports_in(path) for name in names_in(node)} & modules.keys()


def names_in(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Returns the names that an import may refer to: modules, and names that may be modules."""
    names = {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module, *(f"{node.module}.{name}" for name in names)} if node.module else set()
    return names


@pytest.mark.parametrize("package", CHAIN[:4])
def test_folders_of_a_package_import_in_one_direction(package):
    """If one folder of a package imports another, the second must not import the first, not even through others.
    Modules directly in the package, such as its errors and entry points, are exempt."""
    modules = modules_of(package)

    def folder(module: str) -> str | None:
        room = ".".join(module.split(".")[:2])
        return room if (ROOT / room.replace(".", "/")).is_dir() and room != package else None

    needs: dict[str, set[str]] = {}
    for module, path in modules.items():
        for other in imports_of(path, modules):
            if folder(module) and folder(other) and folder(module) != folder(other):
                needs.setdefault(folder(module), set()).add(folder(other))
    order = list(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError, which names the folders
    assert order


@pytest.mark.parametrize("package", CHAIN[:4])
def test_no_modules_import_each_other(package):
    """No two modules import each other, directly or through others, at top level or inside a function. Otherwise,
    neither could be used alone."""
    modules = modules_of(package)
    needs = {
        module: {other for other in imports_of(path, modules) if not module.startswith(f"{other}.")} - {module}
        for module, path in modules.items()
    }
    assert list(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError, which names the modules


@pytest.mark.parametrize("package", [*CHAIN[:4], "tests"])
def test_no_room_is_crowded(package):
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in files_of(package))
    assert {folder: count for folder, count in counts.items() if count > 20} == {}


def test_pytest_looks_into_every_folder_of_tests(pytestconfig):
    """By default pytest skips folders whose names match build, dist, venv or *.egg. No folder of the tests has such a
    name."""
    left_out = pytestconfig.getini("norecursedirs")
    folders = {folder for path in files_of("tests") for folder in path.relative_to(ROOT).parts[:-1]}
    assert [name for name in folders for pattern in left_out if fnmatch(name, pattern)] == []


def test_a_collection_within_a_test_hides_no_object():
    """Hypothesis's ``register_random`` collects garbage, then looks for referrers of its argument and warns if it finds
    none. It must find the dictionary ``random``, so the hooks in ``conftest.py`` must not have frozen that."""
    random = {"generator": Random()}
    hypothesis.register_random(random["generator"])


def test_no_relative_imports_and_no_vague_names():
    """Modules are imported by absolute names, except in ``scripts`` (see below), and none is called utils, common or
    the like."""
    for package in CHAIN:
        for path in files_of(package):
            assert path.stem not in {"utils", "common", "helpers", "misc"}, path
            relative = any(isinstance(node, ast.ImportFrom) and node.level for node in imports_in(path))
            assert not relative or package == "scripts", path


def test_every_module_says_what_it_is():
    for package in CHAIN:
        for path in files_of(package):
            assert re.match(r'(#.*\n)*"""\s*\w', text_of(path)) or ast.get_docstring(ast.parse(text_of(path))), path


def reached_from(*starts: str) -> dict[str, set[str]]:
    """Returns each module of the project that is loaded when ``starts`` are imported → all names that it imports at its
    top level."""
    modules = {name: path for package in CHAIN for name, path in modules_of(package).items()}
    reached, waiting = dict[str, set[str]](), set(starts)
    while waiting:
        module = waiting.pop()
        reached[module] = {name for node in imports_in(modules[module], at_top=True) for name in names_in(node)}
        found = reached[module] & modules.keys()
        packages = {name.rpartition(".")[0] for name in found} & modules.keys()
        waiting |= (found | packages) - reached.keys()
    return reached


LOADED_WITH_A_MANIFEST = ("shards.manifest.dataset", "shards.build.build", "loaders.config")


def test_modules_that_read_a_manifest_import_neither_torch_nor_dali():
    """None of the modules that are loaded to read a manifest imports torch, DALI, webdataset or timm at its top
    level."""
    reached = reached_from(*CHAIN[:4], *LOADED_WITH_A_MANIFEST)
    assert len(reached) > 20
    for module, names in reached.items():
        assert not {"torch", "nvidia", "webdataset", "timm"} & {name.split(".")[0] for name in names}, module


def test_modules_of_commands_import_nothing_heavy():
    """None of the modules that are loaded to build the parsers of all commands imports torch, DALI, timm, accelerate or
    Numba at its top level."""
    modules = [command.module for name, command in COMMANDS.items() if name != "bench"]
    reached = reached_from(*modules, *(bench.module for bench in BENCHES.values()))
    for module, names in reached.items():
        heavy = {"torch", "nvidia", "timm", "accelerate", "numba"} & {name.split(".")[0] for name in names}
        assert not heavy, module


@pytest.mark.slow  # a process; the test before looks at what is imported without importing it
def test_reading_a_manifest_loads_neither_torch_nor_dali():
    """Reading a manifest imports none of torch, DALI, webdataset and timm. This runs in a new interpreter outside the
    repository, where an editable install must work, too."""
    code = (
        "import sys, shards, loaders, glass, bench, pathlib\n"
        f"import {', '.join(LOADED_WITH_A_MANIFEST)}\n"
        "heavy = {'torch', 'nvidia.dali', 'webdataset', 'timm'} & set(sys.modules)\n"
        "print(sorted(heavy), pathlib.Path(glass.__file__).parent.parent)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {ROOT}"


SCORES_IMAGES = (
    "import sys, torch\n"
    "from glass.config.run_config import ModelConfig, RunConfig\n"
    "from glass.model.model import build_model, require_views_run\n"
    "config = RunConfig(model=ModelConfig(global_backbone='test_resnet', pretrained=False))\n"
    "require_views_run(build_model(config, with_weights=False, for_training=False), config)\n"
)


def test_timm_is_imported_in_one_place():
    """All code in ``glass`` imports timm through ``glass.model.timm_library``, which keeps torch's compiler from being
    loaded. That halves the time to the first verdict."""
    loose = [p for p in files_of("glass") if p.name != "timm_library.py" and "import timm" in p.read_text("utf-8")]
    assert not [p for p in loose if "from glass.model.timm_library import timm" not in p.read_text("utf-8")]


def test_a_verdict_on_a_file_needs_neither_kernels_nor_the_loader():
    """The modules that ``glass.predict.detector`` loads import neither Numba nor the loader at their top level. These
    two would take a fifth of the time to the first verdict."""
    reached = reached_from("glass.predict.detector")
    for module, names in reached.items():
        assert "numba" not in {name.split(".")[0] for name in names}, module
    assert len(reached) > 20
    assert "loaders.loader" not in reached


@pytest.mark.slow  # five seconds of a process; the two tests before look at what is imported without importing it
def test_timm_comes_without_the_compiler_of_torch_and_a_verdict_on_a_file_without_kernels():
    code = SCORES_IMAGES + (
        "import glass.predict.detector\n"
        "print({'torch._dynamo', 'numba', 'loaders.loader'} & set(sys.modules), torch.compiler.disable.__module__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set() torch.compiler"]


@pytest.mark.slow
def test_the_compiler_of_torch_works_after_timm_came_without_it():
    code = SCORES_IMAGES + (
        "import torch._dynamo\nprint(torch.compile(lambda x: x + 1, backend='eager')(torch.zeros(1)).item())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1.0"]


def test_commands_can_bear_another_name():
    """In a wheel the package ``scripts`` has another name, so its modules must not import it by name."""
    for path in files_of("scripts"):
        assert "scripts" not in imported_packages(path), path
    assert not any('import_module("scripts' in path.read_text("utf-8") for path in files_of("scripts"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_wheel_holds_the_packages_and_nothing_else(wheel):
    """The wheel contains the files of the packages and no others. It is opened for this, because hatchling silently
    leaves out what .gitignore matches."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"shards", "loaders", "glass", "bench", "glass_commands"}
    for package in tops - {"glass_commands"}:
        here = {str(path.relative_to(ROOT)) for path in files_of(package)}
        assert here <= set(names)
    commands = {str(path.relative_to(ROOT / "scripts")) for path in files_of("scripts")}
    inside = {name.removeprefix("glass_commands/") for name in names if name.startswith("glass_commands/")}
    assert inside == {name for name in commands if not name.startswith("editable/")}
    assert {str(p.relative_to(ROOT)) for p in (ROOT / "glass").rglob("*.j2")} <= set(names)


def environment_with(folder: Path, *install: str) -> Path:
    """Creates a virtual environment in which ``install`` is installed. It also sees the libraries of the current
    environment, but not this project. Returns the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files do not count
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--ignore-installed", *install], check=True)
    return folder / "bin"


def outcome(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Runs a command in ``folder`` without ``PYTHONPATH``, so that it cannot find this repository by accident."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([str(word) for word in command], cwd=folder, env=clean, capture_output=True, text=True)


@pytest.mark.slow
def test_the_installed_wheel_has_the_command(wheel, tmp_path):
    programs = environment_with(tmp_path / "venv", str(wheel))
    where = outcome(tmp_path, programs / "python", "-c", "import glass_commands; print(glass_commands.__file__)")
    assert where.stdout.startswith(str(tmp_path / "venv"))
    assert "No module named" in outcome(tmp_path, programs / "python", "-c", "import scripts").stderr
    assert " final-runs " in outcome(tmp_path, programs / "glass", "--help").stdout
    assert outcome(tmp_path, programs / "glass", "--version").stdout.startswith("python 3.")
    mistake = outcome(tmp_path, programs / "glass", "audit", "nowhere")
    assert mistake.returncode == 2
    assert mistake.stderr.startswith("error: ")
    assert mistake.stderr.count("\n") == 1
    made = outcome(tmp_path, programs / "glass", "make-demo", "images", "--images", "24", "--workers", "2")
    assert (made.returncode, made.stderr.count("Traceback")) == (0, 0), made.stderr
    built = outcome(tmp_path, programs / "glass", "build", "images/images.csv", "data", "--global-size", "64")
    assert built.returncode == 0, built.stderr
    assert outcome(tmp_path, programs / "glass", "verify", "data").returncode == 0
    module = outcome(tmp_path, programs / "python", "-m", "glass_commands.data_stats", "data")
    assert module.returncode == 0, module.stderr


@pytest.mark.slow
def test_an_editable_install_has_the_command_and_the_folder(tmp_path):
    programs = environment_with(tmp_path / "venv", "--editable", str(ROOT))
    assert " final-runs " in outcome(tmp_path, programs / "glass", "--help").stdout
    usage = outcome(tmp_path, programs / "glass", "predict", "--help")
    assert usage.stdout.startswith("usage: glass predict "), usage.stderr
    assert outcome(tmp_path, programs / "python", "-m", "scripts.predict", "--help").returncode == 0
    assert outcome(tmp_path, programs / "glass", "bench").stdout.startswith("usage: glass bench NAME")
