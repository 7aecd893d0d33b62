"""Results as lines, set side by side where they were measured alike, and refused where not."""

import copy
import json

import pytest

from bench import doctor, report
from bench.all import append_line
from bench.environment import environment
from bench.schemas import check_result
from shards.command import InputError


@pytest.fixture
def document() -> dict:
    row = {
        "bench": "loader", "method": "turbo <window>", "num_crops": 4, "megapixels": 6.9,
        "threads": 1, "images_per_s": 100.0, "spread": [90.0, 110.0], "bytes_read_per_image": 1000,
        "cpu_s_per_image": 0.01, "peak_rss_mib": 123.5, "images": "train",
    }  # fmt: skip
    found = environment([0]) | {"load_average_1m": 0.1}
    other = row | {"threads": 2, "images_per_s": 180.0, "spread": [170.0, 190.0]}
    return {"rows": [row, other], "ratios": {}, "environment": found}


def test_machines_stand_side_by_side(document, tmp_path):
    append_line(tmp_path / "a.jsonl", "loader", "machine-a", "loader --data x", 0, document)
    faster = copy.deepcopy(document)
    faster["rows"] = faster["rows"][:1]
    faster["rows"][0] |= {"images_per_s": 300.0, "spread": [280.0, 310.0]}
    faster["environment"]["load_average_1m"] = 3.0
    append_line(tmp_path / "b.jsonl", "loader", "machine-b", "loader --data x", 0, faster)
    files = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    assert report.main([str(tmp_path / "out"), *files]) == 0
    text = (tmp_path / "out/bench.md").read_text()
    assert "100 (90 – 110) | 300 (280 – 310)" in text
    assert "1 rows that not every result has" in text
    assert text.count("(busy!)") == 2  # the column, and the note
    page = (tmp_path / "out/bench.html").read_text()
    assert "&lt;window&gt;" in page
    assert "<svg" in page
    assert "<window>" not in page


def test_what_was_not_measured_alike_is_refused(document, tmp_path):
    append_line(tmp_path / "r.jsonl", "loader", "machine-a", "loader", 0, document)
    other = copy.deepcopy(document)
    for row in other["rows"]:
        row["num_crops"] = 8
    append_line(tmp_path / "r.jsonl", "loader", "machine-b", "loader", 0, other)
    with pytest.raises(InputError, match="no row in common that was measured alike"):
        report.main([str(tmp_path / "out"), str(tmp_path / "r.jsonl")])


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"bench": "loader", "document": {"rows": 1}}'])
def test_a_line_that_is_no_result_is_named(line, tmp_path):
    (tmp_path / "r.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"r.jsonl line 1 is no bench result"):
        report.main([str(tmp_path / "out"), str(tmp_path / "r.jsonl")])


def test_the_doctor_speaks_of_every_check(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "FILE_BYTES", 1 << 20)

    def broken(options):
        raise OSError("no such library")

    monkeypatch.setitem(doctor.CPU_CHECKS, "libraries", broken)
    assert doctor.main(["--folder", str(tmp_path)]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    document = json.loads(last)
    check_result("doctor", document)
    verdicts = {row["check"]: row["verdict"] for row in document["rows"]}
    assert verdicts["libraries"] == "wrong"
    assert "OSError: no such library" in lines[0]
    assert verdicts["JPEG decoding"] in ("good", "slow")
    assert verdicts["DALI"] in ("good", "absent")


def test_committed_results_have_the_form(tmp_path):
    files = sorted((report.Path(report.__file__).parent / "results").glob("*.jsonl"))
    assert files
    assert report.read_results(files)
