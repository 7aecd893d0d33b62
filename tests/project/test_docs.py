"""The documentation names only files, commands, flags and settings that exist.

``docs/LOG.md`` is a dated record: its links must not be broken, but it may name things that no longer exist.
"""

import importlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.registry import BENCHES
from glass.config.overrides import setting_names
from glass.config.run_config import RunConfig
from glass.presets import load_preset
from scripts.console import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "findings" / "README.md"]
LIVING = [page for page in PAGES if page.name != "LOG.md"]
HELP = (ROOT / "tests/golden/help.txt").read_text(encoding="utf-8")
FLAGS = {
    section.split(" ", 1)[0]: set(re.findall(r"^  +(?:-\w, )?(--[a-z-]+)", section, re.MULTILINE)) | {"--help"}
    for section in HELP.split("== ")[1:]
}
"""Module of a command → its flags, from the golden help texts that ``tests/scripts/cli/test_command_help.py``
checks."""
MODULES = {f"bench {name}": bench.module for name, bench in BENCHES.items()}
"""Command as a user types it → its module."""
FOREIGN_FLAGS = {"--slow", "--quiet", "--config_file", "--split-parts", "--split-ratio", "--user"}
"""Flags in the pages' text that belong to other programs or to ``scripts/test.sh``."""


def at_fault(pages: list[Path], faults: Callable[[str], Iterable[Any]]) -> dict[str, list[Any]]:
    """Returns path → ``faults(text)`` for each page in which ``faults`` finds any."""
    found = {str(page.relative_to(ROOT)): list(faults(page.read_text(encoding="utf-8"))) for page in pages}
    return {path: faulty for path, faulty in found.items() if faulty}


def anchors_of(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_relative_links_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]:
            if target.startswith(("http://", "https://")):
                continue
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), (page.name, target)
            assert not anchor or anchor in anchors_of(linked), (page.name, target)


def test_files_that_are_named_exist() -> None:
    folders = r"`(?:bash )?((?:shards|loaders|glass|bench|scripts|tests|docs|findings)/[\w./*-]*)"

    def gone(text: str) -> list[str]:
        return [p for p in set(re.findall(folders, text)) if not any(ROOT.glob(p)) and "NAME" not in p]

    assert at_fault(LIVING, gone) == {}


def test_settings_and_variables_that_are_named_exist() -> None:
    sources = [path for folder in ("shards", "scripts") for path in (ROOT / folder).rglob("*.py")]
    variables = set(re.findall(r"GLASS_[A-Z_]+", "".join(path.read_text(encoding="utf-8") for path in sources)))
    settings, others = set(setting_names(RunConfig())), (".py", ".md", ".safetensors", ".csv", ".json", ".slurm")

    def unknown(text: str) -> set[str]:
        named = set(re.findall(r"\b((?:loader|model|optim|train)\.[a-z_]+)\b(?!\()", text))
        wrong = {name for name in named if not name.endswith(others)} - settings
        return wrong | (set(re.findall(r"\bGLASS_[A-Z_]+", text)) - variables)

    assert at_fault(LIVING, unknown) == {}


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (module, arguments) for each of the project's commands in a page's shell blocks and text."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.replace("…", " "), comments=True)
            if "-m" in words and len(rest := words[words.index("-m") + 1 :]) > 1:
                yield (f"bench {rest[1]}", rest[2:]) if rest[0] == "bench" else (rest[0], rest[1:])
            elif "train.py" in words:
                yield "scripts.train", words[words.index("train.py") + 1 :]
            elif words[:1] == ["glass"]:
                yield (
                    (f"bench {words[2]}", words[3:]) if words[1] == "bench" else (COMMANDS[words[1]].module, words[2:])
                )
    for module in re.findall(r"`python -m (scripts\.\w+|bench \w+|tests[.\w]+)", text):
        yield module, []
    for name in re.findall(r"`glass ([a-z][a-z-]*)(?: [^`]*)?`", text):
        if name != "help":
            yield COMMANDS[name].module, []


