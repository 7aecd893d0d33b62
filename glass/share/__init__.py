"""Publishes a model: as a folder with a model card, as an ONNX file, or on a demo page."""
