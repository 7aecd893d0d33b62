"""Counts the memory of a training or prediction step, predicts it in advance, and advises if it does not fit."""