def test_commands_that_are_shown_exist_with_their_flags() -> None:
    for page in LIVING:
        for module, words in commands_of(page.read_text(encoding="utf-8")):
            if module in ("bench NAME", "bench.__main__", "venv", "pip", "scripts.NAME"):
                continue
            if module.startswith("tests."):
                assert (ROOT / f"{module.replace('.', '/')}.py").exists() or module == "tests.fuzz.fuzz_NAME", module
                continue
            known = FLAGS[MODULES.get(module, module)]
            assert {word for word in words if word.startswith("--")} - known == set(), (page.name, module)


def test_commands_are_named_as_people_type_them() -> None:
    """Pages write ``glass NAME``; only the README also shows ``python -m MODULE``."""
    texts = [page for page in LIVING if page.name != "README.md" or page.parent != ROOT]
    texts += [path for folder in ("shards", "loaders", "glass") for path in (ROOT / folder).rglob("*.py")]
    named = {path: re.findall(r"python -m (?:scripts\.\w+|bench \w+)", path.read_text("utf-8")) for path in texts}
    assert {path: found for path, found in named.items() if found} == {}


def test_flags_in_running_text_exist() -> None:
    """A flag between backticks belongs to one of our commands, or is known to be another program's."""
    known = FOREIGN_FLAGS.union(*FLAGS.values())

    def unknown(text: str) -> set[str]:
        running = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        return set(re.findall(r"`(--[a-z][a-z_-]*)", running)) - known

    assert at_fault(LIVING, unknown) == {}


def test_the_readme_has_a_row_for_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Commands") : text.index("## What was not measured")]
    named = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.+) \|$", table, re.MULTILINE)
    modules = {name: command.module.removesuffix(".__main__") for name, command in COMMANDS.items()}
    assert [(name, module) for name, module, _ in named] == [*modules.items()]
    assert all(about for *_, about in named)
    (benches,) = [about for name, _, about in named if name == "bench"]
    assert set(benches.removeprefix("benchmarks: ").split(", ")) == set(BENCHES)


def test_a_clone_is_six_commands_from_a_verdict() -> None:
    """Each of the README's six commands is on one line and is accepted by its parser, and each reads the output of an
    earlier one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text[text.index("## From a clone to a verdict") :].split("```")[1]
    lines = [shlex.split(line, comments=True) for line in block.removeprefix("bash\n").splitlines()]
    assert [words[0] for words in lines] == ["git", "python3", "glass", "glass", "glass", "glass"]
    asked = []
    for words in lines[2:]:
        module = importlib.import_module(COMMANDS[words[1]].module)
        asked.append(module.parser().parse_args(words[2:]))
    build, train, calibrate, predict = asked
    assert str(build.out) == str(train.data) == str(calibrate.data)
    assert str(train.output) == str(calibrate.run) == str(predict.model)
    preset = load_preset(train.preset)
    assert build.global_size == preset.loader.global_size
    assert preset.model.global_weights == "package:efficientnet-lite0"  # of the extra that the second line installs
    assert lines[1][-1] == ".[weights]"


def test_pages_are_named_alike_and_can_be_found() -> None:
    """Page names are in lower case, except for the log's. The README links to every page, and every figure is shown on
    a page."""
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"LOG.md"}
    assert {name for name in names if name != name.lower()} == set()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name in names if f"docs/{name}" not in text} == set()
    figures = {figure.name for figure in (ROOT / "docs/figures").iterdir()}
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name for name in figures if f"figures/{name}" not in pages} == set()


def test_every_finding_can_be_run_and_is_listed() -> None:
    scripts = sorted((ROOT / "findings").glob("*.sh"))
    assert len(scripts) > 30
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "findings" / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [script.stem for script in scripts]
    assert [script.name for script in scripts if not os.access(script, os.X_OK)] == []


def test_every_script_that_names_its_interpreter_can_be_run() -> None:
    named = [path for path in (*ROOT.glob("scripts/*.sh"), ROOT / ".ci" / "run") if path.read_text().startswith("#!")]
    assert len(named) > 2
    assert [path.name for path in named if not os.access(path, os.X_OK)] == []
