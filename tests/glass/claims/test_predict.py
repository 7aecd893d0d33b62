"""``scripts.predict --claims`` shows the files' claims beside the verdicts and changes no verdict."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from glass.predict.image_sources import BytesSource, FileSource, PixelSource
from glass.predict.prediction_files import Predictions
from glass.predict.source_claims import claims_of
from glass.predict.source_paths import row_sources
from glass.predict.tar_sources import images_of_tar
from glass.predict.verdicts import CSV_COLUMNS
from scripts import predict
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.manifest.dataset import ShardDataset
from tests.images.claiming_files import PIXELS, SAID, TRAINED, packet, with_chunk, with_xmp

NONE = "none of the claims that were searched for was found in the file"
SAYS = f"the file says: {SAID} (not checked)"


@pytest.fixture
def images(tmp_path, paths):
    """Four files: one with a claim, one whose claim a spreadsheet would take for a formula, one without claims, and one
    that is not an image."""
    (tmp_path / "trained.jpg").write_bytes(with_xmp("JPEG", packet(f">{TRAINED}")))
    (tmp_path / "formula.png").write_bytes(with_chunk(b"tEXt", b"Dream\0=1+1\n\x1b[2J"))
    (tmp_path / "no.png").write_bytes(b"no image")
    return [str(tmp_path / "trained.jpg"), str(tmp_path / "formula.png"), paths[0], str(tmp_path / "no.png")]


def test_lines_and_files(run, images, tmp_path, capsys):
    files = {name: tmp_path / f"o.{name}" for name in ("json", "csv")}
    arguments = [str(run), *images, "--no-stability", "--json", str(files["json"]), "--csv", str(files["csv"])]
    assert predict.main(arguments) == 3
    plain, plain_lines = {name: path.read_text() for name, path in files.items()}, capsys.readouterr().out.splitlines()
    assert not any("claims" in text for text in plain.values())
    assert predict.main([*arguments, "--claims"]) == 3
    lines = capsys.readouterr().out.splitlines()
    formula = "the file says: settings of InvokeAI (PNG text “Dream”: “=1+1 [2J”) (not checked)"
    said = [SAYS, formula, NONE]
    assert lines == [
        *(f"{line}; {sentence}" for line, sentence in zip(plain_lines[:3], said, strict=True)),
        plain_lines[3],
    ]
    document, before = json.loads(files["json"].read_text()), json.loads(plain["json"])
    typed_document(document, Predictions)
    claims = [image.pop("claims") for image in document["images"]]
    assert document == before
    assert claims[0] == [{"source": "iptc", "status": "not checked", "says": SAID}]
    assert [len(found) for found in claims] == [1, 1, 0, 1]
    assert claims[3][0]["says"].startswith("nothing that could be read (the file is not in a supported image format)")
    with files["csv"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["claims"] for row in rows[:3]] == said
    assert tuple(rows[0]) == (*CSV_COLUMNS, "claims")


def test_rows_of_a_stopped_run_hold_them(run, images, tmp_path, monkeypatch):
    """The partial table and the partial lines of JSON that an interrupted run leaves behind contain the claims."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_write", stop)
    files = ["--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]
    with pytest.raises(KeyboardInterrupt):
        predict.main([str(run), *images[:1], "--no-stability", "--claims", *files])
    head, row = (tmp_path / "o.csv.partial").read_text().splitlines()
    assert head.endswith(",claims")
    assert row.endswith(f",{SAYS}")
    assert json.loads((tmp_path / "o.json.partial").read_text().splitlines()[1])["claims"][0]["says"] == SAID


def test_trust_without_claims_or_without_the_extra(run, paths, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main([str(run), paths[0], "--trust", "x.pem"])
    assert stop.value.code == 2
    assert "--trust needs --claims" in capsys.readouterr().err
    monkeypatch.setattr("glass.claims.content_credentials.is_installed", lambda name: False)
    with pytest.raises(InputError, match=r"to check signatures, install the extra: pip install -e '\.\[c2pa\]'"):
        predict.main([str(run), paths[0], "--claims", "--trust", str(tmp_path / "x.pem")])


def test_sources_of_predictions(synthetic_dataset, monkeypatch):
    data = with_xmp("JPEG", packet(f">{TRAINED}"))
    assert [claim.says for claim in claims_of(BytesSource("x", data))] == [SAID]
    assert claims_of(PixelSource("x", PIXELS)) == ()
    (gone,) = claims_of(FileSource(Path("gone.jpg")))
    assert gone.says.startswith("nothing that could be read (the file is missing or cannot be read)")
    forms = synthetic_dataset.column("stored_as")
    sources = row_sources(synthetic_dataset, range(len(synthetic_dataset)))
    monkeypatch.delattr(ShardDataset, "column")  # takes time by the length of the data set
    for source in sources:
        converted = forms[source.row] != "source"
        assert [claim.says for claim in claims_of(source)] == (
            ["nothing that could be read (the shard has a converted copy of the file)"] if converted else []
        )
    assert {"source"} < set(forms)


def test_a_shard_without_its_manifest_has_the_claims_of_one_with_it(synthetic_dataset, tmp_path):
    """A converted copy has lost the claims of its file, which must not look like a file without claims."""
    for shard in synthetic_dataset.info.shards:
        alone = shutil.copy(synthetic_dataset.shard_path(shard.name), tmp_path)
        rows = [s for s in row_sources(synthetic_dataset, range(len(synthetic_dataset))) if s.tar.name == shard.name]
        found = images_of_tar(Path(alone)).sources
        assert [claims_of(source) for source in found] == [claims_of(source) for source in rows]
        assert [s.load().encoded for s in found] == [s.load().encoded for s in rows]
