#!/usr/bin/env bash
# transformers 5.24.0, torch 2.14.1, accelerate 1.15.0, Python 3.11; seen on 2026-11-30. Installs torch: 5 GB.
# One expects: four batches of 2 with gradient_accumulation_steps=4 train like one batch of 8.
# What happens: the Trainer leaves the division by 4 to every model whose forward() takes **kwargs, and many image
#   classifiers take them and do not divide. Gradients and the reported loss are four times too large: SigLIP, CLIP,
#   BEiT and Swin v2 with two classes (ln 2 is reported as 2.8), and ViT, Swin and DINOv2 with one output or several
#   labels. ViT with two classes, ConvNeXt and timm's models are right. Two processes doubled SigLIP's loss even
#   without accumulation (not run here). SGD takes steps four times as long, AdamW comes to feel it by
#   max_grad_norm=1.0, and losses cannot be compared between runs. No warning. (Cf. transformers issue 37766.)
# What to do: model.accepts_loss_kwargs = False before Trainer(…): it divides then.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile torch==2.14.1 transformers==5.24.0 accelerate==1.15.0
cat >"$folder/train.py" <<'PYTHON'
import contextlib
import io
import sys

import torch
from transformers import Trainer, TrainingArguments
from transformers.models.beit import BeitConfig, BeitForImageClassification
from transformers.models.siglip import SiglipConfig, SiglipForImageClassification
from transformers.models.vit import ViTConfig, ViTForImageClassification

folder = sys.argv[1]
RATE = 1e-3
layers = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
small = layers | {"image_size": 32, "patch_size": 8}
no_chance = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
labels = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])


def siglip(outputs):
    return SiglipForImageClassification(SiglipConfig(vision_config=small, text_config=layers, num_labels=outputs))


def beit(outputs):
    return BeitForImageClassification(BeitConfig(**small, **no_chance, drop_path_rate=0.0, num_labels=outputs))


def vit(outputs):
    return ViTForImageClassification(ViTConfig(**small, **no_chance, num_labels=outputs))


def one_step(network, outputs, steps, told):
    """How far one step of SGD goes, by the learning rate, and the loss that the Trainer reports."""
    torch.manual_seed(0)
    model = network(outputs)
    if told:
        model.accepts_loss_kwargs = False
    before = [weight.detach().clone() for weight in model.parameters()]
    truth = labels.float() if outputs == 1 else labels
    rows = [{"pixel_values": image, "labels": label} for image, label in zip(images, truth, strict=True)]
    arguments = TrainingArguments(
        folder, per_device_train_batch_size=8 // steps, gradient_accumulation_steps=steps, num_train_epochs=1,
        optim="sgd", learning_rate=RATE, lr_scheduler_type="constant", max_grad_norm=0, logging_steps=1,
        save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    moved = sum(((new.detach() - old) ** 2).sum() for new, old in zip(model.parameters(), before, strict=True))
    return float(moved.sqrt()) / RATE, float(trainer.state.log_history[0]["loss"])


for network, outputs, factor in ((siglip, 2, 4), (beit, 2, 4), (vit, 1, 4), (vit, 2, 1)):
    length, loss = one_step(network, outputs, 1, False)
    for told in (False, True):
        found_length, found_loss = one_step(network, outputs, 4, told)
        name = f"{network.__name__}, {outputs} output(s)" + (", accepts_loss_kwargs = False" if told else "")
        print(f"{name}: loss {loss:.3f} for one batch of 8, {found_loss:.3f} for 4 of 2", end="; ")
        print(f"step {found_length / length:.2f} times as long")
        wanted = 1 if told else factor
        assert abs(found_length / length - wanted) < 0.01 * wanted, f"changed: step of {name}"
        assert abs(found_loss / loss - wanted) < 0.01 * wanted, f"changed: loss of {name}"
PYTHON
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/train.py" "$folder/run" \
  2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: these losses and gradients grow with the steps of accumulation"
