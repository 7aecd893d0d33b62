"""The robustness table with real shards and models. Its row for unchanged images equals the evaluation."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glass.measure.perturbations import CLEAN, PERTURBATIONS, chosen_rows
from glass.measure.robustness_schema import check_robustness
from glass.report.heat_map import heat_map_svg
from loaders.augment.augment import Change
from loaders.augment.operations import Blur, Jpeg
from loaders.decode.pixel_batch import pixel_batch
from scripts import evaluate, robustness
from shards.errors import InputError
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset
from tests.conftest import remount


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it, with an untrained model."""
    return make_run(tmp_path_factory.mktemp("runs") / "first", seed=0)


def make_run(
    folder: Path,
    seed: int,
    bias: float = 0.0,
    sampling: str = "stratified_grid",
    precision: Any = "auto",
    preset: str = "glass_tiny",
) -> Path:
    import torch

    from glass.export.model_folder import save_model
    from glass.model.model import build_model
    from glass.presets import load_preset

    torch.manual_seed(seed)
    config = load_preset(preset)
    loader = replace(config.loader, sampling=sampling)
    config = replace(config, loader=loader, precision=precision)
    model = build_model(config)
    with torch.no_grad():
        model.head[-1].bias.add_(bias)
    save_model(folder / "model", model, config, {"epoch": 1})
    return folder


def measured(arguments: list[str], output: Path) -> dict[str, Any]:
    common = ["--output", str(output), "--draws", "5", "--device", "cpu", "--threads", "2"]
    assert robustness.main([*arguments, *common]) == 0
    return json.loads((output / "robustness-test.json").read_text())


def test_the_grid_is_the_fields() -> None:
    """The rows are the single changes by which detectors are usually compared, and chains of several changes."""
    kinds = {name.rpartition("-")[0] or name for name in PERTURBATIONS}
    assert kinds == {"clean", "jpeg", "webp", "blur", "resize", "noise", "double", "web", "hard"}
    for name in ("jpeg-95", "jpeg-50", "webp-50", "blur-0.5", "blur-4", "resize-0.25", "resize-2"):
        assert name in PERTURBATIONS
    assert {"noise-0.015", "noise-0.075"} <= set(PERTURBATIONS)
    rows = chosen_rows(["noise-*", "web"])
    assert [row.name for row in rows] == ["clean", "noise-0.015", "noise-0.03", "noise-0.05", "noise-0.075", "web"]
    assert chosen_rows([]) == list(PERTURBATIONS.values())
    with pytest.raises(InputError, match="no row matches"):
        chosen_rows(["sepia"])


@pytest.mark.slow  # evaluate and calibrate say it by the same line of code: test_calibrate
@pytest.mark.usefixtures("undrawn")
def test_other_decoders_are_reported(
    run: Path, synthetic_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    card = json.loads((tmp_path / "model" / "config.json").read_text())
    card["pixels"]["decoders"]["pillow"] = "9.9"
    (tmp_path / "model" / "config.json").write_text(json.dumps(card))
    arguments = [str(tmp_path / "model"), "--data", str(synthetic_shards), "--rows", "jpeg-95"]
    measured(arguments, tmp_path / "out")
    assert "was trained with pillow 9.9" in capsys.readouterr().err


def test_changes_depend_on_the_images_content_alone() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (600, 900, 3), np.uint8)
    part = np.ascontiguousarray(image[:120, :180])
    for name, row in PERTURBATIONS.items():
        once = row.on_image(part, 5)
        if name == CLEAN:
            assert np.array_equal(once, part)
            continue
        assert not np.array_equal(once, part)
        assert np.array_equal(row.on_image(part, 5), once)
        seeded = name.startswith("noise") or name == "double-jpeg"
        assert np.array_equal(row.on_image(part, 6), once) != seeded
    assert PERTURBATIONS["resize-0.25"].on_image(image, 1).shape == (150, 225, 3)
    assert PERTURBATIONS["web"].on_image(image, 1).shape == (512, 768, 3)
    assert PERTURBATIONS["hard"].on_image(image, 1).shape == (341, 512, 3)


