"""The spectrum classifier as a minimum for detectors: it recognises enlarged pixels, and is measured as a model is."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bench.harness.schemas import Spectrum
from bench.methods.spectrum import BINS, WINDOW, fit_spectrum, log_spectra
from bench.spectrum import _print, main
from glass.measure.metrics import binary_metrics
from shards.errors import InputError
from tests.runs.made_up import made_up

pytestmark = pytest.mark.usefixtures("quick_look")


def batches(seed, number=2, size=8):
    """Batches of noise: real images are plain noise, generated ones are noise enlarged by two, with the same standard
    deviation."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        label = rng.integers(0, 2, size)
        label[:2] = 0, 1
        crops = [[_noise(rng, bool(one)) for _ in range(2)] for one in label]
        yield {
            "local_crops": torch.from_numpy(np.stack(crops)).permute(0, 1, 4, 2, 3),
            "crop_mask": torch.ones(size, 2, dtype=torch.bool),
            "label": torch.from_numpy(label),
            "is_valid": torch.ones(size, dtype=torch.bool),
        }


def _noise(rng, enlarged):
    side = WINDOW // 2 if enlarged else WINDOW
    noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((WINDOW, WINDOW))
    values = np.asarray(noise, float)
    return (128 + 30 * (values - values.mean()) / values.std()).clip(0, 255).astype(np.uint8)


def test_enlarged_pixels_are_distinguished_from_native_ones():
    classifier = fit_spectrum(batches(0))
    batch = next(batches(1, size=12))
    logits, attention = classifier(torch.zeros(12, 3, 8, 8), batch["local_crops"], batch["crop_mask"])
    assert attention is None
    assert (logits.shape, logits.dtype) == ((12, 2), torch.float32)
    probability = logits.softmax(1)[:, 1].double().numpy()
    assert binary_metrics(batch["label"].numpy(), probability)["auroc"] == 1.0


def test_windows_that_do_not_exist_count_for_nothing():
    crops = next(batches(0))["local_crops"]
    mask = torch.tensor([[True, False]] * 4 + [[False, False]] * 4)
    spectra = log_spectra(crops, mask)
    assert spectra.shape == (8, 3 * BINS)
    assert torch.allclose(spectra[:4], log_spectra(crops[:4, :1], mask[:4, :1]), atol=1e-5)
    assert not spectra[4:].any()
    assert spectra[:4].isfinite().all()


def test_samples_that_could_not_be_read_are_left_out():
    some = list(batches(0))
    for batch in some:
        batch["is_valid"][0] = False
        batch["local_crops"][0] = 0
    less = [{name: values[1:] for name, values in batch.items()} for batch in some]
    assert torch.equal(fit_spectrum(some).weight, fit_spectrum(less).weight)


def test_intervals_are_printed_as_evaluate_prints_them(capsys):
    rows = [
        {"generator": "(all)", "images": 9, "auroc": 1.0, "interval": [1.0, 1.0]},
        {"generator": "two scenes", "images": 2, "auroc": 0.5, "interval": None},
    ]
    _print(made_up(Spectrum) | {"rows": rows})
    assert capsys.readouterr().out.count("too few to tell") == 2


@pytest.mark.slow  # what it measures is tested above
def test_the_command_measures_a_split_by_another(synthetic_shards, capsys):
    arguments = ["--data", str(synthetic_shards), "--split", "test", "--draws", "20", "--threads", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    document = json.loads(printed.splitlines()[-1])
    assert document["rows"][0]["generator"] == "(all)"
    assert sum(row["images"] for row in document["rows"][1:]) == document["rows"][0]["images"]
    assert "a spectrum alone reaches" in printed
    with pytest.raises(InputError, match="share images"):
        main([*arguments, "--train-split", "train+test"])
