"""Where images come from: class folders and lists in CSV, JSON lines or Parquet; and which mistakes in them are
refused."""

import inspect
import os
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.errors import InputError
from shards.sources.files import LocalFiles
from shards.sources.read import read_sources
from shards.sources.source_list import SourceRules
from shards.sources.words import Words, parse_labels


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def understood(source, *labels, **rules):
    """Reads ``source`` with ``--label`` for each of ``labels``, and with the other ``rules``."""
    return read_sources(source, SourceRules(Words(parse_labels(labels)), **rules))


def rows(source, *labels):
    return [tuple(row.values()) for row in understood(source, *labels).table.to_pylist()]


def write_csv(tmp_path, text, *files):
    touch(tmp_path, *files)
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_folder_names_class_and_generator(tmp_path):
    touch(
        tmp_path,
        "real/a.jpg",
        "real/deep/er/b.PNG",
        "generated/gan/c.webp",
        "fake/d.tiff",
        "generated/sd/v2/e.avif",
        "real/notes.txt",
        "real/.hidden.jpg",
        "other/f.jpg",
        "list.csv",
    )
    sources = read_sources(tmp_path)
    assert [tuple(row.values())[:3] for row in sources.table.to_pylist()] == [
        ("fake/d.tiff", 1, "unknown"),
        ("generated/gan/c.webp", 1, "gan"),
        ("generated/sd/v2/e.avif", 1, "sd"),
        ("real/a.jpg", 0, ""),
        ("real/deep/er/b.PNG", 0, ""),
    ]
    assert sources.notes == [
        "labels by folder: real = real (2), fake = generated (1), generated = generated (2)",
        "skipped because no name says real or generated: other/ (1 image) (to use them: --label WORD=real|generated)",
        "skipped 2 files without an image extension (.csv 1, .txt 1)",
    ]


def test_a_folder_that_a_link_leads_to_counts_where_it_lies(tmp_path):
    touch(tmp_path / "src", "train/real/a.jpg", "train/fake/b.jpg")
    os.symlink("train", tmp_path / "src" / "test")
    os.symlink("train/real", tmp_path / "src" / "ai")
    found = {row["path"]: (row["label"], row["split"]) for row in read_sources(tmp_path / "src").table.to_pylist()}
    assert found == {"train/real/a.jpg": (0, "train"), "train/fake/b.jpg": (1, "train")}


def test_linked_folders_are_followed_once(tmp_path):
    touch(tmp_path / "elsewhere", "a.jpg", "b.jpg")
    touch(tmp_path, "src/generated/c.jpg")
    os.symlink(tmp_path / "elsewhere", tmp_path / "src" / "real")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere" / "loop")
    assert [row[0] for row in rows(tmp_path / "src")] == ["generated/c.jpg", "real/a.jpg", "real/b.jpg"]


def test_name_that_is_not_utf8_is_set_aside(tmp_path):
    touch(tmp_path, "real/a.jpg", "generated/b.jpg")
    (tmp_path / "real" / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"x")
    sources = read_sources(tmp_path)
    assert sources.table.num_rows == 2
    assert sources.misnamed == ["real/bad\\udcff.jpg"]


def test_folders_are_read_any_number_deep_and_in_one_order(tmp_path):
    """Folders are read even where they lie deeper than Python may recurse."""
    touch(tmp_path, "generated/c.jpg", "real/a.jpg")
    folders = [f"{tmp_path}/real/d" + "/d" * depth for depth in range(400)]
    for folder in folders:
        os.mkdir(folder)
    deep = Path(folders[-1], "deep.jpg")
    deep.touch()
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 300)
    try:
        assert len(read_sources(tmp_path).table) == 3
        assert [name for name, _ in LocalFiles(tmp_path).walk("real")] == [
            "real/a.jpg",
            str(deep.relative_to(tmp_path)),
        ]
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a.jpg",), "1 image, but no folder name says real or generated: .*--label NAME=real"),
        (("a.jpg", "train.csv"), "no folder name says .*or give the list .*/train.csv, which is in that folder"),
        (("train-000000.tar", "dataset.json"), "for example train-000000.tar.*index .* already"),
        (("real/00000.tar", "fake/00000.tar"), r"holds tars, for example (real|fake)/00000.tar.*glass index"),
        ((), "has no image files: give the folder that holds the images of both classes"),
        (("pictures/a.jpg",), r"no folder name says real or generated \(it holds pictures/\)"),
        (("real/a.txt", "generated/b.txt"), "no image files"),
        (("real/a.jpg",), "real images only"),
        (("fake/gan/a.jpg", "real/readme.md"), "generated images only"),
    ],
)
def test_folders_that_cannot_be_used(files, message, tmp_path):
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=message):
        read_sources(tmp_path)


