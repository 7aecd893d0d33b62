"""Scores: complete, in the loader's order, without fillers, and independent of how batches are cut."""

import numpy as np
import pytest
import torch
from torch import nn

from glass.measure.scoring import score
from shards.errors import InputError


class Scripted(nn.Module):
    """A model whose logits and attention weights show which sample they belong to. Its dropout changes the logits if it
    is not in evaluation mode."""

    def __init__(self, weighs: bool = True) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.weighs = weighs

    def forward(self, global_view, local_crops, crop_mask=None):
        number = global_view.float().mean(dim=(1, 2, 3))
        logits = self.dropout(torch.stack([-number, number], dim=1))
        weights = crop_mask / crop_mask.sum(dim=1, keepdim=True)
        return logits, weights if self.weighs else None


def batches(numbers: list[int], size: int, fillers: tuple[int, ...] = ()) -> list[dict]:
    """Batches of ``size`` samples whose pixels all have the number of the sample as their value. ``fillers`` are the
    numbers of samples that are not valid."""
    made = []
    for start in range(0, len(numbers), size):
        part = np.array(numbers[start : start + size])
        mask = np.ones((len(part), 3), bool)
        mask[:, 2] = part % 2 == 0
        made.append(
            {
                "global_view": torch.tensor(part, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4),
                "local_crops": torch.zeros(len(part), 3, 3, 4, 4, dtype=torch.uint8),
                "crop_mask": torch.from_numpy(mask),
                "label": torch.from_numpy(part % 2),
                "crop_windows": torch.tensor(part, dtype=torch.int32).view(-1, 1, 1).expand(-1, 3, 4),
                "sample_key": [f"{number:06d}" for number in part],
                "content_id": torch.from_numpy(part * 10),
                "is_valid": torch.tensor([number not in fillers for number in part]),
            }
        )
    return made


def test_predictions_say_what_belongs_together():
    found = score(Scripted(), batches(list(range(1, 7)), 3), "cpu", "float32")
    numbers = np.arange(1, 7)
    assert found.sample_key == [f"{number:06d}" for number in numbers]
    assert np.array_equal(found.content_id, numbers * 10)
    assert np.array_equal(found.label, numbers % 2)
    assert np.array_equal(found.logits, np.stack([-numbers, numbers], axis=1))
    assert np.array_equal(found.crop_windows[:, 0, 0], numbers)
    assert np.array_equal(found.crop_mask[:, 2], numbers % 2 == 0)
    assert np.array_equal(found.attention_weights[:, 2] > 0, numbers % 2 == 0)
    assert (found.logits.dtype, found.probability.dtype) == (np.float32, np.float64)


def test_fillers_and_undecodable_samples_are_left_out():
    found = score(Scripted(), batches([1, 2, 3, 4, 1, 2], 2, fillers=(2,)), "cpu", "float32")
    assert found.sample_key == ["000001", "000003", "000004", "000001"]
    assert len(found) == len(found.logits) == len(found.crop_windows) == 4


def test_the_cut_into_batches_changes_nothing():
    whole, cut = (score(Scripted(), batches(list(range(6)), n), "cpu", "float32") for n in (6, 2))
    assert whole.sample_key == cut.sample_key
    assert np.array_equal(whole.logits, cut.logits)


def test_probability_is_the_softmax_and_never_overflows():
    found = score(Scripted(), batches([0, 1, 200], 3), "cpu", "float32")
    assert found.probability[0] == 0.5
    assert found.probability[1] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert found.probability[2] == 1.0


def test_a_model_without_attention_has_no_weights():
    assert score(Scripted(weighs=False), batches([1, 2], 2), "cpu", "float32").attention_weights is None


def test_the_models_mode_is_restored():
    model = Scripted()
    score(model, batches([1], 1), "cpu", "auto")
    assert model.training
    score(model.eval(), batches([1], 1), "cpu", "auto")
    assert not model.training


def test_no_gradients_are_kept():
    model = nn.Linear(1, 1)
    kept = []

    class Watching(nn.Module):
        def forward(self, global_view, local_crops, crop_mask=None):
            logits = model(torch.ones(len(global_view), 1)).expand(-1, 2)
            kept.append(logits.requires_grad)
            return logits, None

    score(Watching(), batches([1, 2], 1), "cpu", "float32")
    assert kept == [False, False]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_batch_that_does_not_fit_is_said_in_a_sentence(error):
    class TooMuch(nn.Module):
        def forward(self, *_):
            raise error

    with pytest.raises(InputError, match=r"2 images of \d crops do not fit.*--batch-size"):
        score(TooMuch(), batches([1, 2], 2), "cpu", "float32")


def test_a_loader_without_batches_is_an_error():
    with pytest.raises(ValueError, match="no batch"):
        score(Scripted(), [], "cpu", "float32")
