#!/usr/bin/env bash
# polars 2.1.0, Python 3.11; seen on 2026-11-30.
# One expects: to_physical() of a Categorical column gives each class its number: by the alphabet, as pandas does, or at
#   least by the first row of the column, as polars before 1.32 did. One file has the same numbers each time.
# What happens: since 1.32 all Categorical columns of a process share one list of classes, which grows while a column
#   that uses it is in memory, and begins anew when the last one is deleted. So the same Parquet file of "fake" and
#   "real" gets 0 and 1, or 2 and 3, or 1 and 0: it depends on which other frames are alive. An evaluation that is
#   right beside the training data becomes its opposite after `del train`, or in a process of its own.
#   (See polars issue 23948.)
# What to do: pl.Enum(["real", "fake"]) instead of pl.Categorical, or replace_strict({"real": 0, "fake": 1}).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile polars==2.1.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import polars as pl

ROWS = 50
FILES = {name: f"{sys.argv[1]}/{name}.parquet" for name in ("train", "test")}
TYPES = {"label": pl.Categorical, "score": pl.Float64}


def write(name, order):
    """As many of each class; a score above 0.5 is a correct "fake"."""
    rows = {"label": [label for label in order for _ in range(ROWS)]}
    rows["score"] = [0.9 if label == "fake" else 0.1 for label in rows["label"]]
    pl.DataFrame(rows, schema=TYPES).write_parquet(FILES[name])


def read(name):
    frame = pl.read_parquet(FILES[name])
    assert frame.schema["label"] == pl.Categorical
    return frame


def numbers(frame):
    return dict(zip(frame["label"], frame["label"].to_physical()))


def accuracy(frame, fake):
    """Of the test set, where `fake` is the number that the training gave to this class."""
    said = pl.when(pl.col("score") > 0.5).then(fake).otherwise(1 - fake)
    return frame.select((pl.col("label").to_physical() == said).mean()).item()


write("train", ["real", "fake"])
write("test", ["fake", "real"])
seen = []


def show(state, fake):
    test = read("test")
    seen.append((numbers(test), accuracy(test, fake)))
    print(f"test.parquet, {state}: {seen[-1][0]}, accuracy {seen[-1][1]:.0%}")


train = read("train")
fake = numbers(train)["fake"]
print(f"train.parquet: {numbers(train)}")
show("with the training data in memory", fake)
del train
show("after `del train`", fake)
generators = pl.Series(["SDXL", "FLUX"], dtype=pl.Categorical)
show("with a column of generators in memory", fake)
assert seen[0] == ({"fake": 1, "real": 0}, 1.0), "changed: beside the training data"
assert seen[1] == ({"fake": 0, "real": 1}, 0.0), "changed: after the training data were deleted"
assert seen[2][0] == {"fake": 2, "real": 3}, "changed: beside another column"

enum = pl.read_parquet(FILES["test"]).with_columns(pl.col("label").cast(pl.Enum(["real", "fake"])))
assert numbers(enum) == {"real": 0, "fake": 1}, "changed: an Enum"
PYTHON
echo "as found: the numbers of classes depend on what else is in memory"