def test_missing_source_and_wrong_kind(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_sources(tmp_path / "nowhere")
    with pytest.raises(InputError, match="an empty name"):  # and not the folder that the command runs in
        read_sources("")
    touch(tmp_path, "images.txt")
    with pytest.raises(InputError, match=r"is not a folder, a \.zip, \.tar or \.tar\.gz, or a \.csv"):
        read_sources(tmp_path / "images.txt")
    (tmp_path / "images.zip").write_bytes(b"PK\3\4" + bytes(60))
    with pytest.raises(InputError, match=r"images\.zip is not a zip or is cut off"):
        read_sources(tmp_path / "images.zip")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "images.txt")
    with pytest.raises(InputError, match=r"images\.tar has no image files"):
        read_sources(tmp_path / "images.tar")


def test_list_with_all_columns(tmp_path):
    path = write_csv(
        tmp_path,
        "\ufeffpath,label,generator,group,split,note\r\n"
        "a/b.jpg,real,,scene 1,train,hello\r\n"
        '"c, d.png",1,gan,"sc\u00e8ne",val,\r\n'
        f"{tmp_path}/e.gif,FAKE,,,,\r\n"
        "./x/../f.gif,0,real,,,\r\n",
        "a/b.jpg",
    )
    assert rows(path, "1=generated") == [
        ("a/b.jpg", 0, "", "scene 1", "train"),
        ("c, d.png", 1, "gan", "sc\u00e8ne", "valid"),
        ("e.gif", 1, "unknown", "", ""),
        ("f.gif", 0, "", "", ""),
    ]


def test_parquet_list_equals_the_csv(tmp_path):
    text = "path,label,generator\na.jpg,0,\nb.jpg,1,gan\n"
    expected = rows(write_csv(tmp_path, text, "a.jpg"), "0=real")
    for labels in (pa.array([0, 1]), pa.array([False, True]), pa.array(["real", "fake"])):
        table = pa.table({"path": ["a.jpg", "b.jpg"], "label": labels, "generator": [None, "gan"]})
        pq.write_table(table, tmp_path / "list.parquet")
        assert rows(tmp_path / "list.parquet", "0=real") == expected


def test_json_lines_equal_the_csv(tmp_path):
    """A list in JSON lines gives the rows of the same list in CSV. A column may appear for the first time in a later
    line, and a missing value is an empty one."""
    text = "path,label,split\nc.jpg,,\na.jpg,0,train\nb.jpg,1,test\n"
    expected = rows(write_csv(tmp_path, text, "a.jpg"), "0=real")
    lines = '{"file_name": "c.jpg"}\n\n{"file_name": "a.jpg", "label": 0, "split": "train"}\n'
    (tmp_path / "list.jsonl").write_text(lines + '{"split": "test", "file_name": "b.jpg", "label": true, "x": [1]}\n')
    assert rows(tmp_path / "list.jsonl", "0=real") == expected
    assert [row[4] for row in expected] == ["train", "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,real\nb.jpg,maybe\n", "line 3: the meaning of 'maybe' in the column label is unknown"),
        ("path,label\na.jpg,\n", "no labels in the column label: a detector needs"),
        ("path,label\n,1\nb.jpg,0\n", "line 2: the path is empty"),
        (
            "path,label,split\na.jpg,0,holdout\nb.jpg,1,\n",
            "line 2: split 'holdout' is not one of train.*--no-given-split",
        ),
        ("path,label,generator\na.jpg,0,gan\nb.jpg,1,gan\n", "line 2: a real image has the generator 'gan'"),
        ("path,label\na.jpg\n", "line 2: not as many fields as in the header"),
        ("path,label\na.jpg,0,1,2\n", "line 2: not as many fields as in the header"),
        ("files,label\na.jpg,0\n", "no column of paths, such as path, .*; its columns are files, label"),
        ("path\na.jpg\n", "no column of labels"),
        ("path,label,Label\na.jpg,0,1\n", "two columns called label and Label"),
        ("path,label,label\na.jpg,0,1\n", "two columns called label and label"),
        ("", "no column of paths"),
        ("path,label\n", "lists no images"),
        ("path,label\na.jpg,0\n", "real images only"),
        ("path,label\nnope.jpg,0\nnor.jpg,1\n", "none of the files listed"),
        ("path,label\na.jpg,0\nb.jpg,1\n./a.jpg,1\n", "'a.jpg' twice, with label real and gen"),
        ("path,label,split\na.jpg,0,test\na.jpg,0,train\nb.jpg,1,\n", "with split 'test' and 't"),
        ("path,label\na.jpg,0\nsub\\b.jpg,1\n", r"line 3: .* as on Windows: write 'sub/b.jpg'"),
    ],
)
def test_mistakes_in_lists_are_named(text, message, tmp_path):
    path = write_csv(tmp_path, text, "a.jpg", "sub/b.jpg")
    with pytest.raises(InputError, match=message) as caught:
        rows(path, "0=real")
    assert "list.csv" in str(caught.value)


