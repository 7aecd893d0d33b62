"""The command ``glass``: each subcommand is the one of its module, starts fast, and can be completed in real shells."""

import contextlib
import importlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.registry import BENCHES
from scripts.console import COMMANDS, main
from shards.cli.command import CommandParser, called_as, program_name
from shards.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
MODULES = {name: command.module for name, command in COMMANDS.items()}


def words_of(text: str) -> list[str]:
    """The words of a text, without its layout, which depends on the length of the program's name."""
    return text.split()


def help_of(run: Callable[[list[str]], object], words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as done:
        run([*words, "--help"])
    assert done.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "bench"])
def test_help_is_the_modules_but_for_the_name(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10000")  # argparse breaks lines between words that belong together
    module = importlib.import_module(MODULES[name])
    alone = "train.py" if name == "train" else f"python -m {MODULES[name]}"
    ours, theirs = help_of(main, [name], capsys), help_of(module.main, [], capsys)
    assert ours.startswith(f"usage: glass {name} ")
    assert words_of(ours) == words_of(theirs.replace(f"usage: {alone} ", f"usage: glass {name} "))


@pytest.mark.parametrize("name", BENCHES)
def test_help_of_a_bench_is_the_modules_but_for_the_name(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10000")
    theirs = help_of(importlib.import_module(BENCHES[name].module).main, [], capsys)
    ours = help_of(main, ["bench", name], capsys)
    assert ours.startswith(f"usage: glass bench {name} ")
    assert words_of(ours) == words_of(theirs.replace(f"python -m bench {name} ", f"glass bench {name} "))


def test_every_command_of_the_folder_is_a_subcommand():
    files = {f"scripts.{path.stem}" for path in (ROOT / "scripts").glob("*.py") if "def main(" in path.read_text()}
    assert files - {"scripts.console"} == set(MODULES.values()) - {"bench.__main__"}


def test_help_lists_all_commands_and_needs_none_of_them(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f" {name} " in text or f" {name}\n" in text for name in COMMANDS)
    assert all(command.about.split()[-1] in text for command in COMMANDS.values())
    code = (
        "import sys, scripts.console\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'PIL', 'tqdm', 'numba', 'msgspec'}\n"
        "for words in (['--help'], ['predict', '--help']):\n"
        "    try: scripts.console.main(words)\n"
        "    except SystemExit: pass\n"
        "    print('HEAVY', *words, *sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("HEAVY")]
    assert found == ["HEAVY --help", "HEAVY predict --help"]


@pytest.mark.slow  # a second; the modules' imports are looked at in test_packaging
def test_parsers_are_built_without_torch():
    code = (
        "import importlib, sys\n"
        "from bench.registry import BENCHES\n"
        "from scripts.console import COMMANDS\n"
        "modules = [c.module for n, c in COMMANDS.items() if n != 'bench'] + [b.module for b in BENCHES.values()]\n"
        "for module in modules:\n"
        "    importlib.import_module(module).parser()\n"
        "    found = {'torch', 'nvidia.dali', 'timm', 'accelerate', 'numba'} & set(sys.modules)\n"
        "    assert not found, (module, found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("predit", "predict"),
        ("build_shards", "build"),
        ("data_stats", "data-stats"),
        ("helo", "help"),
        ("PREDICT", "predict"),
        ("xyz", None),
    ],
)
def test_a_wrong_command_is_one_sentence(word, near, capsys):
    for words in ([word, "model"], ["help", word]):
        with pytest.raises(SystemExit) as done:
            main(words)
        assert done.value.code == 2
        ending = f": did you mean {near}?" if near else ""
        assert capsys.readouterr().err == f"glass: no command is called {word!r}{ending} (see glass --help)\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dta", "x"], "no option is called --dta: did you mean --data?"),  # although --data is required
        (["--data=x", "--Outputs=y"], "no option is called --Outputs: did you mean --output?"),
        (["--data", "x", "--xyzzy"], "no option is called --xyzzy"),
    ],
)
def test_an_unknown_option_is_one_sentence(words, message, capsys):
    command = CommandParser(prog="command")
    command.add_argument("--data", required=True)
    command.add_argument("--output")
    with pytest.raises(SystemExit) as done:
        command.parse_args(words)
    assert done.value.code == 2
    assert capsys.readouterr().err == f"command: {message} (see command --help)\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--epochs", "3"], "no option is called --epochs: give --set epochs=3"),
        (["train", "--batch-size=8"], "no option is called --batch-size: give --set loader.global_batch_size=8"),
        (["train", "--lr", "1e-4"], "no option is called --lr: give --set optim.lr=1e-4"),
        (["train", "--learning-rate"], "no option is called --learning-rate: give --set optim.lr=VALUE"),
        (["train", "--device", "cpu"], "no option is called --device"),
        (["train", "shards", "--preset", "glass_tiny"], "unrecognized arguments: shards: give --data shards"),
        (["train", "--data", "shards", "out"], "unrecognized arguments: out"),
        (["plan", "--num-crops", "8"], "no option is called --num-crops: give --set loader.num_crops=8"),
        (["tune", "--loader.num-crops", "8"], "no option is called --loader.num-crops: give --set loader.num_crops=8"),
        (["predict", "--threshold", "0.7"], "glass calibrate --max-fpr chooses the threshold of a model"),
    ],
)
def test_a_setting_given_as_an_option_is_explained(words, message, capsys):
    with pytest.raises(SystemExit) as done:
        main(words)
    assert done.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"glass {words[0]}: ")
    assert f"{message} (see glass {words[0]} --help)\n" in told


