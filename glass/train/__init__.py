"""Training: epochs, steps, checkpoints, processes."""
