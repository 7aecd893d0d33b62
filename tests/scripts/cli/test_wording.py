"""Numbers with their nouns are formatted by one function, and no message formats them otherwise."""

import re
from pathlib import Path

import pytest

from shards.cli.wording import counted
from tests.images.layouts import picture

ROOT = Path(__file__).parents[3]
NOUNS = "images|samples|shards|files|tars|rows|crops|trials|epochs|members|folders|pairs|groups"


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (1, "shard", "1 shard"),
        (0, "shard", "0 shards"),
        (1200, "real image", "1,200 real images"),
        (2, "entry", "2 entries"),
        (2, "class", "2 classes"),
    ],
)
def test_one_is_no_plural(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_a_build_lists_what_it_stored_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scripts.build_shards import main

    for number, name in enumerate(("real/a.png", "real/b.png", "fake/c.jpg", "fake/d.png")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / "in" / name)
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--global-size", "16", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "  stored in another format, with the same pixels: 3 tiled\n" in said
    assert "  stored without entry points: 3 (not a JPEG)\n" in said


@pytest.mark.parametrize("folder", ["shards", "loaders", "glass", "bench", "scripts"])
def test_messages_count_in_one_way(folder: str) -> None:
    """A number with a thousands separator is meant for readers, so it must be formatted by the function for numbers
    with nouns."""
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(rf":,\}} ({NOUNS})\b", line)
    ]
    assert found == []