def test_what_argparse_takes_is_taken():
    """Abbreviated options, values that contain a space, and words after ``--`` are not taken for unknown options."""
    command = CommandParser(prog="command")
    command.add_argument("--data")
    command.add_argument("words", nargs="*")
    assert command.parse_args(["--da", "x"]).data == "x"
    assert command.parse_args(["--data", "--a b"]).data == "--a b"
    assert command.parse_args(["--", "--dta"]).words == ["--dta"]
    with pytest.raises(SystemExit) as done:
        command.parse_args(["--help", "--dta"])
    assert done.value.code == 0


def test_help_is_a_command_too(capsys):
    assert help_of(main, ["predict"], capsys) == help_of(lambda words: main(["help", *words[:-1]]), ["predict"], capsys)
    assert main(["help", "bench"]) == main(["bench", "--help"]) == 0
    first, second = capsys.readouterr().out.split("usage: ")[1:]
    assert first == second
    assert help_of(main, [], capsys) == help_of(lambda words: main(["help"]), [], capsys)
    assert help_of(main, [], capsys) == help_of(lambda words: main(["help", "help"]), [], capsys)


def test_a_mistake_bears_the_name_that_was_typed(capsys):
    with pytest.raises(SystemExit) as done:
        main(["predict", "model"])
    assert done.value.code == 2
    assert capsys.readouterr().err.startswith("glass predict: the following arguments are required: PATH (see glass")
    assert program_name("alone") == "alone"
    with called_as("glass x"):
        assert program_name("alone") == "glass x"


def test_version_names_what_decides_the_pixels(capsys):
    assert main(["--version"]) == 0
    found = {line.split(" ")[0] for line in capsys.readouterr().out.splitlines()}
    assert {"glass-hires", "pillow", "libjpeg-turbo", "libwebp", "numba", "simplejpeg", "torch"} <= found


@pytest.fixture(scope="module")
def completions(tmp_path_factory) -> Path:
    """A folder with the completion scripts for all shells, written by the command itself."""
    pytest.importorskip("shtab")
    folder = tmp_path_factory.mktemp("completions")
    for shell, name in (("bash", "glass.bash"), ("zsh", "_glass"), ("fish", "glass.fish")):
        with (folder / name).open("w") as file, contextlib.redirect_stdout(file):
            assert main(["completion", shell]) == 0
    return folder


