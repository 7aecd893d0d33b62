"""Reads members of samples from mapped tars, cached shards or byte ranges; plans batches and prefetches shards."""
