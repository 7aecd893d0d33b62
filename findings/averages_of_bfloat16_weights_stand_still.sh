#!/usr/bin/env bash
# torch 2.14.1, timm 1.0.31, ema-pytorch 0.8.3, Python 3.11; seen on 2026-11-30. Installs torch: 5 GB.
# One expects: a moving average of weights in bfloat16 is the right one but for its last digits.
# What happens: an update moves the average by (1 - decay) of the way to the weights. Where that is less than half the
#   distance between two numbers of bfloat16, it is rounded away every time. With torch's AveragedModel and a decay of
#   0.999, four in five weights of a detector's average are still the initial ones, and it guesses where the detector
#   itself is right; with 0.99 an average stops at three fifths of the way. ema-pytorch, and diffusers' EMAModel (not
#   run here), stop at the same places; float16 at half the way with 0.999. torch's equal average (SWA) of 300 weights
#   that rise from 1 to 2 stays at 1. No warning. timm's ModelEmaV3 rounds bfloat16 at random: right on average.
# What to do: keep the weights in float32 and let autocast compute in bfloat16; else average a float32 copy:
#   AveragedModel(copy.deepcopy(model).float(), avg_fn=get_ema_avg_fn(0.999)) or ModelEmaV3(model, dtype=torch.float32).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 timm==1.0.31 ema-pytorch==0.8.3
"$folder/venv/bin/python" - <<'PYTHON'
import copy

import torch
from ema_pytorch import EMA
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

torch.set_num_threads(1)
STEPS = 3000


def averaged(model, how, decay):
    """An average of the model, as a function that updates it and a module that holds it."""
    if how == "timm":
        average = ModelEmaV3(model, decay)
        return lambda: average.update(model), average.module
    if how == "ema-pytorch":
        average = EMA(model, beta=decay, min_value=decay, update_after_step=0, update_every=1)
        return average.update, average.ema_model
    if how == "torch, float32 copy":
        average = AveragedModel(copy.deepcopy(model).float(), avg_fn=get_ema_avg_fn(decay), use_buffers=True)
    else:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return lambda: average.update_parameters(model), average.module


def reached(how, kind, decay):
    """Where the average of weights is that were 1 and then 2 for 3,000 updates."""
    model = nn.Linear(32, 32, bias=False).to(kind)
    nn.init.ones_(model.weight)
    update, average = averaged(model, how, decay)
    update()
    update()
    nn.init.constant_(model.weight, 2.0)
    for _ in range(STEPS):
        update()
    return float(average.weight.detach().float().mean())


wanted = {
    ("torch", torch.bfloat16, 0.99): 1.609,
    ("torch", torch.bfloat16, 0.995): 1.219,
    ("torch", torch.bfloat16, 0.999): 1.0,
    ("torch", torch.bfloat16, 0.9999): 1.0,
    ("torch", torch.float16, 0.999): 1.512,
    ("torch", torch.float16, 0.9999): 1.0,
    ("torch", torch.float32, 0.999): 1.950,
    ("ema-pytorch", torch.bfloat16, 0.99): 1.609,
    ("ema-pytorch", torch.bfloat16, 0.999): 1.0,
    ("torch, float32 copy", torch.bfloat16, 0.999): 1.950,
    ("timm", torch.bfloat16, 0.999): 1.950,
}
for (how, kind, decay), value in wanted.items():
    found, right = reached(how, kind, decay), 2 - decay**STEPS
    print(f"{how}, {kind}, decay {decay}: from 1 to {found:.3f} after {STEPS} updates; right is {right:.3f}")
    assert abs(found - value) < 0.01, f"changed: {how}, {kind}, {decay}"


for kind, value in ((torch.bfloat16, 1.0), (torch.float32, 1.498)):
    layer = nn.Linear(32, 32, bias=False).to(kind)
    average = AveragedModel(layer)
    for step in range(300):
        nn.init.constant_(layer.weight, 1 + step / 300)
        average.update_parameters(layer)
    found = float(average.module.weight.detach().float().mean())
    print(f"torch, {kind}: equal average of 300 weights from 1 to 2: {found:.3f}; right is 1.498")
    assert abs(found - value) < 0.01, f"changed: equal average in {kind}"


def images(seed):
    """Noise, half of it with faint stripes."""
    labels = torch.arange(512) % 2
    pixels = torch.randn(512, 3 * 64, generator=torch.Generator().manual_seed(seed))
    return pixels + 0.3 * labels[:, None] * (-1.0) ** torch.arange(3 * 64), labels


def accuracy(model, kind):
    pixels, labels = images(1)
    return float((model.eval()(pixels.to(kind)).argmax(1) == labels).float().mean())


def trained(how, kind, decay):
    """The accuracies of a detector and of its average, and the share of the average's values that are initial ones."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3 * 64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2)).to(kind)
    update, average = averaged(model, how, decay)
    update()
    before = [weight.detach().clone() for weight in average.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    pixels, labels = images(0)
    for step in range(1500):
        part = torch.arange(32 * step, 32 * step + 32) % 512
        loss = nn.functional.cross_entropy(model(pixels[part].to(kind)).float(), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update()
    same = sum(int((old == new).sum()) for old, new in zip(before, average.parameters(), strict=True))
    return accuracy(model, kind), accuracy(average, kind), same / sum(weight.numel() for weight in before)


for how, kind, stands_still in (
    ("torch", torch.float32, False),
    ("torch", torch.bfloat16, True),
    ("timm", torch.bfloat16, False),
):
    itself, by_average, same = trained(how, kind, 0.999)
    print(f"{how}, {kind}, decay 0.999: accuracy of the detector {itself:.2f}", end=", ")
    print(f"of its average {by_average:.2f}; {same:.0%} of the average's weights are the initial ones")
    assert itself > 0.9, f"changed: the detector in {kind}"
    assert (same > 0.7 and by_average < 0.65) if stands_still else (same < 0.2 and by_average > 0.85), f"changed: {how}"
PYTHON
echo "as found: averages of bfloat16 weights stand still"
