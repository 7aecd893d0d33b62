"""What the audit reports about data sets that are biased in a known way, and about one that is not."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from glass.auditing.audit import audit_dataset
from glass.auditing.dataset_facts import raw_facts
from glass.auditing.document import check_audit, read_audit
from glass.auditing.duplicates import find_duplicates
from glass.auditing.findings import KINDS, SEVERITIES, Finding
from glass.auditing.metadata_audit import FEATURES, audit_metadata
from glass.report.audit import render_audit_html
from scripts import audit
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

pytestmark = pytest.mark.slow  # tens of seconds together

ROWS = 400


@pytest.fixture
def dataset(synthetic_dataset: ShardDataset, tmp_path: Path):
    """Returns ``dataset(**columns)``, which makes a manifest of 400 made-up rows. Columns that are not given say
    nothing about the class. There are no shards, since only the manifest is audited."""

    def make(**columns) -> ShardDataset:
        random = np.random.default_rng(1)
        base = synthetic_dataset.table
        table = base.take(pa.array(random.integers(0, len(base), ROWS)))
        hashes = [bytes(random.integers(0, 256, 32, dtype=np.uint8)) for _ in range(ROWS)]
        values = {
            "label": np.arange(ROWS) % 2,
            "generator": [("", "gan_a", "", "gan_b")[i % 4] for i in range(ROWS)],
            "group": [f"scene {i // 4}" if i < 100 else "" for i in range(ROWS)],
            "split": ["train"] * ROWS,
            "width": random.integers(300, 900, ROWS),
            "height": random.integers(300, 900, ROWS),
            "format": random.choice(["JPEG", "PNG"], ROWS, p=[0.8, 0.2]).tolist(),
            "jpeg_quality": random.integers(85, 97, ROWS),
            "source_bytes": random.integers(90_000, 95_000, ROWS),
            "pixel_bytes": random.integers(50_000, 90_000, ROWS),
            "standard_bytes": random.integers(50_000, 90_000, ROWS),
            "sha256": hashes,
            "pixel_sha256": hashes,
            **columns,
        }
        for name, column in values.items():
            place, field = table.column_names.index(name), table.schema.field(name)
            table = table.set_column(place, field, pa.array(column).cast(field.type))
        (tmp_path / "dataset.json").write_bytes((synthetic_dataset.root / "dataset.json").read_bytes())
        return ShardDataset(tmp_path, synthetic_dataset.info, table.combine_chunks())

    return make


def manifest_audit(dataset: ShardDataset) -> dict[str, Any]:
    """The audit of a data set's manifest alone, without reading shards."""
    return audit_dataset(dataset, find_duplicates(dataset, near=False))


def findings(dataset: ShardDataset) -> dict[str, dict]:
    """Kind of finding → the first finding of this kind in the manifest's audit."""
    document = manifest_audit(dataset)
    return {finding["kind"]: finding for finding in reversed(document["findings"])}


def test_files_that_are_alike_come_out_clean(dataset):
    document = manifest_audit(dataset())
    assert document["severity"] == "info"
    low, high = document["metadata"]["interval"]
    assert low <= 0.5 <= high
    assert [f["kind"] for f in document["findings"]] == ["metadata", "not_searched"]
    assert document == manifest_audit(dataset())


@pytest.mark.parametrize(
    ("feature", "columns"),
    [
        ("format", {"format": ["PNG" if i % 2 else "JPEG" for i in range(ROWS)]}),
        (  # as with real files: the bits per pixel tell even more, and the format explains them
            "format",
            {
                "format": ["PNG" if i % 2 or i % 40 == 0 else "JPEG" for i in range(ROWS)],
                "standard_bytes": [50_000 + 97 * i + 700_000 * (i % 2) for i in range(ROWS)],
                "width": [600] * ROWS,
                "height": [600] * ROWS,
            },
        ),
        ("jpeg_quality", {"jpeg_quality": [92 if i % 2 else 75 for i in range(ROWS)]}),
        (
            "quant_digest",
            {"quant_digest": ["1" * 16 if i % 2 else f"{i % 8:016x}" for i in range(ROWS)], "format": ["JPEG"] * ROWS},
        ),
        ("lossless", {"format": ["WEBP"] * ROWS, "lossless": [i % 2 == 1 for i in range(ROWS)]}),
        (
            "bits_per_pixel",
            {
                "standard_bytes": [200_000 + 90_000 * (i % 2) + 97 * i for i in range(ROWS)],
                "width": [600] * ROWS,
                "height": [600] * ROWS,
            },
        ),
    ],
)
def test_a_planted_bias_is_found_and_named(feature, columns, dataset):
    found = findings(dataset(**columns))
    for kind in ("metadata", "metadata_feature"):
        assert found[kind]["severity"] == "serious"
        assert found[kind]["auroc"] > 0.85
    assert found["metadata"]["feature"] == feature
    assert found["metadata"]["interval"][0] > 0.8
    assert FEATURES[feature] in found["metadata"]["text"]


