"""Images to verdicts."""