def needs(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    return path


ASKED = [
    ("glass pred", {"predict"}),
    ("glass bench d", {"decode", "doctor"}),
    ("glass bench decode --cr", {"--crops"}),
    ("glass export --t", {"--to"}),
    ("glass train --preset single_view_t", {"single_view_tiny"}),
]
"""Text typed before the tab key → the completions that must be offered."""


def test_bash_completes(completions):
    script = (
        f"source {completions}/glass.bash\n"
        "while read -r COMP_LINE; do\n"
        "  COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); COMP_POINT=${#COMP_LINE}; COMPREPLY=()\n"
        "  _shtab_glass; echo ${COMPREPLY[@]}\n"
        "done\n"
    )
    lines = "".join(f"{line}\n" for line, _ in ASKED)
    command = [needs("bash"), "--norc", "-c", script]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    offered = [set(answer.split()) for answer in done.stdout.splitlines()]
    assert dict(zip((line for line, _ in ASKED), offered, strict=True)) == dict(ASKED)


def test_fish_completes(completions):
    for line, expected in ASKED:
        script = f"source {completions}/glass.fish; complete -C '{line}'"
        done = subprocess.run([needs("fish"), "--no-config", "-c", script], capture_output=True, text=True, check=True)
        assert {word.split("\t")[0] for word in done.stdout.splitlines()} == expected, line


@pytest.mark.slow  # the same completions as bash's, by another shell
def test_zsh_completes(completions, tmp_path):
    """zsh completes only in a terminal, so the test gives it a pseudo-terminal. Tab is pressed twice, to list several
    completions."""
    shell = needs("zsh")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.execve(shell, ["zsh", "-f", "-i"], {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "", "HOME": "/"})

    def shows(typed: str, *marks: str) -> bool:
        os.write(terminal, typed.encode())
        seen, end = "", time.monotonic() + 60
        while not all(mark in seen for mark in marks) and time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 1 << 16).decode(errors="replace")
        return all(mark in seen for mark in marks)

    try:
        start = (
            f"fpath=({completions} $fpath); autoload -Uz compinit && compinit -u -D; unsetopt list_beep; echo rea''dy\n"
        )
        assert shows(start, "ready")
        for line, expected in ASKED:
            assert shows(f"{line}\t\t", *expected), line
            assert shows("\x15echo do''ne\n", "done")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


NO_MODEL = r"(gone/away/here does not exist|there is no model in \S*/docs .*): give the folder of a trained run"
WITHOUT_A_MODEL = [
    [name, folder, *more]
    for name, more in (("predict", ["README.md"]), ("export", ["--onnx", "x.onnx"]))
    for folder in ("gone/away/here", str(ROOT / "docs"))
]


@pytest.mark.parametrize("words", WITHOUT_A_MODEL)
def test_a_model_that_is_not_there_is_said_before_the_modules_of_detectors_are_loaded(words, monkeypatch):
    for name in ("glass.predict.detector", "glass.export.model_folder", "glass.model.model"):
        monkeypatch.setitem(sys.modules, name, None)  # which makes importing it fail
    with pytest.raises(InputError, match=NO_MODEL):
        main(words)


@pytest.mark.slow  # a process each, which shows that no other module loads torch either
@pytest.mark.parametrize("words", WITHOUT_A_MODEL)
def test_a_model_that_is_not_there_is_said_before_torch_is_loaded(words):
    code = (
        "import sys\n"
        "from scripts.console import main\n"
        "from shards.errors import InputError\n"
        "try: main(sys.argv[1:])\n"
        "except InputError as error: print(error)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    sentence, loaded = done.stdout.splitlines()
    assert re.match(NO_MODEL, sentence)
    assert loaded == "False"
