"""Every document that a bench prints has a written schema, and a hole in it is refused."""

import copy
import errno
import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from bench.harness.schemas import SCHEMAS, Line, check_line, check_result, print_result
from bench.registry import BENCHES
from shards.errors import InputError
from tests.made_up import made_up, made_up_result

Path = tuple[str | int, ...]


def places(kind: Any, at: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Every place of a made-up document, and whether it can be missing there."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        for name, part in get_type_hints(kind, include_extras=True).items():
            yield (*at, name), True
            yield from places(part, (*at, name))
    elif origin is list:
        yield (*at, 0), False
        yield from places(parts[0], (*at, 0))
    elif origin is dict and parts[1] is not Any:
        yield (*at, "made_up"), False
        yield from places(parts[1], (*at, "made_up"))
    elif origin in (Union, UnionType):
        yield from places(parts[0], at)


def named(path: Path) -> str:
    """How an error names a place."""
    return re.escape("".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path))


def container(document: Any, path: Path) -> Any:
    for step in path[:-1]:
        document = document[step]
    return document


def test_every_bench_has_a_schema():
    assert set(SCHEMAS) == set(BENCHES)


@pytest.mark.parametrize("name", [*SCHEMAS, "line"])
def test_a_document_with_a_hole_is_refused(name):
    """Each field missing, and each of a type that is taken nowhere."""
    schema: Any = Line if name == "line" else SCHEMAS[name]
    if name == "line":
        whole = made_up(Line) | {"bench": "scale", "document": made_up_result("scale")}
    else:
        whole = made_up_result(name)

    def check(document: Any) -> None:
        check_line(document) if name == "line" else check_result(name, document)

    check(whole)
    found = list(places(schema))
    assert len(found) > 4
    for path, required in found:
        broken = copy.deepcopy(whole)
        container(broken, path)[path[-1]] = object()
        with pytest.raises(ValueError, match=f"{named(path)} = .* is not"):
            check(broken)
        if required:
            del container(broken, path)[path[-1]]
            with pytest.raises(ValueError, match=f"{named(path)} is missing"):
                check(broken)


def test_a_result_is_printed_also_where_it_cannot_be_written(tmp_path, capsys):
    """After an hour of measuring, the folder may be gone or the disk full."""
    document = made_up_result("scale")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be written to .*: it is the last line"):
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
