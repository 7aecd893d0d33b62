"""Turns images into WebDataset shards with a manifest, byte offsets and JPEG entry points.

Imports neither torch nor DALI, so that reading a manifest takes milliseconds.
"""
