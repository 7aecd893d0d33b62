"""Result lines are compared side by side if they were measured alike, and refused if not."""

import copy
import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench import report
from bench.all import DEFAULT, append_line
from bench.comparison import IDENTITY, METRICS, read_results
from bench.corpora.corpus import data_digest
from shards.errors import InputError
from tests.runs.made_up import made_up_result


@pytest.fixture
def document() -> dict:
    """The document that ``bench loader`` writes, with two rows."""
    document = made_up_result("loader")
    (row,) = document["rows"]
    row |= {"method": "turbo <window>", "num_crops": 4, "images_per_s": 100.0, "spread": [90.0, 110.0]}
    other = row | {"threads": 2, "images_per_s": 180.0, "spread": [170.0, 190.0]}
    return document | {"rows": [row, other]}


def add(folder: Path, bench: str, machine: str, document: dict, exit_code: int = 0) -> None:
    append_line(folder / "r.jsonl", bench, machine, f"{bench} --data x", exit_code, document)


def reported(folder: Path) -> str:
    assert report.main([str(folder / "out"), str(folder / "r.jsonl")]) == 0
    return (folder / "out/bench.md").read_text()


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.usefixtures("undrawn")
def test_machines_stand_side_by_side(document, tmp_path):
    add(tmp_path, "loader", "machine-a", document)
    faster = copy.deepcopy(document)
    faster["rows"] = faster["rows"][:1]
    faster["rows"][0] |= {"images_per_s": 300.0, "spread": [280.0, 310.0]}
    faster["environment"]["busy_cores"] = 3.0
    add(tmp_path, "loader", "machine-b", faster, exit_code=1)
    text = reported(tmp_path)
    assert "100 (90 – 110) | 300 (280 – 310)" in text
    assert "1 row that some results lack" in text
    assert text.count("(busy!)") == 2  # the column, and the note
    assert "machine-b, 1, 1 with 1" in text  # a goal was missed
    page = (tmp_path / "out/bench.html").read_text()
    assert "&lt;window&gt;" in page
    assert "<svg" in page
    assert "<window>" not in page
    assert "images per second" in page
    assert 'name="viewport"' in page


def test_every_field_of_the_identity_is_in_the_schema():
    assert set(IDENTITY) == set(METRICS)
    for bench in METRICS:
        (row,) = made_up_result(bench)["rows"]
        assert set(IDENTITY[bench]) | set(METRICS[bench]) <= set(row)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("bench", METRICS)
def test_what_was_measured_alike_is_compared(bench, tmp_path, capsys):
    """Each figure has its own line in the report. Results that differ only in their figures are compared."""
    add(tmp_path, bench, "machine-a", made_up_result(bench))
    other = made_up_result(bench)
    for metric in METRICS[bench]:
        other["rows"][0][metric] = 1.0
    add(tmp_path, bench, "machine-b", other)
    text = reported(tmp_path)
    assert last_line(capsys)["compared"] == {bench: 2}
    assert all(f"| {metric.replace('_bytes', '_mib')} |" in text for metric in METRICS[bench])


@pytest.mark.parametrize("bench", METRICS)
def test_what_was_not_measured_alike_is_refused(bench, tmp_path):
    """A difference in any single field of the identity (data, crop size, chunk, settings, batch …) is enough to refuse
    a comparison."""
    for field in IDENTITY[bench]:
        folder = tmp_path / field
        folder.mkdir()
        add(folder, bench, "machine-a", made_up_result(bench))
        other = made_up_result(bench)
        (row,) = other["rows"]
        value = row[field]
        row[field] = [*value, "x=1"] if isinstance(value, list) else type(value)(2)
        add(folder, bench, "machine-b", other)
        with pytest.raises(InputError, match="share no row that was measured in the same way") as caught:
            reported(folder)
        assert field in str(caught.value)


