"""Publishing a model: bundle, model card, ONNX, demo page."""