def test_a_change_that_ends_in_a_jpeg_is_that_file() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    change = Change.of((Blur(1.0), Jpeg(60)), (90, 120))
    data = change.as_jpeg(image)
    assert data is not None
    assert np.array_equal(decode_rgb(data), change.on_image(image))
    assert Change.of((Jpeg(60), Blur(1.0)), (90, 120)).as_jpeg(image) is None
    assert Change.of((), (90, 120)).as_jpeg(image) is None


def test_the_table_of_a_model(
    run: Path, synthetic_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The document has its declared type, the picture is written, each change is printed as a row, and the row
    ``clean`` equals the evaluation."""
    from glass.measure.evaluation import EvaluationOptions, evaluate_run

    rows = ["--rows", "jpeg-70", "--rows", "hard"]
    document = measured([str(run), "--data", str(synthetic_shards), *rows], tmp_path)
    check_robustness(document)
    names = [row["name"] for row in document["rows"]]
    assert names == ["clean", "jpeg-70", "hard"]
    dataset = ShardDataset.open(synthetic_shards)
    evaluation, _ = evaluate_run(run, dataset, "test", EvaluationOptions(device="cpu", draws=5))
    clean = document["rows"][0]["models"]["first"]
    for part in ("samples", "metrics", "intervals", "confusion", "per_generator"):
        assert clean[part] == evaluation[part]
    changed = [row["models"]["first"]["metrics"]["nll"] for row in document["rows"]]
    assert len(set(changed)) == len(changed)
    worst = min(document["rows"], key=lambda row: row["models"]["first"]["metrics"]["auroc"])
    assert document["worst"]["first"]["row"] == worst["name"]
    with Image.open(io.BytesIO((tmp_path / "robustness-test.png").read_bytes())) as picture:
        assert picture.format == "PNG"
        assert picture.width > 600
    generators = clean["per_generator"]["generators"]
    generators["<b>wicked</b>\u202e"] = next(iter(generators.values()))
    svg = heat_map_svg(document)
    assert "&lt;b&gt;wicked&lt;/b&gt;\\u202e" in svg
    assert "<b>" not in svg
    assert "\u202e" not in svg
    assert "var(--ink)" in svg
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("as it is", "JPEG 70", "lowest AUROC"):
        assert text in printed


@pytest.mark.usefixtures("undrawn")
def test_a_model_trained_in_fp16_is_measured_on_a_cpu(synthetic_shards: Path, tmp_path: Path) -> None:
    """A CPU has no fp16, so ``robustness`` and ``evaluate`` use float32, as ``predict`` does."""
    run = make_run(tmp_path / "run", 0, precision="fp16", preset="single_view_tiny")
    data = ["--data", str(synthetic_shards)]
    document = measured([str(run), *data, "--rows", "clean"], tmp_path / "out")
    common = ["--draws", "5", "--device", "cpu", "--threads", "2"]
    assert evaluate.main([str(run), *data, *common]) == 0
    evaluation = json.loads((run / "evaluation-test.json").read_text())
    clean = document["rows"][0]["models"]["run"]
    assert clean["metrics"] == evaluation["metrics"]
    told = (evaluation["settings"], document["models"]["run"]["settings"])
    assert [settings["precision"] for settings in told] == ["auto", "auto"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_two_models_side_by_side(run: Path, synthetic_shards: Path, tmp_path: Path) -> None:
    """All models see the same pixels. A copy of the first model does not differ from it, and another model does. One of
    the models is given as an exported folder."""
    shutil.copytree(run / "model", tmp_path / "exported")
    other = make_run(tmp_path / "other", seed=1)
    named = {"before": run, "copy": tmp_path / "exported", "after": other}
    models = [part for name, path in named.items() for part in ("--model", f"{name}={path}")]
    arguments = [*models, "--data", str(synthetic_shards), "--rows", "noise-0.05"]
    document = measured(arguments, tmp_path / "out")
    for row in document["rows"]:
        assert set(row["differences"]) == {"copy", "after"}
        assert row["differences"]["copy"]["difference"] == 0
        metrics = {name: result["metrics"] for name, result in row["models"].items()}
        assert metrics["before"] == metrics["copy"] != metrics["after"]
        gain = metrics["after"]["auroc"] - metrics["before"]["auroc"]
        assert row["differences"]["after"]["difference"] == pytest.approx(gain)


@pytest.mark.slow  # nor do they in predict, whose scores these are: test_detector
@pytest.mark.usefixtures("undrawn")
def test_threads_and_order_change_nothing(run: Path, synthetic_shards: Path, tmp_path: Path) -> None:
    arguments = [str(run), "--data", str(synthetic_shards), "--rows", "noise-0.03"]
    one = measured([*arguments, "--threads", "1"], tmp_path / "one")
    two = measured([*arguments, "--threads", "2"], tmp_path / "two")
    for document in (one, two):
        del document["timing"], document["models"]["first"]["settings"]["num_threads"]
    assert one == two


@pytest.mark.slow  # checksums leave it out, as they do the image in test_damaged_scores
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.usefixtures("undrawn")
def test_an_image_that_cannot_be_read_is_left_out(
    plain_run: Path, synthetic_shards: Path, tmp_path: Path, half: bool
) -> None:
    """The image is left out of the changed rows and of the clean row, even if half of its scan exists, which Pillow
    would fill up."""
    damaged = tmp_path / "shards"
    shutil.copytree(synthetic_shards, damaged)
    dataset = ShardDataset.open(damaged)
    rows = dataset.split_rows("test")
    row = int(rows[dataset.column("mcu_length")[rows] > 0][0])
    path = dataset.shard_path(dataset.column("shard")[row])
    start, length = (int(dataset.column(f"image_{n}")[row]) for n in ("offset", "length"))
    data = bytearray(path.read_bytes())
    kept = length // 2 if half else 0
    data[start + kept : start + length] = b"\xff\xd9".ljust(length - kept, b"\0")
    path.write_bytes(data)
    document = measured([str(plain_run), "--data", str(damaged), "--rows", "blur-1"], tmp_path / "out")
    assert [row["undecodable"] for row in document["rows"]] == [1, 1]


@pytest.mark.slow  # a run of its own; that detail follows the file is tested in test_detector_texture
@pytest.mark.usefixtures("undrawn")
def test_changed_images_are_looked_at_by_detail_too(
    synthetic_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule ``texture`` takes the bits of the JPEG that a change produces or, if it produces none, those of the
    original."""
    run = make_run(tmp_path / "run", 0, sampling="texture")
    known: list[list[bool]] = []

    def spied(*arguments: Any, details: Any, **options: Any) -> Any:
        known.append([detail is not None for detail in details])
        return pixel_batch(*arguments, details=details, **options)

    monkeypatch.setattr("glass.measure.robustness.pixel_batch", spied)
    rows = ["--rows", "jpeg-70", "--rows", "blur-1", "--rows", "web"]
    measured([str(run), "--data", str(synthetic_shards), *rows], tmp_path)
    dataset = ShardDataset.open(synthetic_shards)
    test = dataset.split_rows("test")
    form, forms = dataset.codes("stored_as")
    as_it_was = form[test] != forms.index("baseline") if "baseline" in forms else True
    of_files = (dataset.column("mcu_length")[test] > 0) & as_it_was
    per_row = np.concatenate(known).reshape(3, len(test)).tolist()
    assert per_row == [[True] * len(test), of_files.tolist(), [True] * len(test)]


@pytest.mark.usefixtures("undrawn")
def test_scores_that_are_no_numbers_are_reported(plain_run: Path, synthetic_shards: Path, tmp_path: Path) -> None:
    broken = make_run(tmp_path / "broken", 0, float("nan"), preset="single_view_tiny")
    models = ["--model", f"sound={plain_run}", "--model", f"broken={broken}"]
    with pytest.raises(InputError, match="the model broken gives scores that are not finite"):
        robustness.main([*models, "--data", str(synthetic_shards), "--rows", "clean"])
    assert not list(plain_run.glob("robustness*"))


@pytest.mark.usefixtures("undrawn")
def test_wrong_input(run: Path, synthetic_shards: Path, tmp_path: Path) -> None:
    data = ["--data", str(synthetic_shards)]
    (tmp_path / "robustness-test.json").write_text("{}")
    cases = [
        ([str(tmp_path / "none"), *data], "does not exist"),
        ([str(run), "--data", str(tmp_path / "none")], "does not exist"),
        ([str(run), *data, "--split", "tset"], "no split 'tset'"),
        ([str(run), *data, "--rows", "sepia"], "no row matches; choose from clean, jpeg-95"),
        ([*data], "give a model"),
        (["--model", "x", *data], "NAME=MODEL"),
        (["--model", f"a={run}", "--model", f"a={run}", *data], "two models"),
        ([str(run), *data, "--output", str(tmp_path)], "was not written by this command"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            robustness.main(arguments)
    assert (tmp_path / "robustness-test.json").read_text() == "{}"


@pytest.mark.parametrize("refuses", ["file", "file/out", "disk/out"])
@pytest.mark.usefixtures("undrawn")
def test_an_output_that_cannot_be_written_is_reported_before_the_work(
    run: Path,
    synthetic_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_disk: Callable[[int], Path],
    refuses: str,
) -> None:
    (tmp_path / "file").write_text("mine")
    if refuses.startswith("disk"):
        remount(small_disk(100), "ro")
    monkeypatch.setattr("glass.measure.trained_model.TrainedModel.open", lambda *_, **__: 1 / 0)
    arguments = [str(run), "--data", str(synthetic_shards), "--output", str(tmp_path / refuses)]
    with pytest.raises(InputError, match=r"cannot be written to .*give another --output"):
        robustness.main(arguments)


@pytest.mark.parametrize("name", ["robustness-test.png", "robustness-test.json"])
@pytest.mark.usefixtures("undrawn")
def test_a_file_of_someone_elses_is_not_replaced(run: Path, synthetic_shards: Path, tmp_path: Path, name: str) -> None:
    """A picture counts as ours only if there is a table with the same name."""
    (tmp_path / name).write_text("mine")
    arguments = [str(run), "--data", str(synthetic_shards), "--rows", "clean"]
    with pytest.raises(InputError, match=f"{name} .* give another --output"):
        robustness.main([*arguments, "--output", str(tmp_path)])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.usefixtures("undrawn")
def test_a_model_of_the_hub_leaves_no_folder_of_its_name(
    plain_run: Path, synthetic_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder with the model's name may be made. It would take precedence over the name on the hub in the next
    command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glass.model.hub._fetch", lambda *_: plain_run / "model")
    arguments = ["someone/model", "--data", str(synthetic_shards), "--rows", "clean"]
    with pytest.raises(InputError, match=r"someone/model is not a local folder.*--output"):
        robustness.main(arguments)
    assert not list(tmp_path.iterdir())
    measured(arguments, tmp_path / "out")


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_document_is_noticed(plain_run: Path, synthetic_shards: Path, tmp_path: Path) -> None:
    arguments = [str(plain_run), "--data", str(synthetic_shards), "--rows", "clean"]
    document = measured(arguments, tmp_path)
    check_robustness(document)
    for path in (
        ("rows",),
        ("worst",),
        ("models", "plain", "kind"),
        ("rows", 0, "title"),
        ("rows", 0, "models", "plain", "metrics"),
        ("format_version",),
    ):
        broken = json.loads(json.dumps(document))
        part = broken
        for step in path[:-1]:
            part = part[step]
        del part[path[-1]]
        with pytest.raises(ValueError, match=str(path[-1])):
            check_robustness(broken)
