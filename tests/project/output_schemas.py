"""JSON schemas of all documents that commands write, generated from their declared types: ``docs/schemas/*.json``.

After an intended change, ``python -m tests.project.output_schemas`` regenerates the schemas and the table in
``docs/outputs.md``; review the diff.
"""

import ast
import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict, get_args, get_type_hints, is_typeddict

import msgspec

from bench.harness.schemas import SCHEMAS, Line
from glass.auditing.document import Audit
from glass.config.run_config import RunConfig
from glass.config.run_folder import EpochLine, RunRecord
from glass.export.card_file import ModelCard
from glass.measure.calibration import Calibration
from glass.measure.evaluation_schema import Evaluation
from glass.measure.metrics import Metrics
from glass.measure.robustness_schema import Robustness
from glass.predict.prediction_files import Predictions
from glass.report.document import Report, RunReport, SplitResults
from glass.studies.crop_documents import CropStudy, TrainingRow
from glass.studies.final_documents import FinalRuns, Seeds
from glass.studies.plan import Plan
from glass.studies.search_records import BestParams, Tuning
from glass.studies.study_documents import StudyDocument
from scripts.data_stats import DataStats
from shards.build.make_sample import json_fields
from shards.files.documents import MAX_FLOAT
from shards.manifest.info import DatasetInfo
from shards.manifest.schema import SAMPLE_SCHEMA

__all__ = ["FOLDER", "OUTPUTS", "PAGE", "Output", "schema_text", "with_table"]

ROOT = Path(__file__).parents[2]
FOLDER, PAGE = ROOT / "docs/schemas", ROOT / "docs/outputs.md"


@dataclass(frozen=True)
class Output:
    """A document that commands write and that has a declared type."""

    schema: str
    """Name of the schema's file in ``docs/schemas``, without its ending."""
    commands: str
    """The commands that write the document, as a user types them, separated by commas."""
    file: str
    """The file to which the document is written, as Markdown for the table in ``docs/outputs.md``."""
    kind: Any


_EXAMPLE = {name: b"" if name.endswith("sha256") else 0 for name in SAMPLE_SCHEMA.names}
Sample = TypedDict("Sample", {name: type(value) for name, value in json_fields(_EXAMPLE).items()})  # type: ignore[misc]
Sample.__doc__ = "``KEY.json`` beside each image in a shard; ``shards/manifest/schema.py`` explains the fields."


def _bench_files(name: str) -> str:
    also = {"gpu": "; `--out FILE`", "all": "", "report": ""}.get(name, f"; `--output DIR`: `DIR/{name}.json`")
    return f"the last line printed{also}"


OUTPUTS = (
    Output("dataset", "glass build, glass index", "`OUT/dataset.json`", DatasetInfo),
    Output("sample", "glass build, glass index", "`KEY.json` in each shard", Sample),
    Output("data-stats", "glass data-stats --output", "`DIR/data_stats.json`", DataStats),
    Output("audit", "glass audit", "`DATA/audit.json`, `--json FILE`", Audit),
    Output("run", "glass train", "`RUN/run.json`", RunRecord),
    Output("epoch", "glass train", "each line of `RUN/metrics.jsonl`", EpochLine),
    Output("model-card", "glass train, glass export", "`RUN/model/config.json`, `config.json` of an export", ModelCard),
    Output("calibration", "glass calibrate", "`RUN/model/calibration.json`", Calibration),
    Output("evaluation", "glass evaluate", "`RUN/evaluation-SPLIT.json`", Evaluation),
    Output(
        "robustness", "glass robustness", "`RUN/robustness-SPLIT.json`, in `--output DIR` if that is given", Robustness
    ),
    Output("report", "glass report", "`OUT/report.json`", Report),
    Output("predictions", "glass predict --json", "`FILE`", Predictions),
    Output("tuning", "glass tune", "`RUN/tuning.json`", Tuning),
    Output("best", "glass tune", "`RUN/best.json`", BestParams),
    Output("final-runs", "glass final-runs", "`RUN/final_runs.json`", FinalRuns),
    Output("seeds", "glass final-runs", "`RUN/seeds.json`", Seeds),
    Output("crop-study", "glass crop-study", "`RUN/crop_study.json`", CropStudy),
    Output("crop-study-row", "glass crop-study", "`RUN/crops-NN/row.json`", TrainingRow),
    Output("plan", "glass tune, glass final-runs, glass crop-study", "`RUN/plan.json`", Plan),
    Output("study", "glass study", "`RUN/study.json`", StudyDocument),
    *(Output(f"bench-{name}", f"glass bench {name}", _bench_files(name), kind) for name, kind in SCHEMAS.items()),
    Output("bench-line", "glass bench all", "each line of `bench/results/*.jsonl`", Line),
)


