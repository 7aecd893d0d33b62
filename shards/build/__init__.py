"""Builds shards from images: the first pass, the split, the workers that write tars, and the last step."""
