"""Documents of declared types: which fit, and how an error names the first value that does not."""

import json
import math
import re
from typing import Any, NotRequired, TypedDict

import pytest
from msgspec import Struct

from shards.errors import InputError
from shards.files.documents import Count, Number, document_text, read_document, typed_document, write_document


class Row(TypedDict):
    name: str
    values: dict[str, dict[str, Number | None]]
    later: NotRequired[list[Number]]


class Table(TypedDict):
    rows: list[Row]


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    count: Count
    share: Number = 0.5
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError(f"share = {self.share} is more than 1")


ROW: dict[str, Any] = {"name": "a", "values": {"x": {"y": 1, "z": None}}}


def test_a_table_is_returned_as_it_is():
    """Fields of other versions are kept, and whole numbers do not become floats, so that the document's text stays the
    same."""
    table = {"rows": [ROW | {"later": [1, 2.5], "of another version": 1}]}
    assert typed_document(table, Table) is table


def test_a_record_is_made():
    assert typed_document({"count": 3, "share": 1, "names": ["a"]}, Record) == Record(3, 1.0, ("a",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 7}, "document.rows[1].name = '7' is not text"),
        ({"name": None}, "document.rows[1].name = 'None' is not text"),
        ({"values": []}, "document.rows[1].values = '[]' is not an object"),
        ({"values": {"x": {"y": "1"}}}, "document.rows[1].values.x.y = '1' is not a number or null"),
        ({"values": {"x": {"y": True}}}, "document.rows[1].values.x.y = 'True' is not a number or null"),
        ({"later": 1}, "document.rows[1].later = '1' is not a list"),
        ({"later": [1, math.nan]}, "document.rows[1].later[1] = 'nan' is not a finite number"),
        ({"later": [math.inf]}, "document.rows[1].later[0] = 'inf' is not a finite number"),
        ({"name": list(range(99))}, "document.rows[1].name = '[0, 1, 2, 3, 4, 5, ...]' is not text"),
    ],
)
def test_the_place_at_fault_is_named(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        typed_document({"rows": [ROW, ROW | change]}, Table)


@pytest.mark.parametrize("place", range(0, 50, 7))
def test_keys_that_are_data_are_named(place):
    values: dict[str, dict[str, Any]] = {f"key {n}": {f"inner {m}": 1.0 for m in range(50)} for n in range(50)}
    values[f"key {place}"][f"inner {49 - place}"] = "x"
    with pytest.raises(ValueError, match=rf"document\.rows\[0\]\.values\.key {place}\.inner {49 - place} = 'x' is not"):
        typed_document({"rows": [ROW | {"values": values}]}, Table)


def test_a_value_of_any_depth_is_named_by_its_beginning():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match=r"document\.rows\[0\]\.name = '\[+\.\.\.\]+' is not text"):
        typed_document({"rows": [ROW | {"name": deep}]}, Table)


def test_fields_that_are_missing_or_unknown():
    with pytest.raises(ValueError, match=r"^document\.rows\[0\]\.values is missing$"):
        typed_document({"rows": [{"name": "a"}]}, Table)
    with pytest.raises(ValueError, match=r"^count is missing$"):
        typed_document({}, Record, "")
    with pytest.raises(ValueError, match=r"^document\.surprise is unknown$"):
        typed_document({"count": 1, "surprise": 1}, Record)


@pytest.mark.parametrize("count", [-1, 1 << 63, 1 << 200, True, 1.0, "1", None])
def test_counts(count):
    with pytest.raises(ValueError, match=r"^document\.count = .* is not a whole number"):
        typed_document({"count": count}, Record)


def test_what_a_record_refuses_itself():
    with pytest.raises(ValueError, match=r"^document: share = 2\.0 is more than 1$"):
        typed_document({"count": 1, "share": 2}, Record)


def test_files(tmp_path):
    path = tmp_path / "record.json"
    write_document(path, Record(1), Record)
    assert json.loads(path.read_text()) == {"count": 1, "share": 0.5, "names": []}
    assert read_document(path, Record, "a record") == Record(1)
    path.write_text('{"count": -1}')
    fault = r"document\.count = '-1' is not a whole number >= 0"
    message = rf"record\.json is not a record of this version \({fault}\): try again$"
    with pytest.raises(InputError, match=message):
        read_document(path, Record, "a record", "try again")
    path.write_text('{"count": NaN}')
    with pytest.raises(InputError, match="NaN is not JSON"):
        read_document(path, Record, "a record")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_document(tmp_path / "none.json", Record, "a record")


def test_nothing_is_written_that_would_not_be_read(tmp_path):
    """A record is not checked when it is created, so it is checked before it is written."""
    with pytest.raises(ValueError, match=r"document\.count = '-1'"):
        write_document(tmp_path / "a.json", Record(-1), Record)
    with pytest.raises(ValueError, match=r"document\.share = 'nan' is not a finite number"):
        document_text(Record(1, math.nan), Record)
    assert not list(tmp_path.iterdir())
