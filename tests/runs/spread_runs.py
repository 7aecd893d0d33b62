"""Runs whose untrained model gives each image a clearly different score, for tests of detectors."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from glass.export.model_folder import load_model, save_model
from glass.measure.calibration import ViewSettings, write_calibration
from glass.measure.fit_calibration import fit_calibration
from glass.model.model import build_model
from glass.predict.detector import Detector, PredictOptions
from glass.presets import load_preset

QUICK = PredictOptions(stability=False)


def make_run(folder, preset="glass_tiny", **loader):
    """Makes a run with an untrained model in ``folder``."""
    torch.manual_seed(0)
    config = load_preset(preset)
    config = replace(config, loader=replace(config.loader, crop_size=48, **loader))
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    return folder


def spread_scores(run, files):
    """Changes the last layer of a run's model so that the margins of ``files`` have mean 0 and standard deviation 2.
    Otherwise, an untrained model gives all images nearly the same margin."""
    model, config = load_model(run / "model", "cpu")
    verdicts = Detector.from_pretrained(run, device="cpu").predict(files, QUICK)
    margin = np.array([verdict.margin for verdict in verdicts])
    scale, last = 2.0 / margin.std(), model.head[-1]
    with torch.no_grad():
        last.weight *= scale
        last.bias.copy_(torch.tensor([margin.mean() * scale, last.bias.diff().item() * scale]))
    save_model(run / "model", model, config)


def calibrated(run, folder, middle, views=None, overlap=0):
    """Returns a detector with the run's model, exported to ``folder``, and a calibration whose threshold corresponds to
    the margin ``middle``. If ``overlap`` is above 1, there is a band of doubt below the threshold."""
    shutil.copytree(run / "model", folder)
    views = views or ViewSettings(4, "stratified_grid")
    sha = json.loads((folder / "config.json").read_text())["weights_sha256"]
    margin = middle + np.concatenate([np.linspace(-3, overlap - 1, 99), np.linspace(1 - overlap, 3, 99)])
    write_calibration(folder, fit_calibration(margin, np.repeat([0, 1], 99), views, sha))
    return Detector.from_pretrained(folder, device="cpu")


def same(first, second, tolerance=1e-5):
    assert np.array_equal(first.windows, second.windows)
    assert first.content_id == second.content_id
    assert first.verdict == second.verdict
    assert first.score == pytest.approx(second.score, abs=tolerance)
