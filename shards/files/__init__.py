"""Reads and writes files: atomic writes, locks, safe readers of JSON, Parquet and Arrow, checks of outputs."""
