#!/usr/bin/env bash
# daft 0.7.26, duckdb 2.0.1, polars 2.1.0, pyarrow 25.0.1, Python 3.11; seen on 2026-11-30.
# One expects: the columns of several files are matched by name, and a number that does not fit the type guessed from
#   the first rows widens the type or is an error.
# What happens: Daft matches the columns of CSV files by position: where a second file has `width` before `label`,
#   widths become labels. A value that does not fit the type of the first CSV file becomes null: all labels of a file
#   in which one is missing (pandas writes the others as 1.0), and all scores that follow a file with only 0 and 1. In
#   Parquet and JSON these scores are cut off: 0.7 is 0. DuckDB rounds them in Parquet (0.7 is 1, 0.2 is 0), and also
#   in a single CSV that begins with 20,480 whole numbers, such as the edited share of each image, real images first.
#   There is no message. polars and pyarrow read these files right or refuse them.
# What to do: state the types: schema={"score": DataType.float64()} in Daft; in DuckDB, types={"score": "DOUBLE"} for
#   CSV and union_by_name=true for Parquet. Give Daft CSV files with the same order of columns. Count the nulls.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile daft==0.7.26 duckdb==2.0.1 polars==2.1.0 pyarrow==25.0.1
export DAFT_PROGRESS_BAR=0 DAFT_ANALYTICS_ENABLED=0 DO_NOT_TRACK=true
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import daft
import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

folder = Path(sys.argv[1])
refused = "refused"


def with_daft(kind, paths, column):
    return getattr(daft, f"read_{kind}")(paths).to_pydict()[column]


def with_duckdb(kind, paths, column):
    return [row[0] for row in duckdb.sql(f"SELECT {column} FROM read_{kind}({paths})").fetchall()]


def with_polars(kind, paths, column):
    return getattr(polars, f"scan_{'ndjson' if kind == 'json' else kind}")(paths).collect()[column].to_list()


def with_pyarrow(kind, paths, column):
    return pyarrow.dataset.dataset(paths, format=kind).to_table()[column].to_pylist()


def compare(title, kind, files, column, right, of_daft, of_duckdb):
    paths = []
    for number, file in enumerate(files):
        path = folder / f"{number}.{kind}"
        pq.write_table(pa.table(file), path) if kind == "parquet" else path.write_text(file)
        paths.append(str(path))
    found = {}
    for read in (with_daft, with_duckdb, with_polars, with_pyarrow):
        try:
            found[read] = read(kind, paths, column)
        except (ValueError, polars.exceptions.PolarsError):
            found[read] = refused
    print(f"{title}: right is {right}")
    for read, values in found.items():
        print(f"  {read.__name__[5:]}: {values}")
    assert found[with_daft] == of_daft, "changed: Daft"
    assert found[with_duckdb] == of_duckdb, "changed: DuckDB"
    assert found[with_polars] in (right, refused) and found[with_pyarrow] in (right, refused), "changed: others"


labels = ("path,label,width\nr.png,0,512\n", "path,width,label\nf.png,1024,1\n")
compare("other order of columns", "csv", labels, "label", [0, 1], [0, 1024], [0, 1])
labels = ("path,label\nr.png,0\n", "path,label\nf.png,1.0\ng.png,\nh.png,1.0\n")
compare("one label missing", "csv", labels, "label", [0, 1, None, 1], [0, None, None, None], [0, 1, None, 1])
scores = [0, 1, 0.2, 0.7]
files = ("path,score\nr.png,0\ns.png,1\n", "path,score\nf.png,0.2\ng.png,0.7\n")
compare("scores in CSV", "csv", files, "score", scores, [0, 1, None, None], scores)
files = ('{"score": 0}\n{"score": 1}\n', '{"score": 0.2}\n{"score": 0.7}\n')
compare("scores in JSON", "json", files, "score", scores, [0, 1, 0, 0], scores)
files = ({"score": [0, 1]}, {"score": [0.2, 0.7]})
compare("scores in Parquet", "parquet", files, "score", scores, [0, 1, 0, 0], [0, 1, 0, 1])
paths = [str(folder / f"{number}.parquet") for number in range(2)]
assert with_daft("parquet", paths[::-1], "score") == with_duckdb("parquet", paths[::-1], "score") == [0.2, 0.7, 0, 1]

for num_real in (20_000, 21_000):
    path = folder / "shares.csv"
    rows = [f"real/{number:06}.png,0\n" for number in range(num_real)]
    rows += [f"edited/{number:06}.png,{0.2 + 0.5 * (number % 2)}\n" for number in range(1000)]
    path.write_text("path,share\n" + "".join(rows))
    last = duckdb.sql(f"SELECT share FROM read_csv('{path}')").fetchall()[-2:]
    typed = duckdb.sql(f"SELECT share FROM read_csv('{path}', types={{'share': 'DOUBLE'}})").fetchall()[-2:]
    print(f"DuckDB, one CSV, shares 0.2 and 0.7 after {num_real:,} zeros: {last}; with types: {typed}")
    assert typed == [(0.2,), (0.7,)]
    assert last == ([(0,), (1,)] if num_real > 20_480 else typed), "changed: DuckDB's guess"
columns = {"score": daft.DataType.float64()}
assert daft.read_parquet(paths, schema=columns).to_pydict()["score"] == scores, "changed: Daft with a schema"
assert duckdb.sql(f"SELECT score FROM read_parquet({paths}, union_by_name=true)").fetchall() == [(s,) for s in scores]
PYTHON
echo "as found: labels and scores change in Daft and DuckDB without a word"
