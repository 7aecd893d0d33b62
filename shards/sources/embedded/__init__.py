"""Images embedded in tables: Parquet files, and the Arrow files of the ``datasets`` library."""
