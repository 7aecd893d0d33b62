"""Handing a model on: bundle, card, ONNX, demo page."""
