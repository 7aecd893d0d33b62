"""The report: what it chooses, what it says, and that nothing in it is obeyed or fetched."""

import base64
import copy
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from glass.config.dataset_digest import dataset_digest
from glass.measure.evaluation import evaluate_table
from glass.measure.predictions import PREDICTION_SCHEMA, prediction_table
from glass.measure.result_files import write_evaluation
from glass.measure.scoring import Predictions
from glass.report import RunData, build_gallery, load_run, render_html, report_document
from glass.report.data import compare_runs, training_summary
from glass.report.document import check_report
from glass.report.embed import encoder, shrink
from glass.report.plots import NUM_RUN_COLOURS, roc_svg, training_svg
from glass.report.selection import MAX_CARDS, choose_samples
from glass.report.tables import (
    IN_SAMPLE_WARNING,
    comparison_sentence,
    duration,
    few_for_reliability,
    few_for_roc,
    generator_rows,
)
from glass.report.windows import attention_colour
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

SPLIT, NUM_WINDOWS, CROP = "train", 3, 40

WriteRun = Callable[..., Path]
Element = tuple[str, dict[str, str | None]]


def made_up_predictions(dataset: ShardDataset, seed: int, skill: float) -> Predictions:
    """Scores ``skill`` apart between the classes, windows inside the images, one not used."""
    rng = np.random.default_rng(seed)
    rows = dataset.split_rows(SPLIT)
    table, count = dataset.table.take(pa.array(rows)), len(rows)
    label = table["label"].to_numpy().astype(np.int64)
    margin = rng.normal(size=count) + skill * (2 * label - 1)
    limits = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], 1) - CROP
    windows = np.full((count, NUM_WINDOWS, 4), CROP, np.int32)
    windows[..., :2] = rng.integers(0, limits[:, None, :], (count, NUM_WINDOWS, 2))
    windows[:, -1] = 0  # a place of the batch that the sampling rule left empty
    weights = rng.dirichlet(np.ones(NUM_WINDOWS - 1), count).astype(np.float32)
    return Predictions(
        sample_key=table["sample_key"].to_pylist(),
        content_id=table["content_id"].to_numpy(),
        label=label,
        logits=np.stack([-margin / 2, margin / 2], 1).astype(np.float32),
        attention_weights=np.pad(weights, ((0, 0), (0, 1))),
        crop_windows=windows,
        crop_mask=windows[..., 2] > 0,
    )


