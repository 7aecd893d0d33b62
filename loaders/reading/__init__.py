"""Reads sample members from mapped tars, cached shards or byte ranges; plans batches and prefetches shards."""
