"""Plots a crop study's results (training cost, prediction quality and prediction cost) against the number of crops."""

from collections.abc import Mapping, Sequence

from glass.report.plots import GRID, add_legend, as_svg, panel, run_style
from glass.studies.crop_documents import CropStudy, Fit, InferenceCurve

__all__ = ["crop_svgs"]

MIB = 2**20

Series = Mapping[str, tuple[Sequence[float], tuple[float, float] | None]]
"""Maps a series' name to (values, fit): one value per number of crops, and the fitted line's (intercept, slope). The
fit is None if there is no line to draw."""


def crop_svgs(document: CropStudy) -> dict[str, str]:
    """Plots ``document``, the contents of a ``crop_study.json``. Returns a dict that maps plot names to inline SVGs."""
    training, curve = document["training"], document["inference"]
    crops = [row["num_crops"] for row in training]
    memory: Series = {
        name: ([row["memory"][name] / MIB for row in training], _line(document["fits"].get(name), MIB))
        for name in training[0]["memory"]
    }
    times: Series = {"a step": ([row["step_time_s"] for row in training], _line(document["fits"].get("step_time_s")))}
    training_svgs = {
        "memory": _lines(crops, memory, "MiB", "peak memory of a training step"),
        "step_time": _lines(crops, times, "seconds", "time of a training step"),
    }
    if not curve["rows"]:  # none fitted into memory
        return training_svgs
    seen = [row["num_crops"] for row in curve["rows"]]
    predicting: Series = {
        name: ([row["memory"][name] / MIB for row in curve["rows"]], None) for name in curve["rows"][0]["memory"]
    }
    return {
        **training_svgs,
        "inference": _curve(curve),
        "latency": _latency(curve),
        "inference_memory": _lines(seen, predicting, "MiB", "peak memory of a batch at prediction"),
    }


def _line(fit: Fit | None, scale: float = 1.0) -> tuple[float, float] | None:
    return None if fit is None else (fit["intercept"] / scale, fit["slope"] / scale)


def _lines(crops: Sequence[int], series: Series, unit: str, title: str) -> str:
    figure, axes = panel()
    for number, (name, (values, line)) in enumerate(series.items()):
        style = run_style(number)
        axes.plot(crops, values, "o", color=style["color"], label=name.replace("_bytes", " memory"))
        if line is not None:
            ends = [0, max(crops)]
            axes.plot(ends, [line[0] + line[1] * x for x in ends], color=style["color"], linewidth=1)
    axes.set(xlabel="crops per image", ylabel=unit, title=title)
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    add_legend(axes, "best")
    return as_svg(figure, title)


def _curve(curve: InferenceCurve) -> str:
    figure, axes = panel()
    rows = curve["rows"]
    for number, (name, label) in enumerate(
        (("accuracy", "accuracy"), ("auroc", "AUROC"), ("ece", "calibration error"))
    ):
        found = [(row["num_crops"], row["metrics"][name], row["intervals"][name]) for row in rows]
        kept = [(crops, value, interval) for crops, value, interval in found if value is not None]
        if not kept:
            continue
        style = run_style(number)
        axes.plot([c for c, _, _ in kept], [v for _, v, _ in kept], **style, marker="o", markersize=3, label=label)
        bands = [(c, *i) for c, _, i in kept if i is not None]
        axes.fill_between(
            [b[0] for b in bands],
            [b[1] for b in bands],
            [b[2] for b in bands],
            color=style["color"],
            alpha=0.12,
            linewidth=0,
        )
    axes.axvline(curve["trained_with"], color=GRID, linewidth=1.2)
    axes.set(
        xlabel="crops per image at prediction",
        ylabel="metric",
        ylim=(0, 1.02),
        title=f"{curve['split']}, {rows[0]['images']} images, 95 % intervals",
    )
    add_legend(axes, "best")
    return as_svg(figure, "Metrics against the number of crops at prediction")


def _latency(curve: InferenceCurve) -> str:
    figure, axes = panel()
    rows = curve["rows"]
    axes.plot(
        [row["num_crops"] for row in rows],
        [1e3 * row["latency_s"] for row in rows],
        **run_style(0),
        marker="o",
        markersize=3,
    )
    axes.set(
        xlabel="crops per image at prediction",
        ylabel="ms (model only, batch of one)",
        title="latency of an image",
        ylim=(0, None),
    )
    return as_svg(figure, "Latency against the number of crops")
