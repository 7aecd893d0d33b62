"""The note of a data set: where it comes from, which texts are refused, and that a continued build needs the same
note."""

import json
import shutil
from pathlib import Path

import pytest

from scripts import build_shards, index_shards
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.manifest.dataset import ShardDataset
from shards.manifest.info import read_info
from shards.manifest.note import MAX_CHARACTERS, Note, checked_note
from shards.sources.files import LocalFiles
from shards.sources.note_file import NOTE_NAME
from shards.sources.read import read_sources
from tests.images.coded_images import write_small_images
from tests.images.labelled_tars import labelled, write_tar
from tests.images.small_builds import build

NOTE = "Drawn by a program – 100 % simulated, „nothing” about <b>real</b> generators \U0001f600."
HOSTILE = {
    "escape": "a\x1b[2Jb",
    "line break": "a\nb",
    "line separator": "a\u2028b",
    "turned direction": "a\u202eb",
    "zero byte": "a\0b",
    "half a letter": "a\ud800b",
    "too long": "x" * (MAX_CHARACTERS + 1),
}
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


@pytest.fixture
def small_images(tmp_path: Path) -> Path:
    """A folder of eight small JPEGs that a test may alter."""
    write_small_images(tmp_path / "images", 8)
    return tmp_path / "images"


@hostile
def test_what_is_no_note_is_refused_wherever_it_stands(text: str) -> None:
    with pytest.raises(InputError, match=r"--note (holds|has)"):
        checked_note(text, "--note")
    with pytest.raises(ValueError, match="is not text"):
        typed_document({"note": text}, dict[str, Note])
    assert typed_document({"note": NOTE}, dict[str, Note])["note"] == checked_note(f" {NOTE}\n", "--note") == NOTE
    longest = "\U0001f600" * MAX_CHARACTERS
    assert typed_document([checked_note(longest, "")], list[Note]) == [longest]


@pytest.fixture
def described(synthetic_shards: Path, tmp_path: Path) -> Path:
    """A folder with copies of a data set's description and manifest, which suffice to open it."""
    for name in ("dataset.json", "samples.arrow"):
        shutil.copy(synthetic_shards / name, tmp_path)
    return tmp_path


@hostile
def test_a_hostile_data_set_is_refused_when_it_is_opened(described: Path, text: str) -> None:
    fields = json.loads((described / "dataset.json").read_text())
    (described / "dataset.json").write_text(json.dumps(fields | {"note": NOTE}))
    assert ShardDataset.open(described).info.note == NOTE
    (described / "dataset.json").write_text(json.dumps(fields | {"note": text}))
    with pytest.raises(InputError, match=r"dataset\.json is damaged \(note = "):
        ShardDataset.open(described)


def test_a_data_set_without_a_note_is_as_those_of_before(described: Path) -> None:
    assert "note" not in json.loads((described / "dataset.json").read_text())
    assert ShardDataset.open(described).info.note == ""


def test_the_source_brings_it_in_a_file(small_images: Path, tmp_path: Path) -> None:
    assert read_sources(small_images).dataset_note() == ""
    (small_images / NOTE_NAME).write_text(f"{NOTE}\n", encoding="utf-8")
    rows = [f"{path.relative_to(small_images)},{int('real' not in path.parts)}" for path in small_images.rglob("*.jpg")]
    (small_images / "images.csv").write_text("\n".join(["path,is_fake", *rows]) + "\n")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", small_images.parent, small_images.name)
    for source in (small_images, small_images / "images.csv", packed):
        assert read_sources(source).dataset_note() == NOTE, source
    assert build(small_images, tmp_path / "out").info.note == NOTE
    assert read_info(tmp_path / "out").note == NOTE
    assert build(small_images, tmp_path / "own", note="Another.").info.note == "Another."


def test_several_are_joined_and_each_counts_once(small_images: Path) -> None:
    for folder, text in (("real", "One."), ("generated", "Two."), (".", "One.")):
        (small_images / folder / NOTE_NAME).write_text(text)
    assert read_sources(small_images).dataset_note() == "One. Two."
    (small_images / "real" / NOTE_NAME).write_text("x" * MAX_CHARACTERS)
    with pytest.raises(InputError, match=rf"3 files {NOTE_NAME} .* shorten them"):
        read_sources(small_images).dataset_note()


