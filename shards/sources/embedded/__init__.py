"""Images embedded in tables: Parquet files, and the ``datasets`` library's Arrow files."""
