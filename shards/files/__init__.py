"""Reads and writes files: atomic writes; locks; safe JSON, Parquet and Arrow readers; and output checks."""
