"""Images to shards: inputs, first pass, split, workers, tars, the finish."""
