"""Measures and predicts the memory of training and prediction steps, and suggests settings if it does not suffice."""