def test_the_page_has_the_colours_of_reports_and_three_digits(document, tmp_path):
    document["rows"][0] |= {"images_per_s": 12.3456, "spread": [12.3333, 12.5555]}
    for machine in ("machine-a", "machine-b"):
        add(tmp_path, "loader", machine, document)
        add(tmp_path, "memory", machine, made_up_result("memory") | {})
    text = reported(tmp_path)
    page = (tmp_path / "out/bench.html").read_text()
    assert {"var(--run-0)", "var(--run-1)", "var(--ink)", "prefers-color-scheme: dark"} <= set(
        re.findall(r"var\(--[a-z0-9-]+\)|prefers-color-scheme: dark", page)
    )
    assert "#1f77b4" not in page
    for shown in (text, page):
        assert "12.3 (12.3 – 12.6)" in shown
        assert "settings []" not in shown


@pytest.mark.usefixtures("undrawn")
def test_a_bench_without_common_rows_does_not_stop_the_others(document, tmp_path, capsys):
    add(tmp_path, "loader", "machine-a", document)
    other = copy.deepcopy(document)
    for row in other["rows"]:
        row["data"] = "other"
    add(tmp_path, "loader", "machine-b", other)
    for machine in ("machine-a", "machine-b"):
        add(tmp_path, "scale", machine, made_up_result("scale"))
    add(tmp_path, "doctor", "machine-a", made_up_result("doctor"))
    text = reported(tmp_path)
    assert "## scale" in text
    assert "## loader" not in text
    assert "- the results of loader (machine-a, 1, 1; machine-b, 1, 1) share no row" in text
    assert "- 1 of doctor left out" in text
    found = last_line(capsys)
    assert found["compared"] == {"scale": 2}
    assert list(found["refused"]) == ["loader"]
    assert "Not compared" in (tmp_path / "out/bench.html").read_text()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("field", ["data", "batch_size", "crop_size"])
def test_a_row_of_an_older_version_is_compared_with_nothing(document, field, tmp_path):
    add(tmp_path, "loader", "machine-a", document)
    add(tmp_path, "loader", "machine-b", document)
    first, second = [json.loads(t) for t in (tmp_path / "r.jsonl").read_text().splitlines()]
    for row in second["document"]["rows"]:
        del row[field]
    (tmp_path / "r.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    text = reported(tmp_path)
    assert "machine-b" not in text
    assert f"(document.rows[0].{field} is missing)" in text


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "{}",
        '{"bench": "loader", "document": {"rows": 1}}',
        "[" * 100_000,
        '{"bench": "loader", "document": {"environment": NaN}}',
        '{"bench": ["loader"], "document": {"environment": {}}}',
    ],
)
def test_a_line_that_is_no_result_is_named(line, tmp_path):
    (tmp_path / "r.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"r.jsonl line 1 is not a bench result"):
        reported(tmp_path)


@pytest.mark.parametrize("output", ["{tmp}/r.jsonl", "{tmp}/r.jsonl/x", "/proc"])
def test_a_folder_for_the_report_that_cannot_be_written_to_is_reported(document, tmp_path, output):
    add(tmp_path, "loader", "machine-a", document)
    before = (tmp_path / "r.jsonl").read_text()
    with pytest.raises(InputError, match=r"cannot be written to .*: give another OUT"):
        report.main([output.format(tmp=tmp_path), str(tmp_path / "r.jsonl")])
    assert (tmp_path / "r.jsonl").read_text() == before


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["bench.md", "bench.html"])
def test_a_page_of_someone_elses_is_not_replaced(document, tmp_path, name):
    add(tmp_path, "loader", "machine-a", document)
    assert report.main([str(tmp_path / "out"), str(tmp_path / "r.jsonl")]) == 0
    assert report.main([str(tmp_path / "out"), str(tmp_path / "r.jsonl")]) == 0  # its own
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} was not written by this command: give another"):
        report.main([str(tmp_path / "out"), str(tmp_path / "r.jsonl")])
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_the_digest_of_data_depends_on_its_tars_alone(synthetic_dataset):
    info = synthetic_dataset.info
    found = data_digest(info)
    assert len(found) == 16
    for shards, same in ((info.shards[::-1], True), (info.shards[1:], False)):
        assert (data_digest(replace(info, shards=shards)) == found) is same


def test_committed_results_have_the_form():
    """Every line of the committed files is a result of this version of the benches, and every default bench occurs."""
    files = sorted((Path(report.__file__).parent / "results").glob("*.jsonl"))
    assert files
    results, left_out = read_results(files)
    assert left_out == []
    assert {result.bench for result in results} == set(DEFAULT)
