"""Fixtures for the tests of all commands."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an untrained model that sees no crops. It takes half the time of ``untrained_run`` to load, and a
    fifth to score an image. Do not write into it."""
    import torch

    from glass.export.model_folder import save_model
    from glass.model.model import build_model
    from glass.presets import load_preset

    folder = tmp_path_factory.mktemp("plain") / "plain"
    torch.manual_seed(0)
    config = load_preset("single_view_tiny")
    save_model(folder / "model", build_model(config), config, {"epoch": 1})
    return folder


@pytest.fixture
def undrawn(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In addition to what the general fixture does, makes the heat map of ``robustness`` an empty figure. Creating its
    axes takes as long as scoring all images of a test."""
    from matplotlib.figure import Figure

    monkeypatch.setattr("glass.report.heat_map._figure", lambda *_: Figure())