@pytest.fixture(scope="module")
def write_run(synthetic_dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> WriteRun:
    """``write_run(name)``: a new run folder, trained and evaluated, with made-up predictions."""

    def write(name: str, skill: float = 1.0, attention: bool = True, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("run") / name
        folder.mkdir()
        predictions = made_up_predictions(synthetic_dataset, seed, skill)
        if not attention:
            predictions = replace(predictions, attention_weights=None)
        table = prediction_table(predictions, synthetic_dataset, SPLIT)
        kind = "glass" if attention else "single_view"
        document = {
            "format_version": 1,
            "split": SPLIT,
            "model": {"kind": kind, "weights_sha256": "0" * 64, "chosen": {"epoch": 2}},
            "dataset": dataset_digest(synthetic_dataset.root),
            "settings": {
                "num_crops": NUM_WINDOWS,
                "crop_size": CROP,
                "sampling": "stratified_grid",
                "seed": 0,
                "device": "cpu",
                "precision": "auto",
            },
            **evaluate_table(table, draws=40),
            "timing": {"time_s": 2.0, "images_per_s": 6.0},
            "versions": {"python": "3.11"},
        }
        write_evaluation(folder, document, table)
        record = {"config": {"model": {"kind": kind}, "epochs": 3}, "data": {"name": "data"}, "finished": {"steps": 9}}
        (folder / "run.json").write_text(json.dumps(record))
        lines = [
            {
                "epoch": epoch,
                "train_loss": 1 / epoch,
                "valid_loss": 0.9 / epoch,
                "valid_auroc": None if epoch == 1 else 0.6 + epoch / 10,
                "valid_accuracy": 0.5,
                "train_images": 100,
                "train_time_s": 4.0,
                "data_wait_s": 1.0,
                "epoch_time_s": 5.0,
            }
            for epoch in (1, 2, 3)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return write


def load(folder: Path, dataset: ShardDataset) -> RunData:
    return load_run(folder.name, folder, SPLIT, dataset)


@pytest.fixture(scope="module")
def runs(write_run: WriteRun, synthetic_dataset: ShardDataset) -> list[RunData]:
    """A skilled run with attention called ``glass`` and a guessing one, ``single_view``."""
    return [
        load(write_run("glass", skill=2.0), synthetic_dataset),
        load(write_run("single_view", skill=0.0, attention=False, seed=1), synthetic_dataset),
    ]


@pytest.fixture(scope="module")
def page(runs: list[RunData], synthetic_dataset: ShardDataset) -> str:
    """The page of both runs, with the note "simulated data"."""
    return page_of(runs, synthetic_dataset, "simulated data")


def page_of(runs: list[RunData], dataset: ShardDataset, note: str | None = None) -> str:
    document = report_document(runs, dataset, SPLIT, note)
    return render_html(document, runs, build_gallery(runs, dataset))


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_document_holds_what_its_reader_expects(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    document = report_document(runs, synthetic_dataset, SPLIT, "simulated")
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {
        "format_version",
        "created",
        "note",
        "split",
        "dataset",
        "audit",
        "comparisons",
        "glass",
        "single_view",
    }
    for run in runs:
        entry, metrics = document[run.name], run.evaluation["metrics"]
        assert entry[SPLIT]["auroc"] == metrics["auroc"]
        assert set(metrics) < set(entry[SPLIT])
        for name in ("intervals", "confusion", "per_generator", "samples", "threshold", "timing"):
            assert entry[SPLIT][name] == run.evaluation[name]
        assert entry["settings"] == {"model.kind": run.name, "epochs": 3, "data.name": "data"}
        assert entry["training"]["finished"] is True
        assert entry["model"]["kind"] == run.name
    counts = document["dataset"]["counts"]
    assert sum(row["images"] for row in counts) == len(synthetic_dataset)
    assert {row["generator"] for row in counts} == {"", "gan_a", "gan_b"}
    evaluated = document["dataset"]["evaluated"]
    files = sum(sum(facts["formats"].values()) for facts in evaluated.values())
    assert files == len(synthetic_dataset.split_rows(SPLIT))


@pytest.mark.parametrize(
    "path",
    [
        ("created",),
        ("dataset", "counts", 0, "images"),
        ("dataset", "evaluated", "real", "formats"),
        ("comparisons", 0, "interval"),
        ("glass",),
        ("glass", SPLIT, "auroc"),
        ("glass", SPLIT, "intervals", "auroc"),
        ("glass", SPLIT, "per_generator", "minimum"),
        ("glass", SPLIT, "calibration"),
        ("glass", "training", "time_s"),
        ("single_view", "settings"),
        ("single_view", "robustness"),
        ("single_view", "model", "weights_sha256"),
    ],
)
def test_a_document_with_a_hole_is_refused(
    runs: list[RunData], synthetic_dataset: ShardDataset, path: tuple[str | int, ...]
) -> None:
    document = copy.deepcopy(report_document(runs, synthetic_dataset, SPLIT))
    names = [run.name for run in runs]
    check_report(document, names)
    *way, last = path
    place: Any = document
    for step in way:
        place = place[step]
    del place[last]
    with pytest.raises(ValueError, match=f"{last} is missing"):
        check_report(document, names)


def test_a_run_that_holds_nonsense_is_told(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    model = runs[0].evaluation["model"] | {"chosen": {"epoch": "last"}}
    broken = replace(runs[0], evaluation=runs[0].evaluation | {"model": model})
    with pytest.raises(InputError, match=r"kept_epoch = 'last' .*evaluate"):
        report_document([broken], synthetic_dataset, SPLIT)


def test_training_is_summed_up() -> None:
    epochs = [
        {
            "epoch": e,
            "valid_auroc": e / 10,
            "train_images": 90,
            "train_time_s": t,
            "data_wait_s": 1.0,
            "epoch_time_s": t + 1,
        }
        for e, t in ((1, 2.0), (2, 4.0))
    ]
    assert training_summary(epochs, 1) == {
        "epochs": 2,
        "kept_epoch": 1,
        "valid_auroc": 0.1,
        "valid_accuracy": None,
        "valid_loss": None,
        "time_s": 8.0,
        "images_per_s": 180 / 6,
        "data_wait_share": 2 / 6,
    }
    assert set(training_summary([], None).values()) == {0, None}


def test_runs_are_compared_on_the_images_that_both_scored(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    run, baseline = runs
    whole = compare_runs(run, baseline)
    difference = run.evaluation["metrics"]["auroc"] - baseline.evaluation["metrics"]["auroc"]
    assert whole["difference"] == pytest.approx(difference)
    assert (whole["run"], whole["baseline"], whole["images"]) == ("glass", "single_view", len(run.predictions))
    fewer = replace(baseline, predictions=baseline.predictions.slice(3)[::-1])
    part = compare_runs(run, fewer)
    reverse = compare_runs(fewer, run)
    assert part["images"] == reverse["images"] == len(run.predictions) - 3
    assert part["difference"] == pytest.approx(-reverse["difference"])


def test_the_comparison_says_no_more_than_it_knows() -> None:
    comparison = {"run": "a", "baseline": "b", "images": 90}
    better = comparison_sentence({**comparison, "difference": 0.2, "interval": [0.1, 0.3]})
    worse = comparison_sentence({**comparison, "difference": -0.2, "interval": [-0.3, -0.1]})
    open_ = comparison_sentence({**comparison, "difference": 0.2, "interval": [-0.1, 0.3]})
    none = comparison_sentence({**comparison, "difference": None, "interval": None})
    assert "0.200 higher" in better
    assert "0.200 lower" in worse
    assert "do not show which" in open_
    assert "cannot be compared" in none


def test_a_run_on_other_data_is_refused(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    folder = write_run("glass")
    path = folder / f"evaluation-{SPLIT}.json"
    document = json.loads(path.read_text())
    document["dataset"]["dataset_json_sha256"] = "f" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="another data set"):
        load(folder, synthetic_dataset)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", None, "run.json cannot be read"),
        ("run.json", "[]", "no JSON object"),
        ("metrics.jsonl", None, "metrics.jsonl cannot be read"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epo', "line 2"),
        ("metrics.jsonl", "3\n", "line 1"),
        ("predictions-train.parquet", "rubbish", "evaluate again"),
    ],
)
def test_damaged_run_folders_are_told(
    name: str, content: str | None, message: str, write_run: WriteRun, synthetic_dataset: ShardDataset
) -> None:
    folder = write_run("glass")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load(folder, synthetic_dataset)


def test_a_run_cannot_take_the_name_of_a_field(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    run = load_run("dataset", write_run("glass"), SPLIT, synthetic_dataset)
    with pytest.raises(InputError, match="cannot be called 'dataset'"):
        report_document([run], synthetic_dataset, SPLIT)


def selection_table(probability: list[float], label: list[int], generator: list[str]) -> pa.Table:
    count = len(label)
    columns: dict[str, list[Any]] = {name: [None] * count for name in PREDICTION_SCHEMA.names}
    columns |= {"probability": probability, "label": label, "generator": generator}
    return pa.table(columns, schema=PREDICTION_SCHEMA)


def test_the_gallery_shows_mistakes_first_and_every_kind() -> None:
    table = selection_table(
        [0.1, 0.9, 0.45, 0.2, 0.99, 0.05, 0.55, 0.8, 0.7],
        [0, 0, 0, 0, 1, 1, 1, 1, 1],
        ["", "", "", "", "a", "a", "a", "b", "b"],
    )
    picks = choose_samples(table, 0.5)
    assert [(pick.row, pick.reason) for pick in picks[:3]] == [
        (1, "surest mistake"),
        (5, "surest mistake"),
        (2, "nearest to the threshold"),  # no image of b is mistaken
    ]
    rows = [pick.row for pick in picks]
    assert len(set(rows)) == len(rows)
    assert {0, 4, 7} <= set(rows)  # the surest right verdicts of each kind
    assert picks == choose_samples(table, 0.5)


def test_the_gallery_has_an_end() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    generator = [f"g{n % 30}" if y else "" for n, y in enumerate(label)]
    table = selection_table(rng.random(400).tolist(), label.tolist(), generator)
    picks = choose_samples(table, 0.5)
    assert len(picks) == MAX_CARDS
    assert {pick.reason for pick in picks} == {"surest mistake"}


def test_crops_come_from_the_place_that_the_frame_marks(runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    """The images are coded: red is x // 2, green y // 2, blue 10 × the number in the name."""
    gallery = build_gallery(runs, synthetic_dataset)
    assert (gallery.run, gallery.has_attention, gallery.crop_format) == ("glass", True, "PNG")
    lossless = [card for card in gallery.cards if card.source_path.endswith(".png")]
    assert lossless
    for card in gallery.cards:
        assert len(card.windows) == NUM_WINDOWS - 1  # the empty place is not drawn
        weights = [window.weight for window in card.windows]
        assert weights == sorted(weights, reverse=True)
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        assert [v["run"] for v in card.verdicts] == ["glass", "single_view"]
        for verdict in card.verdicts:
            assert verdict["right"] == (verdict["verdict"] == card.label)
    for card in lossless:
        for window in card.windows:
            crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(window.crop.split(",")[1]))))
            assert crop.shape == (window.height, window.width, 3)
            assert (crop[0, :, 0] == (window.left + np.arange(window.width)) // 2).all()
            assert (crop[:, 0, 1] == (window.top + np.arange(window.height)) // 2).all()
            assert (crop[..., 2] == 10 * int(Path(card.source_path).stem)).all()


def test_a_gallery_without_attention(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    run = load(write_run("single_view", attention=False), synthetic_dataset)
    gallery = build_gallery([run], synthetic_dataset)
    assert not gallery.has_attention
    assert {window.weight for card in gallery.cards for window in card.windows} == {None}
    document = report_document([run], synthetic_dataset, SPLIT)
    assert "does not weigh" in render_html(document, [run], gallery)


def test_a_shard_that_is_gone_is_told(write_run: WriteRun, synthetic_dataset: ShardDataset, tmp_path: Path) -> None:
    run = load(write_run("glass"), synthetic_dataset)
    moved = ShardDataset(tmp_path / "nowhere", synthetic_dataset.info, synthetic_dataset.table)
    with pytest.raises(InputError, match=r"cannot be read.*verify_shards"):
        build_gallery([run], moved)


def test_attention_colours_run_from_pale_to_red() -> None:
    assert attention_colour(0.0, 4) == "rgb(255, 237, 160)"
    assert attention_colour(0.25, 4) == "rgb(253, 141, 60)"
    assert attention_colour(0.5, 4) == attention_colour(0.9, 4) == "rgb(189, 0, 38)"
    assert attention_colour(1.0, 1) == "rgb(253, 141, 60)"  # the only window: an equal share


def test_images_are_embedded_within_their_budget() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    kinds, sizes = [], []
    for budget in (10**6, 20_000, 10):
        as_uri, kind = encoder(noise, budget, lossless=True)
        kinds.append(kind)
        sizes.append(sum(len(base64.b64decode(as_uri(image).split(",")[1])) for image in noise))
    assert kinds[0] == "PNG"
    assert kinds[1].startswith("JPEG ")
    assert sizes[1] <= 20_000
    assert kinds[2] == "JPEG 40"  # nothing fits: the smallest, and no endless search
    assert shrink(np.zeros((10, 4000, 3), np.uint8), 500).shape == (1, 500, 3)
    assert shrink(noise[0], 500).shape == (64, 64, 3)


def test_the_page_fetches_and_runs_nothing(page: str) -> None:
    parsed = Elements(page)
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in parsed.elements:
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("src", "href", "xlink:href", "action", "data"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:image/", "#")), (tag, name, target)
    assert not re.search(r"url\((?!#)|@import", page)
    policies = [a["content"] for t, a in parsed.elements if t == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert len(page) < 5e6
    assert "simulated data" in parsed.text


def test_ids_within_the_plots_are_unique_across_the_page(page: str) -> None:
    """Inline SVGs share one namespace: a clip path of the same name would cut the wrong plot."""
    clips = [a["id"] for t, a in Elements(page).elements if t == "clippath" and "id" in a]
    assert len(clips) >= 6
    assert len(set(clips)) == len(clips)


def test_names_are_shown_and_never_obeyed(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    folder = write_run("glass")
    path = folder / f"evaluation-{SPLIT}.json"
    nasty = "<script>alert(1)</script>\x1b[31m\u202e"
    document = json.loads(path.read_text())
    rows = document["per_generator"]["generators"]
    rows[nasty] = rows.pop("gan_a")
    document["per_generator"]["worst"] = nasty
    path.write_text(json.dumps(document))
    run = load(folder, synthetic_dataset)
    table = run.predictions
    paths = ["real/\"><img src=x onerror=alert(1)>'&\x07.jpg"] * len(table)
    generators = [nasty if label else "" for label in table["label"].to_pylist()]
    for name, values in (("source_path", paths), ("generator", generators)):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(values))
    run = replace(run, predictions=table)
    page = page_of([run], synthetic_dataset, note="</style><script>alert(2)</script>")
    parsed = Elements(page)
    assert not any(tag == "script" for tag, _ in parsed.elements)
    assert not any("onerror" in attributes for _, attributes in parsed.elements)
    assert "<script>alert(1)</script>\\x1b[31m\\u202e" in parsed.text
    assert "<script>alert(2)</script>" in parsed.text
    assert not set(page) & {"\x1b", "\u202e", "\x07"}


def test_a_page_says_what_the_document_says(page: str, runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    document = report_document(runs, synthetic_dataset, SPLIT)
    text = Elements(page).text
    for run in runs:
        assert f"{run.evaluation['metrics']['auroc']:.3f}" in text
    assert comparison_sentence(document["comparisons"][0]) in text


def test_one_class_only_still_gives_a_page(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    run = load(write_run("glass"), synthetic_dataset)
    table = run.predictions.filter(pa.compute.equal(run.predictions["label"], 1))
    evaluation = run.evaluation | evaluate_table(table, draws=10)
    run = replace(run, predictions=table, evaluation=evaluation, epochs=[])
    assert run.evaluation["roc"] is None
    page = page_of([run], synthetic_dataset)
    assert not re.search(r"\bnan\b", Elements(page).text.lower())
    assert 'role="note"' not in page


def test_plots_take_the_colours_of_the_page(runs: list[RunData]) -> None:
    many = [replace(runs[0], name=f"run{n}") for n in range(NUM_RUN_COLOURS + 1)]
    for svg in roc_svg(many):
        assert svg.startswith('<svg role="img"')
        for name in ("ink", "grid", *(f"run-{n}" for n in range(NUM_RUN_COLOURS))):
            assert f"var(--{name})" in svg
        assert not re.search(r"#0[123]0[0-9a-f]{3}", svg)
        assert all(f">run{n}<" in svg for n in range(NUM_RUN_COLOURS + 1))  # text stays text


def test_generator_rows_end_with_summaries_and_real_images(runs: list[RunData]) -> None:
    rows = generator_rows(runs[0].evaluation["per_generator"])
    names = [row.name for row in rows]
    assert names == ["gan_a", "gan_b", "mean over generators", "minimum over generators", "real: false alarms"]
    lowest = min(float(row.cells[0].value) for row in rows[:2])
    assert float(rows[3].cells[0].value) == lowest


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (1.25, "1.2 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (3900, "1 h 05 min")]
)
def test_durations_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_findings_of_the_audit_are_folded_below_the_results_and_are_escaped(
    runs: list[RunData], synthetic_dataset: ShardDataset
) -> None:
    document = report_document(runs, synthetic_dataset, SPLIT)
    gallery = build_gallery(runs, synthetic_dataset)
    assert document["audit"] is None
    assert "was not audited" in render_html(document, runs, gallery)
    finding = {
        "kind": "metadata",
        "severity": "serious",
        "text": "<i>format</i>",
        "advice": "mix",
        "feature": "format",
        "auroc": 0.9,
        "interval": [0.8, 1],
        "count": None,
        "examples": [["<b>a</b>\x1b.png"]],
    }
    document["audit"] = {"severity": "serious", "equalised": "", "findings": [finding]}
    results = document[runs[0].name][SPLIT]
    results["real_slices"] = [{"slice": "<u>JPEG", "images": 12, "false_positive_rate": 0.25, "interval": [0.1, 0.4]}]
    results["calibration"] = {"temperature": 2, "before": {"ece": 0.2}, "after": {"ece": 0.03}}
    in_sample = results["calibration"] | {"in_sample": True}
    document[runs[1].name][SPLIT]["calibration"] = in_sample
    results["calibration"] |= {
        "in_sample": False,
        "uncertain": {"real": 0.1, "generated": 0.2},
        "decided": {"images": 9, "accuracy": 0.5, "interval": [0.2, 0.8]},
        "promise": {
            "max_fpr": 0.01,
            "calibrated_on": {"images": 312, "false_alarms": 3},
            "images": 40,
            "false_alarms": 9,
            "rate": 0.225,
            "interval": [0.1, 0.4],
            "expected": [0, 3],
            "verdict": "not kept",
        },
    }
    page = render_html(document, runs, gallery)
    assert f"{runs[1].name}: {IN_SAMPLE_WARNING}" in page[: page.index('class="tiles"')]
    assert f"{runs[0].name}: {IN_SAMPLE_WARNING}" not in page
    for words in ("Promised: at most 1.0 %", "22.5 %, 9 of 40", ": not kept.", "Uncertain: 10.0 %"):
        assert words in page
    assert page.index('class="tiles"') < page.index("<summary>1 finding of the audit</summary>")
    assert page.index("<summary>1 finding of the audit</summary>") < page.index("&lt;i&gt;format")
    assert "&lt;b&gt;a&lt;/b&gt;\\x1b.png" in page
    assert "&lt;u&gt;JPEG" in page
    assert "0.200 before, 0.030 after" in page
    assert not {"<i>", "<b>a", "<u>"} & set(re.findall(r"<[biu]>a?", page)) - {"<b>"}


def test_curves_of_few_images_say_so(page: str) -> None:
    assert "Few images: one false alarm among" in page
    assert "so a zigzag is chance" in page
    many = {"real": 100, "scored": 300}
    assert few_for_roc([many, many]) is None
    assert few_for_reliability([many]) is None
    few = {"real": 1, "scored": 299}
    assert "among 1 real image is 100 %" in str(few_for_roc([many, few]))
    assert "299 images in up to 15 bins" in str(few_for_reliability([many, few]))
    assert few_for_roc([{"real": 0, "scored": 9}]) is None


def test_every_axis_has_a_label_and_loss_its_unit(runs: list[RunData]) -> None:
    loss, auroc = training_svg(runs)
    assert {">loss (nats)<", ">epoch<"} <= {f">{words}<" for words in re.findall(r"<text[^>]*>([^<]*)<", loss)}
    assert ">AUROC<" in auroc


def test_captions_of_wide_tables_keep_to_the_window(page: str) -> None:
    captions = re.findall(r"<caption>(.*?)</caption>", page, re.DOTALL)
    assert captions
    assert all(re.fullmatch(r"<span>.*</span>", caption, re.DOTALL) for caption in captions)
    assert re.search(r"caption > span \{[^}]*position: sticky[^}]*100vw", page)
