"""Measures and predicts the memory used by training and prediction steps and, if it runs out, suggests settings that
fit."""
