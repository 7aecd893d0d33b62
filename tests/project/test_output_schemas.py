"""``docs/schemas`` contains the schemas of the documents that commands write, and these documents fit their schemas."""

import json
import re
import tarfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, is_typeddict

import jsonschema
import pytest

from glass.studies.study import Study
from loaders.reading.open_shards import OpenShards
from scripts import audit, calibrate, data_stats, evaluate, predict, report, robustness
from scripts.console import COMMANDS
from shards.manifest.dataset import ShardDataset
from tests.project.output_schemas import FOLDER, OUTPUTS, PAGE, ROOT, Output, schema_text, with_table
from tests.runs.least_study import least_budget, make_up_memory
from tests.runs.made_up import made_up, refuses_holes

MADE_UP = [output for output in OUTPUTS if is_typeddict(output.kind) and output.schema not in ("run", "report")]
"""The outputs for which tests generate a document from its type. The types of a run and of a report do not define all
of their parts."""


@cache
def validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((FOLDER / f"{schema}.json").read_text("utf-8")))


def check(schema: str, document: Any) -> None:
    """Raises ``ValueError`` for the first value in ``document`` that the schema refuses."""
    fault = next(validator(schema).iter_errors(document), None)
    if fault is None:
        return
    while fault.context:  # of the alternatives, the one that went furthest
        fault = max(fault.context, key=lambda alternative: len(alternative.absolute_path))
    place = "document" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault.absolute_path)
    if fault.validator == "required":
        (missing, *_) = (name for name in fault.validator_value if name not in fault.instance)
        raise ValueError(f"{place}.{missing} is missing")
    raise ValueError(f"{place} = {fault.instance!r} is not of this schema: {fault.message}")


def check_file(schema: str, path: Path) -> None:
    check(schema, json.loads(path.read_text("utf-8")))


def check_lines(schema: str, lines: Iterable[str]) -> None:
    documents = [json.loads(line) for line in lines]
    assert documents
    for document in documents:
        check(schema, document)


def test_the_schemas_are_up_to_date() -> None:
    """After a change, ``python -m tests.project.output_schemas`` writes the schemas and the table again."""
    assert {path.stem for path in FOLDER.iterdir()} == {output.schema for output in OUTPUTS}
    for output in OUTPUTS:
        assert (FOLDER / f"{output.schema}.json").read_text("utf-8") == schema_text(output.kind), output.schema
    page = PAGE.read_text("utf-8")
    assert with_table(page) == page
    assert page.count("](schemas/") >= len(OUTPUTS)


@pytest.mark.slow  # a second; what commands write is held against them by default
@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.schema)
def test_a_schema_is_one(output: Output) -> None:
    jsonschema.Draft202012Validator.check_schema(validator(output.schema).schema)


def test_descriptions_are_for_readers_of_json() -> None:
    """They come from docstrings, but must not speak of Python: no roles of Sphinx, no exceptions, no classes."""
    for output in OUTPUTS:
        text = schema_text(output.kind)
        assert not re.search(r":\w+:`|Raises |this class", text), output.schema


