"""Plots of a crop study: what training costs against the number of crops, what prediction gains."""

from collections.abc import Mapping, Sequence
from typing import Any

from glass.report.plots import GRID, add_legend, as_svg, panel, run_style

__all__ = ["crop_svgs"]

MIB = 2**20


def crop_svgs(document: Mapping[str, Any]) -> dict[str, str]:
    """Name → inline SVG of a ``crop_study.json``."""
    training, curve = document["training"], document["inference"]
    crops = [row["num_crops"] for row in training]
    memory = {
        name: ([row["memory"][name] / MIB for row in training], _scaled(document["fits"].get(name)))
        for name in training[0]["memory"]
    }
    times = {name: ([row[name] for row in training], document["fits"].get(name)) for name in ("step_time_s",)}
    training_svgs = {
        "memory": _lines(crops, memory, "MiB", "peak memory of a training step"),
        "step_time": _lines(crops, times, "seconds", "time of a training step"),
    }
    if not curve["rows"]:  # none fitted into memory
        return training_svgs
    seen = [row["num_crops"] for row in curve["rows"]]
    predicting = {
        name: ([row["memory"][name] / MIB for row in curve["rows"]], None) for name in curve["rows"][0]["memory"]
    }
    return {
        **training_svgs,
        "inference": _curve(curve),
        "latency": _latency(curve),
        "inference_memory": _lines(seen, predicting, "MiB", "peak memory of a batch at prediction"),
    }


def _scaled(fit: Mapping[str, Any] | None) -> dict[str, float] | None:
    if fit is None:
        return None
    return {name: fit[name] / MIB for name in ("intercept", "slope")}


def _lines(crops: Sequence[int], series: Mapping[str, Any], unit: str, title: str) -> str:
    figure, axes = panel()
    for number, (name, (values, fit)) in enumerate(series.items()):
        style = run_style(number)
        axes.plot(crops, values, "o", color=style["color"], label=name.removesuffix("_bytes"))
        if fit is not None:
            ends = [0, max(crops)]
            axes.plot(ends, [fit["intercept"] + fit["slope"] * x for x in ends], color=style["color"], linewidth=1)
    axes.set(xlabel="crops per image", ylabel=unit, title=title)
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    add_legend(axes, "best")
    return as_svg(figure, title)


def _curve(curve: Mapping[str, Any]) -> str:
    figure, axes = panel()
    rows = curve["rows"]
    crops = [row["num_crops"] for row in rows]
    for number, (name, label) in enumerate(
        (("accuracy", "accuracy"), ("auroc", "AUROC"), ("ece", "calibration error"))
    ):
        kept = [
            (c, r["metrics"][name], r["intervals"][name])
            for c, r in zip(crops, rows, strict=True)
            if r["metrics"][name] is not None
        ]
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
        ylim=(0, 1.02),
        title=f"{curve['split']}, {rows[0]['images']} images, 95 % intervals",
    )
    add_legend(axes, "best")
    return as_svg(figure, "Metrics against the number of crops at prediction")


def _latency(curve: Mapping[str, Any]) -> str:
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
        ylabel="ms, model only, batch of one",
        title="latency of an image",
        ylim=(0, None),
    )
    return as_svg(figure, "Latency against the number of crops")
