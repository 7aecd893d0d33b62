"""``bench all`` runs every bench, keeps their results, and reports those that failed."""

import errno
import json
import subprocess

import pytest

from bench import all as bench_all
from bench.harness.schemas import check_result
from shards.errors import InputError
from tests.runs.made_up import made_up_result


@pytest.fixture
def benches(monkeypatch):
    """Replaces the benches by fake processes. Returns a dict, which the test fills with name → (exit code, last line),
    and the list of commands that were run."""
    ends: dict[str, tuple[int, str]] = {}
    commands: list[list[str]] = []

    def run(command, **_):
        *_, module, name = command[: command.index("bench") + 2]
        assert module == "bench"
        commands.append(command[command.index(name) :])
        code, last = ends[name]
        return subprocess.CompletedProcess(command, code, stdout=f"a table\n{last}\n")

    monkeypatch.setattr(bench_all.subprocess, "run", run)
    return ends, commands


def last_line(capsys) -> tuple[str, dict]:
    out = capsys.readouterr().out
    return out, json.loads(out.splitlines()[-1])


def test_a_missed_goal_is_reported_and_its_result_kept(benches, tmp_path, capsys):
    ends, _ = benches
    ends["memory"] = 0, json.dumps(made_up_result("memory"))
    ends["scale"] = 1, json.dumps(made_up_result("scale"))
    ends["doctor"] = 2, "error: no such folder"
    words = ["--machine", "m", "--results", str(tmp_path), "--benches", "memory,scale,doctor"]
    assert bench_all.main(words) == 1
    out, last = last_line(capsys)
    assert "NOTE scale: ended with exit code 1; its result is kept" in out
    assert "FAILED doctor: exit code 2, and no result: its last line is not a JSON document" in out
    assert [(run["bench"], run["exit_code"], run["kept"]) for run in last["runs"]] == [
        ("memory", 0, True),
        ("scale", 1, True),
        ("doctor", 2, False),
    ]
    lines = [json.loads(text) for text in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [(line["bench"], line["exit_code"]) for line in lines] == [("memory", 0), ("scale", 1)]
    for line in lines:
        check_result(line["bench"], line["document"])


def test_a_number_that_json_does_not_have_is_no_result(benches, tmp_path, capsys):
    ends, _ = benches
    document = made_up_result("scale") | {"note": float("nan")}
    ends["scale"] = 0, json.dumps(document)
    words = ["--machine", "m", "--results", str(tmp_path), "--benches", "scale"]
    assert bench_all.main(words) == 1
    assert "FAILED scale: exit code 0, and no result: NaN is not JSON" in last_line(capsys)[0]


@pytest.mark.parametrize("name", ["/proc", "{tmp}/file", "{tmp}/file/x", "{tmp}/damaged"])
def test_results_that_cannot_be_kept_are_reported_before_measuring(benches, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/m.jsonl").write_bytes(b"\xff")
    words = ["--machine", "m", "--benches", "scale", "--results", name.format(tmp=tmp_path)]
    with pytest.raises(InputError, match=r"give another --(results|machine)"):
        bench_all.main(words)
    assert benches[1] == []


def test_a_result_that_cannot_be_kept_any_more_is_printed(benches, tmp_path, capsys, monkeypatch):
    ends, _ = benches
    ends["scale"] = 0, json.dumps(made_up_result("scale"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bench_all, "write_text_atomic", full)
    words = ["--machine", "m", "--results", str(tmp_path), "--benches", "scale"]
    assert bench_all.main(words) == 1
    out, _ = last_line(capsys)
    assert "FAILED scale: exit code 0;" in out
    assert "No space left on device" in out
    assert ends["scale"][1] in out.splitlines()


@pytest.mark.parametrize("photos", [pytest.param(True, marks=pytest.mark.slow), False])
def test_benches_get_what_they_measure_on(benches, synthetic_shards, tmp_path, photos):
    """Runs all default benches. Those that need images get the photographs if there are any, or the sizes of synthetic
    ones."""
    ends, commands = benches
    ends.update(dict.fromkeys(bench_all.KNOWN, (3, "")))
    words = ["--machine", "m", "--results", str(tmp_path), "--data", str(synthetic_shards)]
    assert bench_all.main(words + (["--photos", str(tmp_path)] if photos else [])) == 1
    assert [name for name, *_ in commands] == list(bench_all.DEFAULT)
    given = {name: rest for name, *rest in commands}
    assert given["decode"] == given["build"]
    assert given["decode"] == (["--photos", str(tmp_path)] if photos else ["--megapixels", "3,12"])
    assert given["train"] == given["loader"] == ["--data", str(synthetic_shards)]
    assert given["memory"] == given["scale"] == given["doctor"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--machine", "../x"], "becomes a file name"),
        (["--machine", "m"], "--data SHARDS is required by loader and train"),
        (["--machine", "m", "--benches", "remote"], "--data SHARDS is required by remote"),
        (["--machine", "m", "--benches", "nothing"], "'nothing' is unknown"),
        (["--machine", "m", "--benches", "all"], "'all' is unknown"),
        (["--machine", "m", "--benches", "build", "--photos", "nowhere"], "--photos nowhere: no such"),
        (["--machine", "m", "--benches", "train", "--data", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_reported(words, message):
    with pytest.raises(InputError, match=message):
        bench_all.main(words)