def test_every_command_that_is_named_exists() -> None:
    named = {command for output in OUTPUTS for command in re.findall(r"glass ([a-z-]+)", output.commands)}
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("every", [100, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("output", MADE_UP, ids=lambda output: output.schema)
def test_a_schema_refuses_what_its_type_refuses(output: Output, every: int) -> None:
    """The schema refuses a document if a field is missing or has a type that no field accepts. Depending on ``every``,
    all fields are tested, or every hundredth; the first always is."""
    assert refuses_holes(lambda document: check(output.schema, document), made_up(output.kind), output.kind, every) > 0


def test_measurements_that_were_kept_fit() -> None:
    for path in sorted((ROOT / "bench/results").glob("*.jsonl")):
        lines = path.read_text("utf-8").splitlines()
        check_lines("bench-line", lines)
        for line in map(json.loads, lines):
            check(f"bench-{line['bench']}", line["document"])


def test_what_is_said_of_a_data_set_fits(own_shards: Path, tmp_path: Path) -> None:
    check_file("dataset", own_shards / "dataset.json")
    with tarfile.open(next(own_shards.glob("train-*.tar"))) as shard:
        members = [shard.extractfile(member) for member in shard if member.name.endswith(".json")]
        check_lines("sample", [member.read().decode() for member in members if member is not None])
    assert data_stats.main([str(own_shards), "--output", str(tmp_path)]) == 0
    check_file("data-stats", tmp_path / "data_stats.json")
    audit.main([str(own_shards), "--json", str(tmp_path / "findings.json")])
    check_file("audit", own_shards / "audit.json")
    check_file("audit", tmp_path / "findings.json")


def test_what_training_writes_fits(unbroken: Path) -> None:
    check_file("run", unbroken / "run.json")
    check_lines("epoch", (unbroken / "metrics.jsonl").read_text("utf-8").splitlines())
    check_file("model-card", unbroken / "model/config.json")


def test_the_settings_of_a_run_are_checked_one_by_one(unbroken: Path) -> None:
    record = json.loads((unbroken / "run.json").read_text("utf-8"))
    record["config"]["optim"]["lr_head"] = "fast"
    with pytest.raises(ValueError, match=r"document\.config\.optim\.lr_head = 'fast' is not"):
        check("run", record)


@pytest.mark.usefixtures("undrawn")
def test_what_is_measured_fits(
    knowing: Path, four_splits: Path, unbroken: Path, tmp_path: Path, files: list[Any]
) -> None:
    """Commands write a calibration, evaluations with and without it, a robustness table, a report and verdicts, which
    all fit."""
    for name in ("run.json", "metrics.jsonl"):
        (knowing / name).write_bytes((unbroken / name).read_bytes())
    data = ["--data", str(four_splits)]
    assert evaluate.main([str(knowing), *data, "--split", "valid", "--draws", "5", "--device", "cpu"]) == 0
    assert calibrate.main([str(knowing), *data]) == 0
    check_file("calibration", knowing / "model/calibration.json")
    assert evaluate.main([str(knowing), *data, "--draws", "5", "--device", "cpu"]) == 0
    assert robustness.main([str(knowing), *data, "--rows", "jpeg-50", "--draws", "5", "--device", "cpu"]) == 0
    written = {schema: sorted(knowing.glob(f"{schema}-*.json")) for schema in ("evaluation", "robustness")}
    assert [len(paths) for paths in written.values()] == [2, 1]
    for schema, paths in written.items():
        for path in paths:
            check_file(schema, path)
    assert report.main([str(tmp_path), *data, "--run", f"mine={knowing}"]) == 0
    check_file("report", tmp_path / "report.json")
    broken = json.loads((tmp_path / "report.json").read_text("utf-8"))
    broken["mine"]["test"]["auroc"] = "high"
    with pytest.raises(ValueError, match=r"document\.mine\.test.* is not of this schema"):
        check("report", broken)
    (tmp_path / "none.png").write_bytes(b"no image")
    named = [files[0].name, str(tmp_path / "none.png")]
    predict.main([str(knowing), *named, "--json", str(tmp_path / "verdicts.json")])
    check_file("predictions", tmp_path / "verdicts.json")


@pytest.mark.slow
def test_what_a_study_writes_fits(
    synthetic_dataset: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_up_memory(monkeypatch)
    with OpenShards(synthetic_dataset) as data:
        Study(data, least_budget(1, "glass", "single_view"), tmp_path).run()
    names = {
        "study": "study.json",
        "tuning": "tuning.json",
        "best": "best.json",
        "final-runs": "final_runs.json",
        "seeds": "seeds.json",
        "crop-study": "crop_study.json",
        "crop-study-row": "row.json",
        "plan": "plan.json",
        "run": "run.json",
        "evaluation": "evaluation-*.json",
    }
    for schema, name in names.items():
        found = list(tmp_path.rglob(name))
        assert found, name
        for path in found:
            check_file(schema, path)
