"""From images to verdicts."""
