#!/usr/bin/env bash
# timm 1.0.31, torch 2.14.1, Python 3.11; seen on 2026-11-30.
# One expects: create_optimizer_v2(model, "adamw", lr=1e-3, layer_decay=0.65) trains the first layers of a pretrained
#   network 270 times more slowly than its head: “learning rates will be scaled”, says its description.
# What happens: every group of parameters has the full learning rate; the factor lies beside it as "lr_scale", which no
#   optimizer of torch or timm reads, only the schedulers of timm. With a scheduler of torch, as in Lightning, or with
#   none, all weights are, to the bit, those of a training without layer_decay. (timm pull request 2532.)
# What to do: for group in optimizer.param_groups: group["lr"] *= group["lr_scale"], before the scheduler of torch is
#   made (OneCycleLR sets the rates itself: give it a list for max_lr); or use timm's, but not both. Log all groups'
#   rates, not only the first one's.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 timm==1.0.31 numpy==2.4.6
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import CosineAnnealingLR

STEPS = 4
FIRST, HEAD = "blocks.0.mlp.fc1.weight", "head.weight"


def train(name, layer_decay=None, of_timm=False, scaled=False, scheduled=True):
    """A few steps; how far the first block and the head moved, and all weights at the end."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=1)
    torch.nn.init.normal_(model.head.weight, std=0.02)
    images, labels = torch.randn(8, 3, 32, 32), torch.tensor([[0.0], [1.0]] * 4)
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=layer_decay)
    if scaled:
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
    if of_timm:
        scheduler = CosineLRScheduler(optimizer, t_initial=STEPS)
    elif scheduled:
        scheduler = CosineAnnealingLR(optimizer, STEPS)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    for step in range(STEPS):
        binary_cross_entropy_with_logits(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if of_timm:
            scheduler.step(step + 1)
        elif scheduled:
            scheduler.step()
    after = dict(model.named_parameters())
    first, head = ((after[key] - before[key]).abs().mean().item() for key in (FIRST, HEAD))
    print(f"{name}: the first block moves by {first:.1e}, the head by {head:.1e}")
    return head / first, {key: value.detach() for key, value in after.items()}


def equal(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


_, plain = train("no layer_decay, scheduler of torch")
ratio, weights = train("layer_decay=0.65, scheduler of torch", 0.65)
assert ratio < 2 and equal(weights, plain), "changed: layer_decay has an effect with a scheduler of torch"
_, plain = train("no layer_decay, no scheduler", scheduled=False)
ratio, weights = train("layer_decay=0.65, no scheduler", 0.65, scheduled=False)
assert ratio < 2 and equal(weights, plain), "changed: layer_decay has an effect without a scheduler"
print("to the bit the same weights, with and without layer_decay, twice")
ratio_of_timm, _ = train("layer_decay=0.65, scheduler of timm", 0.65, of_timm=True)
ratio_scaled, _ = train("layer_decay=0.65, rates multiplied, scheduler of torch", 0.65, scaled=True)
assert min(ratio_of_timm, ratio_scaled) > 50, "changed: the remedies"
PYTHON
echo "as found: layer_decay does nothing without a scheduler of timm"