@pytest.mark.parametrize(
    "data",
    [
        *(pytest.param(data, marks=pytest.mark.slow) for data in (b"", b"a\nb", b"x" * (MAX_CHARACTERS + 1))),
        b"\xff",
        b"a\x1b[2J",
        bytes(1 << 20),
    ],
    ids=["empty", "two lines", "too long", "bytes", "escape", "long"],
)
def test_a_file_that_is_no_note_is_named_and_another_note_goes_before_it(
    small_images: Path, tmp_path: Path, data: bytes
) -> None:
    """A file that cannot be a note stops the build, and ``--note`` overrides it. Somebody else may have put it into an
    archive or a store, with another meaning."""
    (small_images / NOTE_NAME).write_bytes(data)
    with pytest.raises(InputError, match=rf"{NOTE_NAME} .*give --note, which overrides it"):
        build(small_images, tmp_path / "out")
    words = [str(small_images), str(tmp_path / "out"), "--global-size", "32", "--note", NOTE, "--dry-run"]
    assert build_shards.main(words) == 0
    if len(data) > MAX_CHARACTERS + 1:  # the note is not read at all then, whatever it holds
        assert build(small_images, tmp_path / "out", note=NOTE).info.note == NOTE


def test_a_long_file_of_a_folder_is_not_even_read(small_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (small_images / NOTE_NAME).open("wb") as file:
        file.truncate(1 << 30)  # of which a disk holds nothing
    sources = read_sources(small_images)
    monkeypatch.setattr(LocalFiles, "read", lambda files, name: pytest.fail(f"{name} was read"))
    with pytest.raises(InputError, match=r"dataset_note\.txt has 1,073,741,824 bytes.* give --note"):
        sources.dataset_note()


def test_a_build_goes_on_with_the_same_note_only(small_images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(small_images, out, note=NOTE)
    before = (out / "dataset.json").read_bytes()
    (out / "dataset.json").unlink()  # as if it had been stopped
    with pytest.raises(InputError, match=r"the note .* was 'Drawn .* and is 'Another"):
        build(small_images, out, note="Another.")
    with pytest.raises(InputError, match=r"the note .* was 'Drawn .* and is ''"):
        build(small_images, out)
    (small_images / NOTE_NAME).write_text("Another.")
    with pytest.raises(InputError, match=rf"\(--note, or {NOTE_NAME} in the source\) was 'Drawn .* and is 'Another"):
        build(small_images, out)
    assert build(small_images, out, note=NOTE).continued
    assert (out / "dataset.json").read_bytes() == before


def test_the_command_shows_it(small_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(small_images), str(tmp_path / "out"), "--global-size", "32", "--workers", "1"]
    for text in ("", " ", "a\x1bb"):
        with pytest.raises(InputError, match="--note"):
            build_shards.main([*words, "--note", text])
    assert build_shards.main([*words, "--dry-run", "--note", NOTE]) == 0
    assert f"  note: {NOTE}" in capsys.readouterr().out.splitlines()
    assert not (tmp_path / "out").exists()
    assert build_shards.main([*words, "--note", NOTE]) == 0
    assert f"  note: {NOTE}" in capsys.readouterr().out.splitlines()


def test_tars_made_elsewhere_get_one_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tar(tmp_path / "tars/some.tar", labelled(0, 12))
    words = [str(tmp_path / "tars"), "--out", str(tmp_path / "out"), "--global-size", "32", "--workers", "1"]
    assert index_shards.main([*words, "--note", NOTE]) == 0
    assert f"  note: {NOTE}" in capsys.readouterr().out.splitlines()
    assert read_info(tmp_path / "out").note == NOTE
    with pytest.raises(InputError, match="different settings"):
        index_shards.main(words)
    words[2] = str(tmp_path / "silent")
    assert index_shards.main(words) == 0
    assert read_info(tmp_path / "silent").note == ""
    # An index that was begun before there were notes goes on.
    assert "note" not in json.loads((tmp_path / "silent/.index_plan.json").read_text())["settings"]
