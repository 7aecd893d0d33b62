"""Builds shards from images: makes a first pass, assigns splits, writes tars in workers, and completes the data set."""
