"""Networks: backbones, attention over crops, chunks, fine-tuning."""
