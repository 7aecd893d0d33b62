"""The order of samples: pure functions of seed and epoch."""