def test_what_a_list_means_is_said(tmp_path):
    text = "path,label,split\na.jpg,0.0,test\nb.jpg,true,train\nc.jpg,1,train\na.jpg,False,test\nd.jpg,,train\n"
    path = write_csv(tmp_path, text, "a.jpg")
    meaning, empty, again, *classes = understood(path, "0=real").notes
    words = "0.0 = real (1), true = generated (1), 1 = generated (1), False = real (1)"
    assert meaning == f"labels of {path} by column label (--label): {words}"
    assert empty == f"skipped 1 row without a label, for example {path}, line 6"
    assert [note.split(" images only")[0] for note in classes] == [
        "split train holds generated",
        "split test holds real",
    ]
    assert again.startswith(f"1 row of {path} repeats an image")
    assert [row[1] for row in rows(path, "0=real")] == [0, 0, 1, 1]
    path = write_csv(tmp_path, "path,label,split\na.jpg,0,test\nb.jpg,1,\n", "a.jpg")
    _, given = understood(path, "0=real").notes  # nothing of classes: b.jpg may yet come to test
    assert given.startswith(
        "only some images are given a split (test 1, all of them real); the splits of the other 1 are drawn"
    )
    path = write_csv(tmp_path, "path,label,split\na.jpg,0,test\nb.jpg,1,holdout\n", "a.jpg")
    assert [row["split"] for row in understood(path, "0=real", given_split=False).table.to_pylist()] == ["", ""]


def test_a_backslash_may_be_a_letter_of_a_name(tmp_path):
    path = write_csv(tmp_path, "path,label\na\\b.jpg,real\nc.jpg,fake\n", "a\\b.jpg")
    assert rows(path)[0][0] == "a\\b.jpg"


def test_lists_that_cannot_be_read(tmp_path):
    for name, content, message in (
        ("bad.csv", b"path,label\n\xff\xfe,0\n", "not UTF-8"),
        ("quote.csv", b'path,label\n"a.jpg,0\n', "not a CSV file"),
        ("bad.parquet", b"PAR1 it is not", "not a Parquet file"),
        ("bad.jsonl", b'{"path": "a.jpg"}\n{"path": \n', "line 2: not JSON"),
        ("list.jsonl", b'["a.jpg", "real"]\n', "line 1: not a JSON object"),
        (
            "image.jsonl",
            b'{"image": {"path": "a.jpg"}, "label": "real"}\n',
            "line 1: image is an object, but must be a text",
        ),
        (
            "labels.jsonl",
            b'{"path": "a.jpg", "label": ["real", "fake"]}\n',
            "line 1: label is a list, but must be a text",
        ),
        ("half.jsonl", b'{"path": "\\ud800", "label": "real"}\n', "not UTF-8"),
        ("deep.jsonl", b'{"path":' + b"[" * 100_000 + b"\n", "line 1: not JSON"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_sources(tmp_path / name)
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "short.parquet")
    with pytest.raises(InputError, match="no column of labels"):
        read_sources(tmp_path / "short.parquet")
    pq.write_table(pa.table({"image": [{"bytes": b"x"}], "label": ["real"]}), tmp_path / "inside.parquet")
    with pytest.raises(InputError, match="has real images only"):
        read_sources(tmp_path / "inside.parquet")