def test_one_generator_that_gives_itself_away_is_named(dataset):
    sizes = np.random.default_rng(3).integers(300, 900, ROWS)
    sizes[3::4] = 512
    found = findings(dataset(width=sizes, height=sizes))
    assert found["metadata_generator"]["severity"] == "serious"
    assert "gan_b" in found["metadata_generator"]["text"]
    assert found["metadata_generator"]["auroc"] > 0.95


def test_few_images_are_no_reason_for_a_verdict(synthetic_dataset):
    assert audit_metadata(synthetic_dataset) is None
    document = manifest_audit(synthetic_dataset)
    assert document["metadata"] is None
    assert document["severity"] == "warning"


def test_re_encoded_samples_are_measured_by_what_is_stored(dataset):
    stored = dataset(stored_as=["recompressed"] * ROWS, image_length=[8_000] * ROWS)
    assert set(raw_facts(stored)["file_bytes"]) == {8_000}


@pytest.mark.parametrize(
    "columns",
    [
        {"metadata": ["C2PA, JFIF" if i % 2 else "JFIF" for i in range(ROWS)]},
        {
            "huffman": ["optimised" if i % 2 else "standard" for i in range(ROWS)],
            "has_exif": [i % 2 == 0 and i % 16 > 0 for i in range(ROWS)],
        },
    ],
)
def test_what_no_pixel_shows_is_a_finding_of_its_own(columns, dataset):
    document = manifest_audit(dataset(**columns))
    assert document["severity"] == "info"
    kinds = {finding["kind"]: finding for finding in document["findings"]}
    assert set(kinds) == {"metadata", "not_in_pixels", "not_searched"}
    assert "do not separate the classes" in kinds["metadata"]["text"]
    found = kinds["not_in_pixels"]
    assert "separate the classes but leave no trace in the pixels" in found["text"]
    assert found["feature"] == next(iter(columns))
    assert found["auroc"] > 0.95
    page = render_audit_html(document).split("not in the pixels</h2>")[1]
    for feature in columns:
        assert FEATURES[feature] in found["text"]
        assert FEATURES[feature] in page
    assert "<code>--equalise</code> match ignores them" in page


def test_one_image_of_another_kind_is_no_error(dataset):
    """If this one image is not in a cross-validation fold, the fold has a column without any value."""
    made = dataset(format=["PNG"] * ROWS, jpeg_quality=[90] + [0] * (ROWS - 1))
    assert audit_metadata(made) is not None


