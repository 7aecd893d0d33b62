"""The page of a report: what it shows, and that it neither runs nor fetches anything."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from glass.measure.evaluation import evaluate_table
from glass.report import RunData, build_gallery, render_html, report_document
from glass.report.plots import NUM_RUN_COLOURS, roc_svg, training_svg
from glass.report.sentences import IN_SAMPLE_WARNING, comparison_sentence, few_for_reliability, few_for_roc
from shards.manifest.dataset import ShardDataset
from tests.runs.made_up_runs import SPLIT, WriteRun, load

Element = tuple[str, dict[str, str | None]]


@pytest.fixture(scope="module")
def page(runs: list[RunData], synthetic_dataset: ShardDataset) -> str:
    """The page for both runs, with the note "simulated data"."""
    return page_of(runs, synthetic_dataset, "simulated data")


def page_of(runs: list[RunData], dataset: ShardDataset, note: str | None = None) -> str:
    document = report_document(runs, dataset, SPLIT, note)
    return render_html(document, runs, build_gallery(runs, dataset))


class Elements(HTMLParser):
    """Collects every start tag of a page with its attributes, and all of its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


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
    """Inline SVGs share one namespace. A clip path with the same id as another would cut the wrong plot."""
    clips = [a["id"] for t, a in Elements(page).elements if t == "clippath" and "id" in a]
    assert len(clips) >= 6
    assert len(set(clips)) == len(clips)


@pytest.mark.usefixtures("undrawn")  # plots contain no names of files or generators
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


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("aurocs", "named"), [((0.9976, 0.999), True), ((0.9991, 0.9994), False), ((0.9, None), False)]
)
def test_the_weakest_generator_is_named_if_the_figures_shown_differ(
    write_run: WriteRun, synthetic_dataset: ShardDataset, aurocs: tuple[float | None, ...], named: bool
) -> None:
    folder = write_run("glass")
    path = folder / f"evaluation-{SPLIT}.json"
    document = json.loads(path.read_text())
    rows = document["per_generator"]["generators"]
    row = next(iter(rows.values()))
    rows.clear()
    rows |= {f"gan_{i}": {**row, "auroc": auroc} for i, auroc in enumerate(aurocs)}
    document["per_generator"]["worst"] = "gan_0"
    path.write_text(json.dumps(document))
    assert ("weakest on gan_0" in page_of([load(folder, synthetic_dataset)], synthetic_dataset)) == named


def test_a_page_says_what_the_document_says(page: str, runs: list[RunData], synthetic_dataset: ShardDataset) -> None:
    document = report_document(runs, synthetic_dataset, SPLIT)
    text = Elements(page).text
    for run in runs:
        assert f"{run.evaluation['metrics']['auroc']:.3f}" in text
    assert comparison_sentence(document["comparisons"][0]) in text


@pytest.mark.usefixtures("undrawn")
def test_one_class_only_still_gives_a_page(write_run: WriteRun, synthetic_dataset: ShardDataset) -> None:
    run = load(write_run("glass"), synthetic_dataset)
    table = run.predictions.filter(pa.compute.equal(run.predictions["label"], 1))
    evaluation = run.evaluation | evaluate_table(table, draws=10)
    run = replace(run, predictions=table, evaluation=evaluation, epochs=[])
    assert run.evaluation["roc"] is None
    page = page_of([run], synthetic_dataset)
    assert not re.search(r"\bnan\b", Elements(page).text.lower())
    assert 'role="note"' not in page


def test_plots_take_the_colours_of_the_page(page: str) -> None:
    plots = re.findall(r'<svg role="img".*?</svg>', page, re.DOTALL)
    assert len(plots) >= 6
    for svg in plots:
        assert "var(--ink)" in svg
        assert "var(--grid)" in svg
        assert not re.search(r"#0[123]0[0-9a-f]{3}", svg)
    for svg in plots[:2]:  # ROC curves
        for number, name in enumerate(("glass", "single_view")):
            assert f"var(--run-{number})" in svg
            assert f">{name}<" in svg  # text stays text


@pytest.mark.slow  # two plots more, of more runs than there are colours
def test_plots_of_many_runs_take_the_colours_of_the_page(runs: list[RunData]) -> None:
    many = [replace(runs[0], name=f"run{n}") for n in range(NUM_RUN_COLOURS + 1)]
    for svg in roc_svg(many):
        assert svg.startswith('<svg role="img"')
        for name in ("ink", "grid", *(f"run-{n}" for n in range(NUM_RUN_COLOURS))):
            assert f"var(--{name})" in svg
        assert not re.search(r"#0[123]0[0-9a-f]{3}", svg)
        assert all(f">run{n}<" in svg for n in range(NUM_RUN_COLOURS + 1))  # text stays text


