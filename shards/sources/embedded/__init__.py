"""Images that lie in tables: Parquet files, and the Arrow files of ``datasets``."""
