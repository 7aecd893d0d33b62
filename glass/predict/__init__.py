"""Gives verdicts on images: finds and reads them, scores them with a trained model, and writes the results."""
