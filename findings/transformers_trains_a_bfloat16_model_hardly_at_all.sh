#!/usr/bin/env bash
# transformers 5.24.0, torch 2.14.1, accelerate 1.15.0, Python 3.11; seen on 2026-11-30. Installs torch: 5 GB.
# One expects: TrainingArguments(bf16=True) is mixed precision, so that a model from a file of bfloat16 weights trains
#   like the same model from a file of float32 weights.
# What happens: since version 5, from_pretrained() keeps the type of the file (version 4 made it float32), and the
#   Trainer keeps the type of the model: bf16=True affects the computation only. AdamW moves a weight by about the
#   learning rate, and bfloat16 has no number that close to most weights: the step is rounded away, and so is the next.
#   At 1e-5 four in five weights of a ViT never move, those above 0.005 in size, and the loss falls a sixth as far as it
#   should. At 1e-4 one in eight stands still (not run here). No warning. (Cf. sentence-transformers pull request 3773.)
# What to do: from_pretrained(…, dtype=torch.float32) before training; bf16=True then is mixed precision.
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
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments
from transformers.models.vit import ViTConfig, ViTForImageClassification

torch.set_num_threads(1)
folder = sys.argv[1]
labels = torch.arange(256) % 2
images = torch.randn(256, 3, 32, 32, generator=torch.Generator().manual_seed(0))
images += 0.3 * labels[:, None, None, None] * (-1.0) ** torch.arange(32)
rows = [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]

torch.manual_seed(0)
config = ViTConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
    num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
ViTForImageClassification(config).bfloat16().save_pretrained(folder)


def loss_of(model):
    with torch.no_grad():
        logits = model.eval()(images.to(model.dtype)).logits
    return float(torch.nn.functional.cross_entropy(logits.float(), labels))


def trained(rate, how_loaded):
    """The type of a trained model, the shares of all and of large weights that did not move, the fall of the loss."""
    model = AutoModelForImageClassification.from_pretrained(folder, **how_loaded)
    before, loss = [weight.detach().clone() for weight in model.parameters()], loss_of(model)
    arguments = TrainingArguments(
        f"{folder}/run", per_device_train_batch_size=32, max_steps=40, learning_rate=rate, bf16=True,
        lr_scheduler_type="constant", save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        Trainer(model, arguments, train_dataset=rows).train()
    still = sum(int((new == old).sum()) for new, old in zip(model.parameters(), before, strict=True))
    large = [(new == old)[old.abs() > 0.006] for new, old in zip(model.parameters(), before, strict=True)]
    still_large = float(torch.cat(large).float().mean())
    return model.dtype, still / model.num_parameters(), still_large, loss - loss_of(model)


falls = []
for how_loaded, is_stuck in (({}, True), ({"dtype": torch.float32}, False)):
    kind, still, large, fall = trained(1e-5, how_loaded)
    falls.append(fall)
    print(f"loaded with {how_loaded}: {kind}; {still:.0%} of the weights did not move", end=", ")
    print(f"{large:.0%} of those above 0.006; the loss fell by {fall:.4f}")
    assert kind == how_loaded.get("dtype", torch.bfloat16), "changed: type of the model"
    assert (still > 0.7 and large > 0.99) if is_stuck else still < 0.01, f"changed: weights of {kind}"
assert falls[0] < falls[1] / 2, "changed: loss"
PYTHON
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/train.py" "$folder/model" \
  2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: at a learning rate of 1e-5 most weights of a bfloat16 model do not move"