@pytest.mark.usefixtures("undrawn")
def test_findings_of_the_audit_are_folded_below_the_results_and_are_escaped(
    page: str, runs: list[RunData], synthetic_dataset: ShardDataset
) -> None:
    document = report_document(runs, synthetic_dataset, SPLIT)
    gallery = build_gallery(runs, synthetic_dataset)
    assert document["audit"] is None
    assert "has not been audited" in page
    finding = {
        "kind": "metadata",
        "severity": "serious",
        "text": "<i>format</i>",
        "advice": "use --groups FILE",
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
    in_sample = {"temperature": 2, "before": {"ece": 0.045}, "after": {"ece": 0.082}, "in_sample": True}
    in_sample |= {"cautious": True, "data": {"real": 8, "generated": 9}}
    results["intervals"]["auroc"] = None
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
    assert "has not been audited" not in page
    assert f"{runs[1].name}: {IN_SAMPLE_WARNING}" in page[: page.index('class="tiles"')]
    assert f"{runs[0].name}: {IN_SAMPLE_WARNING}" not in page
    for words in ("Promised: at most 1.0 %", "22.5 %, 9 of 40", ", so the promise is not kept.", "Uncertain: 10.0 %"):
        assert words in page
    assert page.index('class="tiles"') < page.index("<summary>1 finding of the audit</summary>")
    assert page.index("<summary>1 finding of the audit</summary>") < page.index("&lt;i&gt;format")
    assert "&lt;b&gt;a&lt;/b&gt;\\x1b.png" in page
    assert "&lt;u&gt;JPEG" in page
    assert "0.200 before and 0.030 after calibration.</p>" in page
    assert "0.082 after calibration. That is worse on these images on purpose: the few images of the calib" in page
    assert "AUROC, 95 % interval: too few scenes to tell</div>" in page
    assert "What to do: use <code>--groups</code> FILE." in page
    assert "code { white-space: nowrap; }" in page
    assert not {"<i>", "<b>a", "<u>"} & set(re.findall(r"<[biu]>a?", page)) - {"<b>"}


def test_curves_of_few_images_say_so(page: str) -> None:
    assert "Few images: one false alarm among" in page
    assert "so a zigzag curve may be due to chance" in page
    many = {"real": 100, "scored": 300}
    assert few_for_roc([many, many]) is None
    assert few_for_reliability([many]) is None
    few = {"real": 1, "scored": 299}
    assert "among 1 real image is 100 %" in str(few_for_roc([many, few]))
    assert "299 images in up to 15 bins" in str(few_for_reliability([many, few]))
    assert few_for_roc([{"real": 0, "scored": 9}]) is None


def test_the_colour_of_a_verdict_is_no_other_row_s(page: str) -> None:
    """The row of false alarms has the class ``real`` but must not get the colour of the verdict "real", since it is not
    good news."""
    assert '<tr class="real">' in page
    assert ".verdict.real {" in page
    assert not re.search(r"(?<!\.verdict)\.(real|generated|uncertain)\b[^{}]*\{", page)


@pytest.mark.slow  # plots are drawn; their colours and texts are tested above
def test_every_axis_has_a_label_and_loss_its_unit(runs: list[RunData]) -> None:
    loss, auroc = training_svg(runs)
    assert {"loss (nats)", "epoch"} <= set(re.findall(r"<text[^>]*>([^<]*)<", loss))
    assert {"AUROC", "epoch"} <= set(re.findall(r"<text[^>]*>([^<]*)<", auroc))


def test_the_axis_of_auroc_ends_at_one(runs: list[RunData]) -> None:
    perfect = [{**entry, "valid_auroc": 1.0} for entry in runs[0].epochs]
    auroc = training_svg([replace(runs[0], epochs=perfect)])[1]
    assert max(float(tick) for tick in re.findall(r">(\d\.\d+)</text>", auroc)) == 1.0


def test_captions_of_wide_tables_keep_to_the_window(page: str) -> None:
    captions = re.findall(r"<caption>(.*?)</caption>", page, re.DOTALL)
    assert captions
    assert all(re.fullmatch(r"<span>.*</span>", caption, re.DOTALL) for caption in captions)
    assert re.search(r"caption > span \{[^}]*position: sticky[^}]*100vw", page)
