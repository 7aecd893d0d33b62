"""Measures and predicts the memory of training and prediction steps, and suggests settings that fit if memory runs
out."""
