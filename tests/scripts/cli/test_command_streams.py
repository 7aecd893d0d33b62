"""Commands whose stdout or stderr is closed, full, or cannot show all characters: no traceback and the same exit
code."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shards.cli.command import run_command
from shards.errors import InputError, MachineTrouble

ROOT = Path(__file__).resolve().parents[3]
COMMAND = """
import logging, sys
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from shards.errors import InputError
from shards.cli.command import CommandParser, run_command

def main():
    parser = CommandParser(prog="x")
    parser.add_argument("outcome")
    outcome = parser.parse_args().outcome
    print("one → two × three", flush=True)
    for _ in tqdm(range(2), "a → b"):
        pass
    logging.getLogger("x").warning("a warning → …")
    table = Table(title="a → b")
    table.add_column("×")
    Console().print(table)
    with open(__file__) as file:
        assert file.fileno() > 2
    if outcome == "mistake":
        raise InputError("this → that")
    return int(outcome)

run_command(main)
"""
ENDINGS = {"0": 0, "mistake": 2}
MORE_ENDINGS = {"--no-such": 2, "3": 3, "--help": 0}
DEAF = [
    ">&- 2>&-",
    *(
        pytest.param(words, marks=pytest.mark.slow)
        for words in ("2>/dev/full", ">&-", "2>&-", "<&- >&- 2>&-", ">&- 2>/dev/full")
    ),
]


def shell(folder: Path, redirections: str, outcome: str, **environment: str):
    script = folder / "command.py"
    script.write_text(COMMAND)
    return subprocess.run(
        ["bash", "-c", f'"$0" "$1" "$2" {redirections}', sys.executable, str(script), outcome],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


@pytest.mark.parametrize("endings", [ENDINGS, pytest.param(MORE_ENDINGS, marks=pytest.mark.slow)], ids=["two", "more"])
@pytest.mark.parametrize("redirections", DEAF)
def test_a_command_that_nobody_hears_ends_as_ever(tmp_path, redirections, endings):
    for outcome, code in endings.items():
        done = shell(tmp_path, redirections, outcome)
        assert done.returncode == code, (outcome, done.stderr)
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "endings",
    [
        {"0": 0},
        pytest.param(MORE_ENDINGS | {"mistake": 2}, marks=pytest.mark.slow),  # --no-such prints nothing to stdout
    ],
    ids=["one", "more"],
)
def test_what_was_to_be_printed_and_is_lost_is_said_once(tmp_path, endings):
    for outcome, code in endings.items():
        done = shell(tmp_path, ">/dev/full", outcome)
        assert done.returncode == (code or 2 if outcome != "--no-such" else 2), outcome
        lost = done.stderr.count(b"the output could not be printed and is lost: No space left on device")
        assert lost == (outcome != "--no-such")
        assert b"Traceback" not in done.stderr
        assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    "encoding", ["ascii:strict", *(pytest.param(e, marks=pytest.mark.slow) for e in ("ascii", "latin-1"))]
)
def test_a_narrow_terminal_shows_what_it_can(tmp_path, encoding):
    done = shell(tmp_path, "", "mistake", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert done.stdout.startswith(b"one -> two ")
    assert b"a -> b" in done.stdout.splitlines()[1]
    assert done.stderr.endswith(b"error: this -> that\n")
    assert b"a warning -> " in done.stderr


@pytest.mark.parametrize("outcome", [pytest.param("0", marks=pytest.mark.slow), "mistake"])
def test_a_command_whose_reader_went_away_ends_as_ever(tmp_path, outcome):
    """Its files are written and its exit code is its own, even if the library rich meets the closed pipe. rich itself
    would exit with code 1, which means that a command found something."""
    done = shell(tmp_path, "| true; exit ${PIPESTATUS[0]}", outcome, PYTHONUNBUFFERED="1")
    assert (done.returncode, b"Traceback" in done.stderr) == (ENDINGS[outcome], False)


def ended(main) -> int:
    with pytest.raises(SystemExit) as caught:
        run_command(main)
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    "error",
    [
        MachineTrouble("a.jpg: this process cannot open more files"),
        OSError(errno.EMFILE, "Too many open files", "a.jpg"),
        MemoryError(),
        InputError("a.jpg: a mistake"),
    ],
)
def test_the_machine_s_trouble_is_one_sentence(capsys, error):
    def main() -> int:
        raise error

    assert ended(main) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a.jpg: " if str(error) else "error: there is not enough memory")


def test_a_socket_that_broke_is_not_taken_for_stdout(capsys):
    def main() -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    assert ended(main) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_a_build_goes_on_without_a_bar(tmp_path, coded_image, encode_image):
    """The build continues even though stderr, to which it writes the progress bar, is closed."""
    for index, label in enumerate(("real", "generated")):
        (tmp_path / "images" / label).mkdir(parents=True)
        data = encode_image(coded_image(index, 40, 30), "PNG")
        (tmp_path / "images" / label / "a.png").write_bytes(data)
    done = subprocess.run(
        [
            "bash",
            "-c",
            '"$0" -m scripts.build_shards "$1" "$2" --workers 1 2>&-',
            sys.executable,
            str(tmp_path / "images"),
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0
    assert "2 samples" in done.stdout
