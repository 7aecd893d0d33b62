"""Builds shards from images: first pass, split, workers, tars, and the last step."""