def schema_of(kind: Any) -> dict[str, Any]:
    """Returns the JSON schema of ``kind``, with the docstrings of classes and fields as descriptions."""
    with_parts = {Report: (Report, RunReport, Metrics, SplitResults), RunRecord: (RunRecord, RunConfig)}
    kinds = with_parts.get(kind, (kind,))
    (first, *_), definitions = msgspec.json.schema_components(kinds)
    for found in {name: kind for kind in kinds for name, kind in _classes(kind)}.values():
        _describe(definitions[found.__name__], found)
        for field in definitions[found.__name__]["properties"].values():
            if field.get("default") in ([], {}):  # which msgspec says from 0.23 on
                del field["default"]
    if kind is Report:  # it holds parts by the names of runs, and these by the name of the split
        definitions["Report"]["additionalProperties"] = {"$ref": "#/$defs/RunReport"}
        parts = [{"$ref": f"#/$defs/{part.__name__}"} for part in (Metrics, SplitResults)]
        definitions["RunReport"]["additionalProperties"] = {"allOf": parts}
    if kind is RunRecord:
        definitions["RunRecord"]["properties"]["config"]["$ref"] = "#/$defs/RunConfig"
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **first}
    return _without_bounds({**head, "$defs": dict(sorted(definitions.items()))})


@cache
def schema_text(kind: Any) -> str:
    """Returns the text of the schema's file in ``docs/schemas``."""
    return json.dumps(schema_of(kind), indent=1, ensure_ascii=False) + "\n"


def with_table(page: str) -> str:
    """Returns ``page``, the text of ``docs/outputs.md``, with its table replaced by one that lists ``OUTPUTS``."""
    lines = ["| command | file | schema |", "|---|---|---|"]
    for output in OUTPUTS:
        commands = ", ".join(f"`{command}`" for command in output.commands.split(", "))
        lines.append(f"| {commands} | {output.file} | [{output.schema}](schemas/{output.schema}.json) |")
    return re.sub(r"(?m)^\| command \|.*\n(?:\|.*\n)*", lambda _: "\n".join(lines) + "\n", page, count=1)


def _classes(kind: Any) -> Iterator[tuple[str, Any]]:
    """Yields (name, class) of each record type that a document of ``kind`` may contain."""
    if is_typeddict(kind) or dataclasses.is_dataclass(kind) or _is_struct(kind):
        yield kind.__name__, kind
        for part in get_type_hints(kind, include_extras=True).values():
            yield from _classes(part)
    for part in get_args(kind):
        yield from _classes(part)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _describe(schema: dict[str, Any], kind: Any) -> None:
    """Copies the docstrings of ``kind`` and of its fields, inherited ones included, into ``schema``, because msgspec
    does not."""
    schema["description"] = _plain(kind.__doc__ or "")
    for name, text in _field_docs(kind).items():
        if name in schema["properties"]:
            schema["properties"][name]["description"] = _plain(text)


def _field_docs(kind: Any) -> dict[str, str]:
    docs: dict[str, str] = {}
    found = _classes_of(kind.__module__).get(kind.__name__)
    if found is None:  # a call made the class
        return docs
    for base in found.bases:  # those of a TypedDict are known from its source alone, before Python 3.12
        if isinstance(base, ast.Name) and hasattr(
            above := getattr(sys.modules[kind.__module__], base.id), "__annotations__"
        ):
            docs |= _field_docs(above)
    for field, after in pairwise(found.body):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = text
    return docs


@cache
def _classes_of(module: str) -> dict[str, ast.ClassDef]:
    """Returns class name → syntax tree, for the top-level classes of a module."""
    parsed = ast.parse(inspect.getsource(sys.modules[module]))
    return {part.name: part for part in parsed.body if isinstance(part, ast.ClassDef)}


def _plain(text: str) -> str:
    """Returns a docstring as one line, without Sphinx roles and with single backticks."""
    return re.sub(r":(?:class|func|mod|attr|meth):`|``", "`", " ".join(text.split()))


def _without_bounds(schema: Any) -> Any:
    """Returns ``schema`` without limits that only rule out infinite numbers. JSON cannot represent these anyway."""
    if isinstance(schema, dict):
        return {name: _without_bounds(part) for name, part in schema.items() if part not in (MAX_FLOAT, -MAX_FLOAT)}
    return [_without_bounds(part) for part in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for output in OUTPUTS:
        (FOLDER / f"{output.schema}.json").write_text(schema_text(output.kind), encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