def test_tables_are_counted_per_class(dataset):
    """Both classes have the same estimated quality, but one comes from a single encoder and the other from many, so
    their quantisation tables differ."""
    tables = ["a" * 16 if i % 2 else f"{i // 2:016x}" for i in range(ROWS)]
    document = manifest_audit(dataset(quant_digest=tables, jpeg_quality=[75] * ROWS, format=["JPEG"] * ROWS))
    assert document["metadata"]["quant_tables"] == {"real": ROWS // 2, "generated": 1}
    (found,) = [f for f in document["findings"] if f["kind"] == "metadata_feature"]
    assert found["feature"] == "quant_digest"
    assert "Distinct tables: 200 in real, 1 in generated images" in found["text"]


def test_match_is_advised_where_it_would_find_something(dataset):
    advised = [
        "--equalise match, which" in finding["advice"]
        for columns in ({}, {"jpeg_quality": [92 if i % 2 else 75 for i in range(ROWS)]})
        for finding in manifest_audit(dataset(**columns))["findings"]
        if finding["kind"] in ("metadata", "metadata_feature")
    ]
    assert advised[0] is False
    assert all(advised[1:])
    assert len(advised) > 2


def test_an_auroc_below_a_guess_is_explained(dataset):
    """Images come in pairs of the same width, one real and one generated, which no group ties together.
    Cross-validation then predicts the wrong class."""
    document = manifest_audit(dataset(width=[300 + i // 2 for i in range(ROWS)], group=[""] * ROWS))
    (width,) = [f for f in document["metadata"]["features"] if f["feature"] == "width"]
    assert width["auroc"] < 0.4
    assert not width["differs"]
    assert "An AUROC below 0.5 is no better than 0.5" in render_audit_html(document)
    assert "An AUROC below 0.5" not in render_audit_html(manifest_audit(dataset()))


def test_leaks_are_serious_and_name_the_files(dataset):
    """The data set has one file in two splits, one picture both as real and as generated, and a group in two splits."""
    hashes = [bytes([1]) * 32 if i < 2 else i.to_bytes(32, "little") for i in range(ROWS)]
    found = findings(
        dataset(
            pixel_sha256=hashes,
            label=[0, 1] * (ROWS // 2),
            split=["train", "test"] + ["train"] * (ROWS - 2),
            source_path=[f"<b>{i}\x1b.png" for i in range(ROWS)],
        )
    )
    for kind in ("duplicates_across_splits", "duplicates_of_both_classes", "group_across_splits"):
        assert (found[kind]["severity"], found[kind]["count"]) == ("serious", 1)
    assert found["duplicates_across_splits"]["examples"] == [["<b>0\x1b.png", "<b>1\x1b.png"]]
    assert found["group_across_splits"]["examples"] == [["scene 0"]]


def test_the_schema_is_what_the_module_says(dataset):
    document = manifest_audit(dataset())
    for finding in document["findings"]:
        assert set(finding) == set(Finding.__dataclass_fields__)
        assert finding["kind"] in KINDS
        assert finding["severity"] in SEVERITIES
        assert isinstance(finding["text"], str)
    for broken, words in (
        ([], "not an object"),
        ({**document, "format_version": 2}, "version"),
        ({name: value for name, value in document.items() if name != "metadata"}, "metadata is missing"),
        ({**document, "findings": [{"kind": "metadata"}]}, r"findings\[0\]\.\w+ is missing"),
        ({**document, "findings": [{**document["findings"][0], "kind": "mood"}]}, "kind 'mood'"),
        ({**document, "severity": "fine"}, "severity 'fine'"),
    ):
        with pytest.raises(ValueError, match=words):
            check_audit(broken)


@pytest.mark.parametrize(("label", "kind"), [(0, "real"), (1, "generated")])
def test_one_class_is_not_asked_to_bring_more_of_it(label, kind, dataset):
    made = dataset(label=[label] * ROWS, generator=["gan_a" if label else ""] * ROWS)
    (finding,) = [f for f in manifest_audit(made)["findings"] if "class" in f["text"]]
    assert f"only one class, {kind} images" in finding["text"]
    assert finding["advice"] == "build shards with images of both classes"


def test_the_page_obeys_no_name(dataset):
    name = "<script>alert(1)</script>\x1b\u202e"
    hashes = [bytes([1]) * 32 if i < 2 else i.to_bytes(32, "little") for i in range(ROWS)]
    biased = dataset(
        source_path=[f"{name}{i}" for i in range(ROWS)],
        pixel_sha256=hashes,
        generator=["" if i % 2 == 0 else f"{name}gan" for i in range(ROWS)],
    )
    page = render_audit_html(manifest_audit(biased))
    assert "<script" not in page
    assert not {"\x1b", "\u202e"} & set(page)
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=", page)


def test_an_audit_belongs_to_its_data_set(dataset):
    made = dataset()
    assert read_audit(made.root) is None
    document = manifest_audit(made)
    path = made.root / "audit.json"
    path.write_text(json.dumps(document))
    assert read_audit(made.root) == document
    other = {**document, "dataset": {**document["dataset"], "dataset_json_sha256": "0" * 64}}
    path.write_text(json.dumps(other))
    assert read_audit(made.root) is None
    path.write_text("{")
    with pytest.raises(InputError, match=r"glass audit"):
        read_audit(made.root)


@pytest.fixture
def shards_copy(synthetic_shards: Path, tmp_path: Path) -> Path:
    """Links to the synthetic shards, so that an audit can write its files beside them."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in synthetic_shards.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_command_writes_its_files_and_says_how_bad_it_is(
    shards_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ["--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    code = audit.main([str(shards_copy), *outputs, "--no-near"])
    document = json.loads((tmp_path / "a.json").read_text())
    check_audit(document)
    assert json.loads((shards_copy / "audit.json").read_text()) == document
    assert code == (document["severity"] == "serious") == 0
    assert 'content="glass-hires audit"' in (tmp_path / "a.html").read_text()
    assert "too few scenes" in capsys.readouterr().out
    assert audit.main([str(shards_copy), *outputs, "--no-near"]) == 0  # its own files it replaces
    printed = capsys.readouterr().out
    assert all(f"\nrewrote {path}\n" in printed for path in (*outputs[1::2], shards_copy / "audit.json"))
    info = shards_copy / "dataset.json"
    noted = {**json.loads(info.read_text()), "note": "Drawn <by a program>."}
    info.unlink()
    info.write_text(json.dumps(noted))
    for option, path in zip(outputs[::2], outputs[1::2], strict=True):  # now the data set is another one
        before = Path(path).read_bytes()
        with pytest.raises(InputError, match=f"{path} holds the audit of another data set: give another name"):
            audit.main([str(shards_copy), option, path, "--no-near"])
        assert Path(path).read_bytes() == before
        Path(path).unlink()
    own = ["--json", str(shards_copy / "audit.json"), *outputs[2:]]  # this one belongs to the data set's folder
    assert audit.main([str(shards_copy), *own, "--no-near"]) == 0
    assert "\nnote: Drawn <by a program>.\n" in capsys.readouterr().out
    assert "Note on the data: Drawn &lt;by a program&gt;." in (tmp_path / "a.html").read_text()


def test_a_serious_finding_is_exit_code_one(shards_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serious(*_arguments, **_options):
        document = manifest_audit(ShardDataset.open(shards_copy))
        document["findings"][0]["severity"] = document["severity"] = "serious"
        return document

    monkeypatch.setattr("glass.auditing.audit.audit_dataset", serious)
    assert audit.main([str(shards_copy), "--no-near"]) == 1


def test_mistakes_are_said(shards_copy: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("my own page")
    for arguments, what in (
        ([str(tmp_path / "nowhere")], "does not exist"),
        ([str(shards_copy), "--html", str(mine)], "was not written by this command"),
        ([str(shards_copy), "--json", str(tmp_path)], "is a folder"),
        ([str(shards_copy), "--json", str(tmp_path / "no/where.json")], "does not exist"),
    ):
        with pytest.raises(InputError, match=what):
            audit.main(arguments)
    assert mine.read_text() == "my own page"
    (tmp_path / "link").symlink_to(tmp_path)
    both = ["--json", str(tmp_path / "both"), "--html", str(tmp_path / "link" / "both")]
    with pytest.raises(InputError, match="--json and --html both name"):
        audit.main([str(shards_copy), *both])
    with pytest.raises(InputError, match=r"audit\.json is reserved for the findings as JSON: give --html another name"):
        audit.main([str(shards_copy), "--html", str(shards_copy / "audit.json")])
    (shards_copy / "audit.json").write_text("my own notes")
    with pytest.raises(InputError, match=r"audit\.json was not written by this command"):
        audit.main([str(shards_copy), "--no-near"])
    assert (shards_copy / "audit.json").read_text() == "my own notes"
    with pytest.raises(SystemExit) as stopped:
        audit.main([str(shards_copy), "--threads", "0"])
    assert stopped.value.code == 2
