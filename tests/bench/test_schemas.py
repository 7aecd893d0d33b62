"""Every document that a bench prints has a schema, and a document with a missing or wrong field is refused."""

import errno
import json
from typing import Any

import pytest

from bench.harness.schemas import SCHEMAS, Line, check_line, check_result, print_result
from bench.registry import BENCHES
from shards.errors import InputError
from tests.runs.made_up import made_up, made_up_result, refuses_holes


def test_every_bench_has_a_schema():
    assert set(SCHEMAS) == set(BENCHES)


@pytest.mark.parametrize("name", [*SCHEMAS, "line"])
def test_a_document_with_a_hole_is_refused(name):
    """Tries each field once missing and once with a type that no schema allows."""
    schema: Any = Line if name == "line" else SCHEMAS[name]
    if name == "line":
        whole = made_up(Line) | {"bench": "scale", "document": made_up_result("scale")}
    else:
        whole = made_up_result(name)

    def check(document: Any) -> None:
        check_line(document) if name == "line" else check_result(name, document)

    check(whole)
    assert refuses_holes(check, whole, schema) > 4


def test_a_result_is_printed_also_where_it_cannot_be_written(tmp_path, capsys):
    """The folder may have disappeared, or the disk may be full, after an hour of measuring. The document must be
    printed even so."""
    document = made_up_result("scale")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be written to .*: keep the last line"):
        print_result(document, tmp_path / "file/x", "scale")
    assert json.loads(capsys.readouterr().out) == document

    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        print_result(document, tmp_path / "new", "scale", full)
    assert json.loads(capsys.readouterr().out) == document
    (tmp_path / "scale.json").write_text("mine")
    with pytest.raises(InputError, match=r"scale\.json was not written by this .* last line"):
        print_result(document, tmp_path, "scale")
    assert (tmp_path / "scale.json").read_text() == "mine"
    assert json.loads(capsys.readouterr().out) == document
    assert json.loads((tmp_path / "new/scale.json").read_text()) == document


def test_a_line_is_of_the_bench_that_it_names():
    line = made_up(Line) | {"bench": "scale", "document": made_up_result("train")}
    with pytest.raises(ValueError, match=r"document.goals is missing"):
        check_line(line)
    with pytest.raises(ValueError, match=r"line.bench = 'magic' is not one of"):
        check_line(line | {"bench": "magic"})
    with pytest.raises(ValueError, match=r"document.bench = '1' is not 'scale'"):
        check_result("scale", made_up(SCHEMAS["scale"]))
