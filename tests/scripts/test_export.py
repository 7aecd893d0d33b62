"""``scripts.export`` and the model card, called through ``main``."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from glass.auditing.document import Audit
from glass.config.dataset_digest import dataset_digest
from glass.config.overrides import apply_overrides
from glass.export.model_folder import save_model
from glass.model.model import build_model
from glass.predict.detector import Detector
from glass.presets import load_preset
from scripts import calibrate, evaluate, export
from shards.errors import InputError
from tests.runs.made_up import made_up


def made_up_audit(sha256):
    finding = {
        "kind": "metadata",
        "severity": "serious",
        "text": "<b>|size tells",
        "advice": "mix",
        "feature": "width",
        "auroc": 0.9,
        "interval": [0.8, 1],
        "count": None,
        "examples": [["secret/a.png", "secret/b.png"]],
    }
    dataset = {"name": "d", "dataset_json_sha256": sha256}
    return made_up(Audit) | {"dataset": dataset, "findings": [finding], "severity": "serious"}


def test_the_card_finds_the_audit_of_the_data_trained_on(plain_run, four_splits, tmp_path, capsys):
    """The audit is found through run.json, provided that the data set has not changed."""
    mine, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(plain_run, mine)
    data.mkdir()
    shutil.copy(four_splits / "dataset.json", data)
    digest = dataset_digest(data)
    (data / "audit.json").write_text(json.dumps(made_up_audit(digest["dataset_json_sha256"])))
    record = {"format_version": 1, "config": {"epochs": 4}, "finished": None}
    for number, (sha256, found) in enumerate(((digest["dataset_json_sha256"], True), ("0" * 64, False))):
        entry = {"name": "data", "dataset_json_sha256": sha256, "path": str(data)}
        (mine / "run.json").write_text(json.dumps(record | {"data": entry}))
        assert export.main([str(mine), "--to", str(tmp_path / str(number))]) == 0
        card = (tmp_path / str(number) / "README.md").read_text()
        assert ("size tells" in card, "Not audited" in card) == (found, not found)
        assert f"warning: the run {mine} is not finished: 0 of 4 epochs" in capsys.readouterr().err
        assert str(tmp_path) not in card
        assert "secret" not in card
    (mine / "run.json").write_text("{}")
    assert export.main([str(mine), "--to", str(tmp_path / "damaged")]) == 0


def test_export_gives_the_same_scores_and_a_card(run, paths, tmp_path):
    audit = tmp_path / "audit.json"
    audit.write_text(json.dumps(made_up_audit("0" * 64)))
    to = tmp_path / "out"
    assert export.main([str(run), "--to", str(to), "--audit", str(audit)]) == 0
    assert sorted(p.name for p in to.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    one, other = (Detector.from_pretrained(f, device="cpu").predict(paths, stability=False) for f in (run, to))
    assert [v.score for v in one] == [v.score for v in other]
    card = (to / "README.md").read_text()
    audited = ("**serious**: &lt;b>&#124;size", "0.800 – 1.000")
    for words in ("Not measured", "Not calibrated", "hint, not a proof", *audited):
        assert words in card
    assert "secret" not in card  # examples are paths of somebody's images
    audit.write_text('{"findings": []}')
    with pytest.raises(InputError, match="is not an audit"):
        export.main([str(run), "--to", str(tmp_path / "other"), "--audit", str(audit)])
    with pytest.raises(InputError, match="holds files"):
        export.main([str(run), "--to", str(to)])


def test_an_export_that_fails_leaves_nothing_behind(plain_run, tmp_path, monkeypatch):
    """A failed export leaves no folder behind, so the corrected command can use the same name."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "bad.json").write_text("{}")
    to = tmp_path / "out"
    cases = [
        (["--to", str(tmp_path / "file")], "is a file"),
        (["--to", str(tmp_path / "file" / "x")], "cannot write"),
        (["--to", str(to), "--onnx", str(tmp_path / "no" / "m.onnx")], "no does not exist"),
        (["--to", str(to), "--audit", str(tmp_path / "bad.json")], "is not an audit"),
    ]
    for arguments, words in cases:
        with pytest.raises(InputError, match=words):
            export.main([str(plain_run), *arguments])
        assert not to.exists()

    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("glass.share.bundle.write_bytes_atomic", full)
        with pytest.raises(InputError, match="No space left"):
            export.main([str(plain_run), "--to", str(to)])
    assert not to.exists()
    assert (tmp_path / "file").read_text() == "mine"
    to.mkdir()
    assert export.main([str(plain_run), "--to", str(to)]) == 0


@pytest.mark.usefixtures("undrawn")
def test_the_card_tells_what_was_measured(knowing, four_splits, tmp_path):
    mine = tmp_path / "run"
    shutil.copytree(knowing, mine)
    assert calibrate.main([str(mine), "--data", str(four_splits)]) == 0
    common = [str(mine), "--data", str(four_splits), "--draws", "5"]
    assert evaluate.main(common) == 0
    assert evaluate.main([*common, "--crops", "2"]) == 0
    assert export.main([str(mine), "--to", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    for words in (
        "| AUROC |",
        "gan_a",
        "gan_b",
        "**minimum**",
        "temperature",
        "95 % interval",
        "Measured with 4 crops",
        "Measured with 2 crops",
        "Promised: at most 1.0 %",
    ):
        assert words in card
    assert (tmp_path / "out" / "calibration.json").is_file()


def test_paths_of_this_machine_stay_here(tmp_path):
    config = load_preset("single_view_tiny")
    model = replace(config.model, global_weights="/home/someone/secret/w.safetensors")
    config = replace(config, model=model)
    save_model(tmp_path / "model", build_model(config, with_weights=False), config)
    assert export.main([str(tmp_path), "--to", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "config.json").read_text()
    assert "w.safetensors" in text
    assert "secret" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "settings"), [("glass_tiny", []), ("glass_tiny", ["model.crop_chunk=2"]), ("single_view_tiny", [])]
)
def test_onnx_scores_agree(preset, settings, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    config = apply_overrides(load_preset(preset), settings)
    model = build_model(config).eval()
    save_model(tmp_path / "model", model, config)
    assert export.main([str(tmp_path), "--onnx", str(tmp_path / "m.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(1)
    side = config.loader.crop_size
    for batch, crops in ((1, 1), (3, 4), (5, 7)):
        view = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8, generator=random)
        shape = (batch, crops, 3, side, side)
        local = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
        mask = torch.arange(crops)[None] <= torch.arange(batch)[:, None]
        with torch.no_grad():
            logits = model(view, local, mask)[0].numpy()
        feeds = {"global_view": view, "local_crops": local, "crop_mask": mask}
        wanted = {entry.name for entry in session.get_inputs()}
        got = session.run(["logits"], {n: v.numpy() for n, v in feeds.items() if n in wanted})[0]
        np.testing.assert_allclose(got, logits, atol=1e-4, rtol=1e-4)
    assert "glass_views" in session.get_modelmeta().custom_metadata_map
