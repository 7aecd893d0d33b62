"""Files: atomic writes, locks, safe JSON, Parquet and Arrow, outputs."""
